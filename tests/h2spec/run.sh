#!/usr/bin/env bash
# The HTTP/2 conformance tests of h2spec against a host, or against `wisp up` with one function.
#
#   run.sh H2SPEC WISP host|up
set -euo pipefail
cd "$(dirname "$0")/../.."

h2spec=$1 wisp=$2 target=$3
component=$PWD/tests/guests/prebuilt/guests.wasm
# Made once under a name that no other run has; everything of this run is in it.
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

# until SECONDS COMMAND…: tries COMMAND until it succeeds.
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
# The time is for each test: those that expect a connection to stay open wait this long.
"$h2spec" --host localhost --port "$port" --path /hello --timeout 3 --max-header-length 4000 >"$folder/report" 2>&1 && code=0 || code=$?
# The list of failures comes after this word; without one, only the closing line.
if [ "$code" != 0 ]; then sed -n '/^Failures:/,$p' "$folder/report"; fi
tail -n 1 "$folder/report"
exit "$code"
