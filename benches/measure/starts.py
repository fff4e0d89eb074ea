"""From zero to the first byte of an answer, through the activator."""

import re
import socket
import statistics
import time
from dataclasses import dataclass

from .page import Row
from .plan import Plan
from .process import Failed, scratch
from .up import Up, function, wisp_up

WARM_P50_MILLIS_MAX = 3.0
WARM_P99_MILLIS_MAX = 10.0
COLD_P50_MILLIS_MAX = 12.0
WARM_INSTANCES = 2
# As soon as a warm instance is there, it is told what to prepare; loading takes a millisecond.
PREPARE_SECONDS = 0.1


@dataclass(frozen=True)
class Start:
    """One start: by the client's clock, and by the answer's Server-Timing."""

    wall_millis: float
    timing_millis: dict[str, float]


def start(plan: Plan) -> list[Row]:
    """With warm instances that hold the code, and without any."""
    warm = measure(plan.warm_starts, WARM_INSTANCES)
    cold = measure(plan.cold_starts, 0)
    p50, p99 = quantile(warm, 50), quantile(warm, 99)
    cold_p50 = quantile(cold, 50)
    return [
        Row(f"warm instance, p50 of {len(warm)}", f"{p50:.2f} ms", "≤ 3 ms", p50 <= WARM_P50_MILLIS_MAX),
        Row(f"warm instance, p99 of {len(warm)}", f"{p99:.2f} ms", "≤ 10 ms", p99 <= WARM_P99_MILLIS_MAX),
        Row("of that, medians of Server-Timing", timing(warm)),
        Row(f"new process, code compiled, p50 of {len(cold)}", f"{cold_p50:.2f} ms", "≤ 12 ms", cold_p50 <= COLD_P50_MILLIS_MAX),
        Row(f"new process, code compiled, p99 of {len(cold)}", f"{quantile(cold, 99):.2f} ms"),
        Row("of that, medians of Server-Timing", timing(cold)),
    ]


def measure(count: int, warm: int) -> list[Start]:
    with scratch() as folder:
        functions = folder / "functions"
        function(functions, "hello", idle="50ms")
        with wisp_up(folder, functions, warm=warm) as up:
            return [one(up, warm) for _ in range(count)]


def one(up: Up, warm: int) -> Start:
    up.wait("zero", lambda seen: at_zero(seen) and seen["warm"] >= warm)
    time.sleep(PREPARE_SECONDS)
    return request(up.port, "hello.default.localhost")


def at_zero(seen: dict) -> bool:
    hello = seen["functions"][0]
    return hello["replicas"] == hello["starting"] == hello["draining"] == 0


def request(port: int, host: str) -> Start:
    """A new connection, one request, until the answer is there: it fits into one read."""
    head = f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    begun = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(head)
        answer = connection.recv(65536)
        wall_millis = (time.perf_counter() - begun) * 1000
    text = answer.decode(errors="replace")
    if not text.startswith("HTTP/1.1 200"):
        raise Failed(f"a start from zero was answered with:\n{text}")
    # The host and the activator each send one.
    headers = re.findall(r"^server-timing: (.*)$", text, re.IGNORECASE | re.MULTILINE)
    parts = re.findall(r"([\w-]+);dur=([\d.]+)", " ".join(headers))
    return Start(wall_millis, {name: float(millis) for name, millis in parts})


def quantile(starts: list[Start], percent: int) -> float:
    ordered = sorted(start.wall_millis for start in starts)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def timing(starts: list[Start]) -> str:
    names = list(dict.fromkeys(name for start in starts for name in start.timing_millis))
    median = {name: statistics.median(start.timing_millis.get(name, 0.0) for start in starts) for name in names}
    return ", ".join(f"{name} {millis:.2f} ms" for name, millis in median.items()) or "none was sent"
