"""Runs the parts that are asked for, in order, and writes what they found."""

import argparse
import sys

from . import cluster, many, page, pods, proxies, rest, servers, starts
from .plan import FULL, SMOKE

PARTS = {
    "fresh": servers.fresh,
    "reuse": servers.reuse,
    "proxy": proxies.proxy,
    "start": starts.start,
    "rest": rest.rest,
    "many": many.many,
    "pods": pods.pods,
    "cluster": cluster.cluster,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="benches/run")
    parser.add_argument("parts", nargs="*", metavar="PART", help=" ".join(PARTS))
    parser.add_argument("--smoke", action="store_true", help="a second for each measurement, written nowhere")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.parts if name not in PARTS]
    if unknown:
        parser.error(f"no part {' '.join(unknown)}; there are {' '.join(PARTS)}")
    for name in arguments.parts or PARTS:
        print(f"bench: {name}", flush=True)
        rows = PARTS[name](SMOKE if arguments.smoke else FULL)
        table = page.table(rows)
        print(table, flush=True)
        if not arguments.smoke:
            page.write(name, table)
    return 0


sys.exit(main())
