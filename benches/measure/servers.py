"""A host beside `wasmtime serve` with the same component, and beside a server that does nothing."""

import contextlib
import subprocess

from . import page
from .load import Load, Peer, compare
from .page import Row
from .plan import Plan
from .process import BARE, HELLO, WASMTIME, WISP, free_port, running, scratch, wait_for_port

# Half as fast again as the engine's own server, and no slower where instances are kept.
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
    """All peers, and how the first does beside the second. The bar is for many connections."""
    ours, theirs = peers[:2]
    alone, many = compare(peers, 1, plan), compare(peers, 32, plan)
    bar = (f"≥ {ratio_min} ×", ratio(many, ours, theirs) >= ratio_min)
    return [
        *described(alone, 1),
        Row(f"{ours.name} / {theirs.name}, 1 connection", f"{ratio(alone, ours, theirs):.2f} ×"),
        *described(many, 32),
        Row(f"{ours.name} / {theirs.name}, 32 connections", f"{ratio(many, ours, theirs):.2f} ×", *bar),
    ]


def ratio(loads: dict[str, Load], ours: Peer, theirs: Peer) -> float:
    return loads[ours.name].requests_per_second / loads[theirs.name].requests_per_second


def described(loads: dict[str, Load], connections: int) -> list[Row]:
    """A row for each peer, without a bar."""
    several = "1 connection" if connections == 1 else f"{connections} connections"
    return [Row(f"{name}, {several}", describe(load)) for name, load in loads.items()]


def describe(load: Load) -> str:
    times = f"p50 {page.millis(load.p50_micros)}, p99 {page.millis(load.p99_micros)}"
    return f"{page.rate(load.requests_per_second)}, {times}"
