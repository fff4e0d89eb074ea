"""A real Kubernetes of one node that is up while something is measured.

Needs root, the programs of tests/cluster/build, and those of `make static`.
"""

import contextlib
import json
import pathlib
import re
import subprocess
import time
import urllib.request

from .process import HELLO, RELEASE, ROOT, Failed, free_port, running, scratch, wait_for_port

CLUSTER = RELEASE / "cluster"
STATIC = ROOT / "target" / "static"
HOST = STATIC / "wisp-host"
PATIENCE_SECONDS = 120


class Node:
    """A cluster that is up, asked by way of `kubectl proxy`."""

    def __init__(self, number: str, port: int, image: str):
        self.number = number
        self.port = port
        # Of the component.
        self.image = image

    def run(self, *command: str) -> str:
        arguments = [str(CLUSTER), command[0], "--number", self.number, *command[1:]]
        return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout

    def request(self, method: str, path: str, body: object = None, kind: str = "application/json") -> str:
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, data, {"Content-Type": kind}, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read().decode()

    def until(self, what: str, check):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            found = check()
            if found:
                return found
            time.sleep(0.05)
        raise Failed(f"{what}: not within {PATIENCE_SECONDS} s")


@contextlib.contextmanager
def node():
    """Up, with the smallest function in its registry."""
    if not HOST.exists():
        raise Failed("the node's programs are not built: `make static`")
    up = subprocess.run([CLUSTER, "up", "--shim", STATIC], check=True, capture_output=True, text=True).stdout
    number = re.search(r"^cluster (\d+) is up", up)[1]
    registry = re.search(r"^registry: ([^,]+)", up, re.MULTILINE)[1]
    try:
        with scratch() as folder:
            port = free_port()
            proxy = [CLUSTER, "kubectl", "--number", number, "proxy", f"--port={port}"]
            with running(proxy, folder):
                wait_for_port(port)
                yield Node(number, port, push(folder, registry, number))
    finally:
        subprocess.run([CLUSTER, "down", "--number", number], check=True)


def push(folder: pathlib.Path, registry: str, number: str) -> str:
    """The component as an artifact, by the same program that users take."""
    programs = subprocess.run([ROOT / "tests" / "cluster" / "build", "--where"], check=True, capture_output=True, text=True)
    oras = pathlib.Path(programs.stdout.strip()) / "bin" / "oras"
    config = folder / "config.json"
    config.write_text(json.dumps({"architecture": "wasm", "os": "wasip2"}))
    image = f"{registry}/hello:1"
    authority = f"/run/wisp-cluster/{number}/pki/ca.crt"
    files = ["--config", f"{config}:application/vnd.wasm.config.v0+json", image, f"{HELLO}:application/wasm"]
    command = [oras, "push", "--disable-path-validation", "--ca-file", authority, *files]
    subprocess.run(command, check=True, capture_output=True)
    return image
