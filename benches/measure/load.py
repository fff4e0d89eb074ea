"""Load by wrk, and peers that take turns."""

import re
import statistics
import subprocess
from dataclasses import dataclass

from .plan import Plan
from .process import Failed

MICROS = {"us": 1, "ms": 1_000, "s": 1_000_000}


@dataclass(frozen=True)
class Peer:
    """A server to compare."""

    name: str
    port: int
    host: str = "localhost"


@dataclass(frozen=True)
class Load:
    """What wrk found."""

    requests_per_second: float
    p50_micros: float
    p99_micros: float


def wrk(peer: Peer, connections: int, seconds: int) -> Load:
    """Requests one after another on each connection. One thread, which leaves the other cores to the server."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-H", f"Host: {peer.host}"]
    out = subprocess.run([*command, f"http://127.0.0.1:{peer.port}/"], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        raise Failed(f"{peer.name} failed requests:\n{out}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    times = dict(re.findall(r"^\s+(50|99)%\s+([\d.]+(?:us|ms|s))$", out, re.MULTILINE))
    if rate is None or len(times) != 2:
        raise Failed(f"wrk said of {peer.name}:\n{out}")
    return Load(float(rate[1]), micros(times["50"]), micros(times["99"]))


def micros(text: str) -> float:
    """The number of wrk's `157.00us`."""
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * MICROS[unit]


def compare(peers: list[Peer], connections: int, plan: Plan) -> dict[str, Load]:
    """Peers take turns, A B B A …, so that what else the machine does meets all of them. Medians by name."""
    for peer in peers:
        wrk(peer, connections, 1)
    rounds = {peer.name: [] for peer in peers}
    for number in range(plan.rounds):
        for peer in peers if number % 2 == 0 else reversed(peers):
            rounds[peer.name].append(wrk(peer, connections, plan.seconds))
    return {name: median(loads) for name, loads in rounds.items()}


def median(loads: list[Load]) -> Load:
    """Each number's own median."""
    return Load(
        statistics.median(load.requests_per_second for load in loads),
        statistics.median(load.p50_micros for load in loads),
        statistics.median(load.p99_micros for load in loads),
    )
