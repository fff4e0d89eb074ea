// The smallest function in C, on the bindings that wit-bindgen makes of function.wit.
#include <stdio.h>
#include <string.h>

#include "function.h"

enum { TEXT_BYTES_MAX = 512 };

static void respond(exports_wasi_http_incoming_handler_own_response_outparam_t out, const char *text);

void exports_wasi_http_incoming_handler_handle(exports_wasi_http_incoming_handler_own_incoming_request_t request,
                                               exports_wasi_http_incoming_handler_own_response_outparam_t out) {
    function_string_t path = {0};
    bool has_path = wasi_http_types_method_incoming_request_path_with_query(
        wasi_http_types_borrow_incoming_request(request), &path);
    char text[TEXT_BYTES_MAX];
    snprintf(text, sizeof text, "hello from C, you asked for %.*s\n", has_path ? (int)path.len : 1,
             has_path ? (const char *)path.ptr : "/");
    function_string_free(&path);
    wasi_http_types_incoming_request_drop_own(request);
    respond(out, text);
}

static void respond(exports_wasi_http_incoming_handler_own_response_outparam_t out, const char *text) {
    wasi_http_types_own_outgoing_response_t response =
        wasi_http_types_constructor_outgoing_response(wasi_http_types_constructor_fields());
    wasi_http_types_own_outgoing_body_t body;
    wasi_http_types_method_outgoing_response_body(wasi_http_types_borrow_outgoing_response(response), &body);
    wasi_http_types_result_own_outgoing_response_error_code_t answer = {.is_err = false, .val.ok = response};
    wasi_http_types_static_response_outparam_set(out, &answer);

    wasi_http_types_own_output_stream_t stream;
    wasi_http_types_method_outgoing_body_write(wasi_http_types_borrow_outgoing_body(body), &stream);
    function_list_u8_t bytes = {.ptr = (uint8_t *)text, .len = strlen(text)};
    // An error means that the client has gone: nothing is left to do for it.
    wasi_io_streams_stream_error_t stream_error;
    wasi_io_streams_method_output_stream_blocking_write_and_flush(wasi_io_streams_borrow_output_stream(stream), &bytes,
                                                                  &stream_error);
    wasi_io_streams_output_stream_drop_own(stream);
    wasi_http_types_error_code_t body_error;
    wasi_http_types_static_outgoing_body_finish(body, NULL, &body_error);
}
