"""`wisp up` with functions that were made for it."""

import contextlib
import json
import pathlib
import time
import urllib.request

from .load import Peer
from .process import HELLO, START_SECONDS_MAX, WISP, Failed, Process, free_port, running

MANIFEST = """\
apiVersion: wisp.dev/v1alpha1
kind: WasmFunction
metadata: {{name: {name}}}
spec:
  component: {{path: {component}}}
  concurrency: {{reuse: {reuse}}}
  scaling: {{min: {minimum}, idle: {idle}}}
"""


class Up:
    """A running `wisp up`."""

    def __init__(self, process: Process, port: int, admin: int, state: pathlib.Path):
        self.process = process
        self.port = port
        self.admin = admin
        self.state = state

    def peer(self, name: str, function: str) -> Peer:
        return Peer(name, self.port, f"{function}.default.localhost")

    def ask(self, path: str) -> dict:
        """What the admin port answers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=30) as answer:
            return json.load(answer)

    def overview(self) -> dict:
        return self.ask("/api/overview")

    def wait(self, what: str, holds) -> None:
        """Until `holds` is true of the overview."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            if holds(self.overview()):
                return
            time.sleep(0.01)
        raise Failed(f"wisp up: {what} did not come true: {self.overview()}")


def function(folder: pathlib.Path, name: str, *, idle: str = "30s", minimum: int = 0, reuse: str = "perRequest") -> None:
    """Writes a manifest."""
    folder.mkdir(exist_ok=True)
    text = MANIFEST.format(name=name, component=HELLO, idle=idle, minimum=minimum, reuse=reuse)
    (folder / f"{name}.yaml").write_text(text)


@contextlib.contextmanager
def wisp_up(folder: pathlib.Path, functions: pathlib.Path, *, warm: int = 2, state: str = "state"):
    """Until all functions are deployed."""
    port, admin = free_port(), free_port()
    functions.mkdir(exist_ok=True)
    command = [WISP, "up", functions, "--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"]
    with running([*command, "--state", folder / state, "--warm", warm], folder) as process:
        # The last thing that it says before it is ready is where its admin port is.
        process.wait_for(rf"127\.0\.0\.1:{admin}")
        yield Up(process, port, admin, folder / state)
