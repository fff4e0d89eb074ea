package main

// The little of wasi:http that main.go needs, in the component model's own calling convention, so that the ordinary Go
// toolchain is enough. Resources are handles; a result or option is written to memory: a tag first, then the value.

import "unsafe"

//go:wasmimport wasi:http/types@0.2.10 [constructor]fields
func newFields() uint32

//go:wasmimport wasi:http/types@0.2.10 [method]incoming-request.path-with-query
func requestPath(request uint32, result unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.10 [resource-drop]incoming-request
func dropRequest(request uint32)

//go:wasmimport wasi:http/types@0.2.10 [constructor]outgoing-response
func newResponse(headers uint32) uint32

//go:wasmimport wasi:http/types@0.2.10 [method]outgoing-response.body
func responseBody(response uint32, result unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.10 [static]response-outparam.set
func setResponse(out, isError, response, e1 uint32, e2 uint64, e3, e4, e5, e6 uint32)

//go:wasmimport wasi:http/types@0.2.10 [method]outgoing-body.write
func bodyWrite(body uint32, result unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.10 [static]outgoing-body.finish
func finishBody(body, hasTrailers, trailers uint32, result unsafe.Pointer)

//go:wasmimport wasi:io/streams@0.2.10 [method]output-stream.blocking-write-and-flush
func streamWrite(stream uint32, data unsafe.Pointer, size uint32, result unsafe.Pointer)

//go:wasmimport wasi:io/streams@0.2.10 [resource-drop]output-stream
func dropStream(stream uint32)

// The most bytes that one write takes.
const writeMax = 4096

// Where the host puts strings for us. Not from the garbage collector, which must not run while the host waits.
var (
	arena     [64 << 10]byte
	arenaUsed uint32
)

//go:wasmexport cabi_realloc
func allocate(_ unsafe.Pointer, _, align, size uint32) unsafe.Pointer {
	start := (arenaUsed + align - 1) &^ (align - 1)
	if size > uint32(len(arena))-start {
		panic("a string from the host is too long")
	}
	arenaUsed = start + size
	return unsafe.Add(unsafe.Pointer(&arena), start)
}

//go:wasmexport wasi:http/incoming-handler@0.2.10#handle
func handle(request, out uint32) {
	arenaUsed = 0
	path := takePath(request)
	response := newResponse(newFields())
	var result [8]uint64
	responseBody(response, unsafe.Pointer(&result))
	body := handleIn(&result)
	setResponse(out, 0, response, 0, 0, 0, 0, 0, 0)
	bodyWrite(body, unsafe.Pointer(&result))
	stream := handleIn(&result)
	for text := []byte(answer(path)); len(text) > 0; {
		size := min(len(text), writeMax)
		streamWrite(stream, unsafe.Pointer(unsafe.SliceData(text)), uint32(size), unsafe.Pointer(&result))
		text = text[size:]
	}
	dropStream(stream)
	finishBody(body, 0, 0, unsafe.Pointer(&result))
}

func takePath(request uint32) string {
	var option struct {
		isSome uint32
		text   uint32
		size   uint32
	}
	requestPath(request, unsafe.Pointer(&option))
	dropRequest(request)
	if option.isSome == 0 {
		return "/"
	}
	start := option.text - uint32(uintptr(unsafe.Pointer(&arena)))
	return string(arena[start : start+option.size])
}

// handleIn is the handle in a result that is not an error: a tag of four bytes, then the value.
func handleIn(result *[8]uint64) uint32 {
	return uint32(result[0] >> 32)
}
