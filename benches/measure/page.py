"""Tables of results, and their places in docs/performance.md."""

import datetime
import os
import pathlib
import platform
import re
from dataclasses import dataclass

from .process import ROOT, Failed

PAGE = ROOT / "docs" / "performance.md"


@dataclass(frozen=True)
class Row:
    """One line: what was measured, what was promised, what was found, and whether that is enough."""

    what: str
    found: str
    bar: str = "–"
    enough: bool | None = None


def table(rows: list[Row]) -> str:
    """In Markdown."""
    verdict = {True: "yes", False: "**no**", None: ""}
    lines = ["| what | bar | found | reached |", "| --- | --- | --- | --- |"]
    lines += [f"| {row.what} | {row.bar} | {row.found} | {verdict[row.enough]} |" for row in rows]
    return "\n".join(lines)


def write(part: str, text: str) -> None:
    """Puts a part's table between its marks; what stands around them is written by hand."""
    marks = re.compile(rf"(<!-- measured: {part} -->\n).*?(<!-- end -->)", re.DOTALL)
    page = PAGE.read_text()
    if not marks.search(page):
        raise Failed(f"{PAGE} has no marks for {part}")
    block = f"{text}\n\n{machine()}\n"
    PAGE.write_text(marks.sub(lambda found: found[1] + block + found[2], page))


def machine() -> str:
    """Where and when."""
    memory = re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())[1]
    gib = round(int(memory) / 1024 / 1024)
    kernel = platform.release().split("-")[0]
    today = datetime.date.today().isoformat()
    return f"{today}, {os.cpu_count()} cores ({platform.machine()}), {gib} GiB, Linux {kernel}; load on the same machine."


def millis(micros: float) -> str:
    return f"{micros / 1000:.3f} ms"


def rate(requests_per_second: float) -> str:
    return f"{requests_per_second:,.0f}/s"


def mib(count: float) -> str:
    return f"{count / 1024 / 1024:.1f} MiB"
