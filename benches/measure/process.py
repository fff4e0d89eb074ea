"""Programs that are measured: started, awaited, ended."""

import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
RELEASE = ROOT / "target" / "release"
WISP = RELEASE / "wisp"
BARE = RELEASE / "bare"
WASMTIME = os.environ.get("WASMTIME", "wasmtime")
# The smallest function, as committed: whoever measures has the same bytes.
HELLO = ROOT / "samples" / "prebuilt" / "hello.wasm"
# Compiling a component, or reading ten thousand manifests, included.
START_SECONDS_MAX = 120
STOP_SECONDS_MAX = 20


class Failed(Exception):
    """A program did not do what it was started for."""


class Process:
    """A running program with what it wrote."""

    def __init__(self, child: subprocess.Popen, log: pathlib.Path):
        self.child = child
        self.log = log

    @property
    def pid(self) -> int:
        return self.child.pid

    def wait_for(self, pattern: str) -> re.Match:
        """The first match in what it writes."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            found = re.search(pattern, self.log.read_text(errors="replace"), re.MULTILINE)
            if found:
                return found
            if self.child.poll() is not None:
                break
            time.sleep(0.005)
        raise Failed(f"{self.child.args[0]} did not write {pattern!r}:\n{self.log.read_text(errors='replace')[-2000:]}")


@contextlib.contextmanager
def running(command: list, folder: pathlib.Path):
    """Starts a program in a folder, and ends it."""
    log = folder / f"{pathlib.Path(str(command[0])).name}-{time.monotonic_ns()}.log"
    with open(log, "wb") as out:
        arguments = [str(part) for part in command]
        child = subprocess.Popen(arguments, stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=folder)
    try:
        yield Process(child, log)
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
        try:
            child.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextlib.contextmanager
def scratch():
    """A folder of its own."""
    with tempfile.TemporaryDirectory(prefix="wisp-bench-") as name:
        yield pathlib.Path(name)


def free_port() -> int:
    """A port that was free a moment ago, for programs that cannot say which one they chose."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port: int) -> None:
    """Until somebody accepts connections."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.01)
    raise Failed(f"nobody listens on port {port}")


def pss_bytes(pid: int) -> int:
    """What a process holds in memory, with its part of what it shares."""
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise Failed(f"no Pss of process {pid}")


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found
