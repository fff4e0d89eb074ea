"""Function pods on a real Kubernetes of one node: how fast they start, and what they hold in memory."""

import contextlib
import datetime
import json
import pathlib
import random
import re
import statistics
import time
from dataclasses import dataclass

from . import page
from .node import HOST, Node, node
from .page import Row
from .plan import Plan

# What runs for a function pod on the node.
PROCESSES = ("containerd-shim-wisp-v1", "wisp-host", "/pause")
START_SECONDS_P50_MAX = 0.12
TOGETHER = 20
# Within it pods have started, one or many at once.
QUIET_SECONDS = 2.5
TOGETHER_SECONDS_MAX = 1.5
AT_REST = 10
POD_BYTES_MAX = 8 * 1024 * 1024
# A pod that says nothing about the network is started the moment that its address is there.
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "hello"},
    "spec": {
        "replicas": 0,
        "selector": {"matchLabels": {"app": "hello"}},
        "template": {
            "metadata": {"labels": {"app": "hello"}},
            "spec": {
                "runtimeClassName": "wisp",
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "terminationGracePeriodSeconds": 5,
                "containers": [{"name": "hello", "image": "hello", "command": ["/"]}],
            },
        },
    },
}


@dataclass(frozen=True)
class Mapped:
    """What processes hold of one file or of anything else."""

    inode: int
    path: str
    rss_bytes: int
    pss_bytes: int


class Hello:
    """A Deployment of the smallest function, at zero to begin with."""

    def __init__(self, node: Node):
        self.node = node
        DEPLOYMENT["spec"]["template"]["spec"]["containers"][0]["image"] = node.image
        node.request("POST", "/apis/apps/v1/namespaces/default/deployments", DEPLOYMENT)

    def scale(self, replicas: int) -> float:
        """Asks for so many pods, and says when."""
        path = "/apis/apps/v1/namespaces/default/deployments/hello/scale"
        begun = time.time()
        self.node.request("PATCH", path, {"spec": {"replicas": replicas}}, "application/merge-patch+json")
        return begun

    def pods(self) -> list[str]:
        found = json.loads(self.node.request("GET", "/api/v1/namespaces/default/pods"))
        return [pod["metadata"]["name"] for pod in found["items"]]

    def listening(self, replicas: int) -> list[float]:
        """When each pod's host said that it listens, by its log.

        Nobody asks before they should all be up: that costs the API server what it could give to starts.
        """
        time.sleep(QUIET_SECONDS)
        return self.node.until(f"{replicas} pods listen", lambda: self.all_listening(replicas))

    def all_listening(self, replicas: int) -> list[float] | None:
        pods = self.pods()
        times = [said for said in (self.said(pod) for pod in pods) if said]
        return times if len(times) == len(pods) == replicas else None

    def said(self, pod: str) -> float | None:
        with contextlib.suppress(OSError):
            log = self.node.request("GET", f"/api/v1/namespaces/default/pods/{pod}/log?timestamps=true")
            found = re.search(r"^(\S+)Z .*listening", log, re.MULTILINE)
            if found:
                # Python reads microseconds.
                moment = datetime.datetime.fromisoformat(found[1][:26]).replace(tzinfo=datetime.UTC)
                return moment.timestamp()
        return None

    def none_left(self) -> None:
        self.scale(0)
        self.node.until("no pod is left", lambda: not self.pods() or None)


def pods(plan: Plan) -> list[Row]:
    """Starts one at a time, many at once, and memory at rest."""
    with node() as up:
        cluster = Hello(up)
        # The first start compiles.
        cluster.scale(1)
        cluster.listening(1)
        starts = [one(cluster) for _ in range(plan.pod_starts)]
        together = [at_once(cluster) for _ in range(plan.rounds)]
        return rows(starts, together) + at_rest(cluster, plan)


def rows(starts: list[float], together: list[float]) -> list[Row]:
    p50, all_up = statistics.median(starts), statistics.median(together)
    return [
        Row(f"scale request to listening, p50 of {len(starts)}", f"{p50:.3f} s", "≤ 0.12 s", p50 <= START_SECONDS_P50_MAX),
        Row("slowest of them", f"{max(starts):.3f} s"),
        Row(f"{TOGETHER} pods at once, all listening, median of {len(together)}", f"{all_up:.2f} s", "≤ 1.5 s", all_up <= TOGETHER_SECONDS_MAX),
    ]


def one(cluster: Hello) -> float:
    cluster.none_left()
    # The kubelet looks at its pods once a second: a start shall meet any moment of that.
    time.sleep(random.random())
    begun = cluster.scale(1)
    return cluster.listening(1)[0] - begun


def at_once(cluster: Hello) -> float:
    cluster.none_left()
    begun = cluster.scale(TOGETHER)
    return max(cluster.listening(TOGETHER)) - begun


def at_rest(cluster: Hello, plan: Plan) -> list[Row]:
    cluster.none_left()
    cluster.scale(AT_REST)
    cluster.listening(AT_REST)
    time.sleep(plan.rest_seconds)
    held = [mapped for pid in processes() for mapped in mappings(pid)]
    program = HOST.stat().st_ino
    own = sum(each.pss_bytes for each in held if each.inode != program) / AT_REST
    whole = sum(each.pss_bytes for each in held) / AT_REST
    code = [each for each in held if each.path.endswith(".wisp")]
    shared = sum(each.rss_bytes for each in code) / max(1, sum(each.pss_bytes for each in code))
    compiled = cluster.node.run("exec", "bash", "-c", "ls /var/lib/wisp/store/*.wisp").split()
    return [
        Row(f"a pod's processes but the host's code, one of {AT_REST}", page.mib(own), "≤ 8 MiB", own <= POD_BYTES_MAX),
        Row("with its part of the host's code", page.mib(whole)),
        Row("compiled code on the node, for all starts", f"{len(compiled)} file", "once", len(compiled) == 1),
        Row(f"its pages in {AT_REST} pods: resident / proportional", f"{shared:.1f} ×", "shared", shared >= 2),
    ]


def processes() -> list[int]:
    """All of function pods on this machine: there is one cluster while this measures."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            program = (folder / "cmdline").read_bytes().split(b"\0")[0].decode()
            if program.endswith(PROCESSES):
                found.append(int(folder.name))
    return found


def mappings(pid: int) -> list[Mapped]:
    found = []
    text = pathlib.Path(f"/proc/{pid}/smaps").read_text()
    for part in re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", text, flags=re.MULTILINE)[1:]:
        head = part.split("\n", 1)[0].split(None, 5)
        size = {name: int(re.search(rf"^{name}:\s+(\d+)", part, re.MULTILINE)[1]) * 1024 for name in ("Rss", "Pss")}
        found.append(Mapped(int(head[4]), head[5] if len(head) > 5 else "", size["Rss"], size["Pss"]))
    return found
