#!/usr/bin/env bash
# The status page of a real `wisp up`, in a real browser.
#
#   run.sh [WISP]    WISP is the program; target/debug/wisp by default
#
# Takes Chromium from Debian's packages, or the one that CHROMIUM names.
set -euo pipefail
cd "$(dirname "$0")/../.."

PLAYWRIGHT=1.65.1
wisp=${1:-target/debug/wisp}
cache=${WISP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/wisp}/playwright-core-$PLAYWRIGHT

if [ ! -x "$wisp" ]; then echo "page: $wisp is not there; cargo build --workspace makes it" >&2; exit 1; fi
.ci/tool apt node nodejs
if [ -z "${CHROMIUM:-}" ]; then
    .ci/tool apt chromium chromium
    CHROMIUM=$(command -v chromium)
fi
if [ ! -d "$cache/node_modules/playwright-core" ]; then
    .ci/tool apt npm npm
    echo "page: npm install playwright-core $PLAYWRIGHT into $cache"
    npm install --prefix "$cache" --no-save --no-audit --no-fund --silent "playwright-core@$PLAYWRIGHT"
fi

# Made once under a name that no other run has; everything of this run is in it.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PLAYWRIGHT_FOLDER=$cache CHROMIUM=$CHROMIUM WISP=$wisp FOLDER=$folder node --test --test-reporter=spec tests/page/page.test.mjs
