"""What warm instances hold in memory while they wait."""

import statistics
import time

from . import page
from .load import wrk
from .page import Row
from .plan import Plan
from .process import children, pss_bytes, scratch
from .servers import wasmtime_serve
from .up import function, wisp_up

WARM_BYTES_MAX = 10 * 1024 * 1024
COUNTS = (2, 10)


def rest(plan: Plan) -> list[Row]:
    """Proportional set sizes, a few seconds after everything has started."""
    rows = [of_warm(count, plan) for count in COUNTS]
    with scratch() as folder, wasmtime_serve(folder, 1) as (peer, process):
        wrk(peer, 1, 1)
        time.sleep(plan.rest_seconds)
        rows.append(Row("`wasmtime serve` after its first requests", page.mib(pss_bytes(process.pid))))
    return rows


def of_warm(count: int, plan: Plan) -> Row:
    with scratch() as folder:
        functions = folder / "functions"
        function(functions, "hello")
        with wisp_up(folder, functions, warm=count) as up:
            up.wait("warm instances", lambda seen: seen["warm"] >= count)
            time.sleep(plan.rest_seconds)
            each = statistics.mean(pss_bytes(child) for child in children(up.process.pid))
    return Row(f"a warm instance, one of {count}", page.mib(each), "≤ 10 MiB", each <= WARM_BYTES_MAX)
