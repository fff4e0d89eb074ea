"""A host beside `wasmtime serve` with the same component, and beside a server that does nothing."""

import contextlib
import subprocess

from . import page
from .load import Load, Peer, compare
from .page import Row
from .plan import Plan
from .process import BARE, HELLO, WASMTIME, WISP, free_port, running, scratch, wait_for_port

# What issue the bars are from: half as fast again as the engine's own server, and no slower where instances are kept.
FRESH_RATIO_MIN = 1.5
REUSE_RATIO_MIN = 1.0
REUSE_REQUESTS = 128


@contextlib.contextmanager
def wasmtime_serve(folder, reuse: int):
    """`wasmtime serve` at its best: compiled ahead of time, pooling allocator."""
    code = folder / "hello.cwasm"
    if not code.exists():
        # The options that change code must be the same in both commands.
        subprocess.run([WASMTIME, "compile", "-W", "component-model-async=y", HELLO, "-o", code], check=True)
    port = free_port()
    options = ["-S", "cli=y", "-O", "pooling-allocator=y", "-W", "component-model-async=y"]
    command = [WASMTIME, "serve", *options, "--max-instance-reuse-count", reuse, "--addr", f"127.0.0.1:{port}"]
    with running([*command, "--allow-precompiled", code], folder) as process:
        wait_for_port(port)
        yield Peer("wasmtime serve", port), process


@contextlib.contextmanager
def wisp_host(folder, reuse: int):
    """`wisp host serve`, which compiles once and keeps the result."""
    command = [WISP, "host", "serve", HELLO, "--listen", "tcp:127.0.0.1:0", "--cache", folder / "cache", "--reuse", reuse]
    with running(command, folder) as process:
        port = int(process.wait_for(r"^listening .*:(\d+)$")[1])
        yield Peer("wisp host", port), process


@contextlib.contextmanager
def bare_hyper(folder):
    """A hyper server that answers with a constant: what HTTP alone costs."""
    with running([BARE], folder) as process:
        port = int(process.wait_for(r"^listening .*:(\d+)$")[1])
        yield Peer("bare hyper", port), process


def fresh(plan: Plan) -> list[Row]:
    """Each request in a wasm instance of its own."""
    with scratch() as folder, wasmtime_serve(folder, 1) as (theirs, _), wisp_host(folder, 1) as (ours, _):
        return rows([ours, theirs], FRESH_RATIO_MIN, plan)


def reuse(plan: Plan) -> list[Row]:
    """Many requests in one wasm instance."""
    with (
        scratch() as folder,
        wasmtime_serve(folder, REUSE_REQUESTS) as (theirs, _),
        wisp_host(folder, REUSE_REQUESTS) as (ours, _),
        bare_hyper(folder) as (bare, _),
    ):
        return rows([ours, theirs, bare], REUSE_RATIO_MIN, plan)


def rows(peers: list[Peer], ratio_min: float, plan: Plan) -> list[Row]:
    found = []
    for connections in (1, 32):
        loads = compare(peers, connections, plan)
        found += [Row(f"{name}, {connections} connections", describe(load)) for name, load in loads.items()]
        ours, theirs = (loads[peer.name].requests_per_second for peer in peers[:2])
        ratio = ours / theirs
        what = f"wisp host / wasmtime serve, {connections} connections"
        if connections == 32:
            found.append(Row(what, f"{ratio:.2f} ×", f"≥ {ratio_min} ×", ratio >= ratio_min))
        else:
            found.append(Row(what, f"{ratio:.2f} ×"))
    return found


def describe(load: Load) -> str:
    times = f"p50 {page.millis(load.p50_micros)}, p99 {page.millis(load.p99_micros)}"
    return f"{page.rate(load.requests_per_second)}, {times}"
