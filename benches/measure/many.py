"""Ten thousand functions that nobody calls."""

import time

from . import page
from .load import compare
from .page import Row
from .plan import Plan
from .process import pss_bytes, scratch
from .up import Up, function, wisp_up

READY_SECONDS_MAX = 10.0
ADDED_BYTES_MAX = 60 * 1024 * 1024
# Flat, but for the noise of a median over three rounds.
LOOKUP_RATIO_MAX = 1.1


def many(plan: Plan) -> list[Row]:
    """Time until all are deployed, what they take, and whether a lookup among them costs more."""
    with scratch() as folder:
        one, all_of_them = folder / "one", folder / "all"
        function(one, "hello")
        names = [f"f{number:05}" for number in range(plan.functions)]
        for name in names:
            function(all_of_them, name)
        with wisp_up(folder, folder / "none", state="state-none") as empty:
            time.sleep(plan.rest_seconds)
            empty_bytes = pss_bytes(empty.process.pid)
        with wisp_up(folder, one, state="state-one") as few:
            begun = time.monotonic()
            with wisp_up(folder, all_of_them) as crowd:
                first_seconds = time.monotonic() - begun
                time.sleep(plan.rest_seconds)
                added = pss_bytes(crowd.process.pid) - empty_bytes
                lookup = lookup_rows(few, crowd, names[len(names) // 2], plan)
        begun = time.monotonic()
        with wisp_up(folder, all_of_them):
            again_seconds = time.monotonic() - begun
    what = f"{plan.functions:,} functions"
    return [
        Row(f"{what}, ready the first time", f"{first_seconds:.1f} s", "≤ 10 s", first_seconds <= READY_SECONDS_MAX),
        Row(f"{what}, ready after a restart", f"{again_seconds:.1f} s", "≤ 10 s", again_seconds <= READY_SECONDS_MAX),
        Row(f"{what}, memory over none", page.mib(added), "≤ 60 MiB", added <= ADDED_BYTES_MAX),
        *lookup,
    ]


def lookup_rows(few: Up, crowd: Up, name: str, plan: Plan) -> list[Row]:
    peers = [few.peer("among 1", "hello"), crowd.peer("among many", name)]
    loads = compare(peers, 1, plan)
    alone, among = (loads[peer.name].p50_micros for peer in peers)
    ratio = among / alone
    found = f"{ratio:.2f} × ({among:.0f} µs, {alone:.0f} µs with one function)"
    return [Row("a warm request among them, p50", found, "flat", ratio <= LOOKUP_RATIO_MAX)]
