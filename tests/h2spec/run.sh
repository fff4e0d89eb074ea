#!/usr/bin/env bash
# The HTTP/2 conformance tests of h2spec against a host, or against `wisp up` with one function.
#
#   run.sh H2SPEC WISP host|up
set -euo pipefail
cd "$(dirname "$0")/../.."

h2spec=$1 wisp=$2 target=$3
component=$PWD/tests/guests/prebuilt/guests.wasm
folder=$(mktemp -d)
pid=
finish() {
    if [ -n "$pid" ]; then
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    fi
    rm -rf "$folder"
}
trap finish EXIT

# Written by a background process, and read before that has begun.
touch "$folder/log"

# until_true SECONDS COMMAND…: tries COMMAND until it succeeds.
until_true() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        if [ "$SECONDS" -ge "$deadline" ] || ! kill -0 "$pid" 2>/dev/null; then
            echo "h2spec: $target did not come up; its log:" >&2
            cat "$folder/log" >&2
            exit 1
        fi
        sleep 0.1
    done
}

start_host() {
    "$wisp" host serve "$component" --listen tcp:127.0.0.1:0 --cache "$folder/cache" >"$folder/log" 2>&1 &
    pid=$!
    until_true 60 grep -q '^listening ' "$folder/log"
    port=$(sed -n 's/^listening .*:\([0-9]*\)$/\1/p' "$folder/log")
}

answers() { [ "$(curl -s -o /dev/null -w '%{http_code}' "http://localhost:$port/hello")" = 200 ]; }

start_up() {
    mkdir "$folder/functions"
    # h2spec sends the host that it connects to.
    cat >"$folder/functions/hello.yaml" <<END
apiVersion: wisp.dev/v1alpha1
kind: WasmFunction
metadata: {name: hello}
spec:
  component: {path: $component}
  ingress: {hosts: [localhost]}
END
    port=$(free_port)
    "$wisp" up "$folder/functions" --state "$folder/state" --listen "127.0.0.1:$port" --admin "127.0.0.1:$(free_port)" \
        >"$folder/log" 2>&1 &
    pid=$!
    until_true 60 answers
}

# h2spec takes a port number, so that one must be known beforehand.
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

case $target in
    host) start_host ;;
    up) start_up ;;
    *) echo "h2spec: no target $target; host or up" >&2; exit 2 ;;
esac
# All but http2/3.5/2, which counts the HTTP/1.1 answer to what is no HTTP/2 preface as a failure to close; see below.
specs=(generic hpack http2/3.5/1 http2/4 http2/5 http2/6 http2/7 http2/8)
# A function that takes its time, so that no answer overtakes the frames of a test. The time limit is for each test.
"$h2spec" "${specs[@]}" --host localhost --port "$port" --path '/sleep?ms=400' --timeout 3 >"$folder/report" 2>&1 && code=0 || code=$?
# The list of failures comes after this word, and ends with the line of totals.
if [ "$code" = 0 ]; then tail -n 1 "$folder/report"; else sed -n '/^Failures:/,$p' "$folder/report"; fi

# A port of both versions answers 400 and closes; the reading ends, or it would never. Written in one piece: bash writes
# line by line, and would be ended by SIGPIPE where the answer to the first line comes before the second.
if ! python3 - "$port" >"$folder/preface" 2>&1 <<'END'
import socket, sys
with socket.create_connection(("localhost", int(sys.argv[1])), timeout=5) as stream:
    stream.sendall(b"INVALID CONNECTION PREFACE\r\n\r\n")
    answer = b""
    while part := stream.recv(4096):
        answer += part
print(answer.decode())
sys.exit(not answer.startswith(b"HTTP/1.1 400 "))
END
then
    echo "h2spec: an invalid preface must be answered with 400 and the connection closed; there was:"
    cat "$folder/preface"
    code=1
fi
exit "$code"
