"""Functions on a real Kubernetes: from zero, a burst, what is lost on changes, and what the control plane holds.

The load is that of `load-tests`, as a user runs it. Beside it, the plain way: a Deployment that is scaled from zero.
"""

import contextlib
import json
import os
import pathlib
import random
import signal
import socket
import statistics
import subprocess
import time
from dataclasses import dataclass

from . import page
from .node import STATIC, Node, node
from .page import Row
from .plan import Plan
from .process import ROOT, Failed, pss_bytes, scratch

FUNCTIONS = "/apis/wisp.dev/v1alpha1/namespaces/default/wasmfunctions"
DOMAIN = "default.example.com"
CONTROL_PLANE = ("wisp-operator", "wisp-autoscaler", "wisp-activator")
WARM_P50_MILLIS_MAX = 10
WARM_P99_MILLIS_MAX = 50
FRESH_P50_MILLIS_MAX = 200
BURST = 200
BURST_P99_MILLIS_MAX = 300
CONTROL_PLANE_BYTES_MAX = 60 * 1024 * 1024
# A function is idle for a second before it goes: requests come while it does.
IDLE = "1s"
# Until a warm instance has taken the place of the one that was taken.
REFILL_SECONDS = 1.5
# Until the pod of the function before is gone. Taking it away costs as much as a start.
FRESH_SECONDS = 6
# Requests come at the very time that the function goes to zero, and a little later.
BETWEEN_SCALE_DOWNS_SECONDS = 1.5
LOAD_PER_SECOND = 50


@dataclass(frozen=True)
class Summary:
    """What a scenario found."""

    requests: int
    failures: int
    # By name: how many, and percentiles in milliseconds.
    series: dict[str, dict[str, float]]

    def of(self, name: str, percentile: str) -> float:
        return self.series[name][percentile]


class Wisp:
    """Wisp on a cluster."""

    def __init__(self, up: Node, folder: pathlib.Path):
        self.node = up
        self.folder = folder
        up.run("wisp", "--programs", str(STATIC))
        path = "/api/v1/namespaces/wisp-system/services/wisp-activator"
        self.address = json.loads(up.request("GET", path))["spec"]["clusterIP"]

    def deploy(self, names: list[str], **scaling) -> None:
        """Functions of the smallest component, when all are ready."""
        for name in names:
            spec = {"component": {"image": self.node.image}, "scaling": {"idle": IDLE, **scaling}}
            kind = {"apiVersion": "wisp.dev/v1alpha1", "kind": "WasmFunction"}
            self.node.request("POST", FUNCTIONS, kind | {"metadata": {"name": name}, "spec": spec})
        self.node.until(f"{len(names)} functions are ready", lambda: all(self.ready(name) for name in names))

    def ready(self, name: str) -> bool:
        found = json.loads(self.node.request("GET", f"{FUNCTIONS}/{name}"))
        status = found.get("status", {})
        conditions = {each["type"]: each["status"] for each in status.get("conditions", [])}
        seen = status.get("observedGeneration") == found["metadata"]["generation"]
        return seen and conditions.get("Ready") == "True"

    def warm(self) -> None:
        """Waits until the pool is full and no function has an instance."""
        pool = "/apis/wisp.dev/v1alpha1/namespaces/default/warmpools/default"
        self.node.until("warm instances", lambda: json.loads(self.node.request("GET", pool))["status"].get("ready", 0) >= 2)

    def update(self, name: str, value: str) -> None:
        """A change that makes a revision, when that one has the traffic."""
        env = {"spec": {"env": [{"name": "ROUND", "value": value}]}}
        self.node.request("PATCH", f"{FUNCTIONS}/{name}", env, "application/merge-patch+json")
        self.node.until(f"{name} is updated", lambda: self.ready(name))

    def roll_activators(self) -> None:
        for arguments in (("rollout", "restart"), ("rollout", "status", "--timeout=120s")):
            self.node.run("kubectl", "-n", "wisp-system", *arguments, "deployment/wisp-activator")

    def load(self, scenario: str, host: str, **settings) -> Summary:
        with self.loading(scenario, host, **settings) as load:
            load.wait()
        return self.summary(load)

    @contextlib.contextmanager
    def loading(self, scenario: str, host: str, **settings):
        """A scenario that runs beside something else, and is ended after it."""
        out = self.folder / f"{scenario}-{time.monotonic_ns()}"
        values = {"URL": f"http://{self.address}", "HOST": f"{host}.{DOMAIN}", "OUT": out, **settings}
        command = [ROOT / "load-tests" / "run", scenario, *(f"{name}={value}" for name, value in values.items())]
        with open(self.folder / "load.log", "ab") as log:
            child = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        child.out = out
        try:
            yield child
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGINT)
            child.wait(60)

    def summary(self, load) -> Summary:
        file = load.out / "summary.json"
        if not file.exists():
            raise Failed(f"the load left no summary:\n{(self.folder / 'load.log').read_text()[-2000:]}")
        found = json.loads(file.read_text())
        series = {row[0]: dict(zip(found["percentiles"], row[1:], strict=True)) for row in found["rows"]}
        return Summary(found["requests"], found["failures"], series)


def cluster(plan: Plan) -> list[Row]:
    with node() as up, scratch() as folder:
        wisp = Wisp(up, folder)
        return [
            at_rest("no function", CONTROL_PLANE_BYTES_MAX),
            *from_zero(wisp, plan),
            at_rest(f"{plan.cluster_starts} functions at zero, deployed at once", None),
            *fresh(wisp, plan),
            *burst(wisp, plan),
            *scale_downs(wisp, plan),
            *changes(wisp, plan),
            *plain(up, plan),
        ]


def from_zero(wisp: Wisp, plan: Plan) -> list[Row]:
    count = plan.cluster_starts
    wisp.deploy([f"zero-{number}" for number in range(1, count + 1)])
    wisp.warm()
    found = wisp.load("from-zero", "zero-{n}", COUNT=count, STARTS=count, PAUSE=REFILL_SECONDS)
    everything(found, count)
    p50, p99 = found.of("cold", "p(50)"), found.of("cold", "p(99)")
    return [
        Row(f"from zero, warm pool, p50 of {count}", f"{p50:.1f} ms", "≤ 10 ms", p50 <= WARM_P50_MILLIS_MAX),
        Row(f"from zero, warm pool, p99 of {count}", f"{p99:.1f} ms", "≤ 50 ms", p99 <= WARM_P99_MILLIS_MAX),
        Row("of that, the start by `Server-Timing`, p50", f"{found.of('cold_start', 'p(50)'):.1f} ms"),
    ]


def fresh(wisp: Wisp, plan: Plan) -> list[Row]:
    count = plan.pod_starts
    wisp.deploy([f"fresh-{number}" for number in range(1, count + 1)], start="fresh")
    found = wisp.load("from-zero", "fresh-{n}", COUNT=count, STARTS=count, PAUSE=FRESH_SECONDS)
    everything(found, count)
    p50 = found.of("cold", "p(50)")
    return [
        Row(f"from zero, fresh pod, p50 of {count}", f"{p50:.0f} ms", "≤ 200 ms", p50 <= FRESH_P50_MILLIS_MAX),
        Row("slowest of them", f"{found.of('cold', 'max'):.0f} ms"),
    ]


def burst(wisp: Wisp, plan: Plan) -> list[Row]:
    wisp.deploy(["burst"])
    rounds = []
    for _ in range(plan.rounds):
        wisp.warm()
        time.sleep(2 * REFILL_SECONDS)
        rounds.append(wisp.load("burst", "burst", REQUESTS=BURST))
    answered = all(found.failures == 0 and found.requests == BURST for found in rounds)
    p99 = statistics.median(found.of("cold", "p(99)") for found in rounds)
    return [
        Row(f"{BURST} requests at once at zero, all answered", "yes" if answered else "no", "yes", answered),
        Row(f"p99 of those that waited for a start, median of {plan.rounds}", f"{p99:.0f} ms", "≤ 300 ms", p99 <= BURST_P99_MILLIS_MAX),
    ]


def scale_downs(wisp: Wisp, plan: Plan) -> list[Row]:
    wisp.deploy(["pulse"])
    found = wisp.load("from-zero", "pulse", STARTS=plan.scale_downs + 1, REST=BETWEEN_SCALE_DOWNS_SECONDS)
    seen = int(found.of("cold", "count")) - 1
    return [Row(f"requests lost over {seen} scale-downs to zero", f"{found.failures}", "0", found.failures == 0)]


def changes(wisp: Wisp, plan: Plan) -> list[Row]:
    wisp.deploy(["steady"])
    # A load that is interrupted cuts its own last requests.
    seconds = 10 + 2 * plan.updates + 15 * plan.rollouts
    with wisp.loading("steady", "steady", RATE=LOAD_PER_SECOND, DURATION=f"{seconds}s") as load:
        for number in range(plan.updates):
            wisp.update("steady", str(number))
            time.sleep(random.random())
        for _ in range(plan.rollouts):
            wisp.roll_activators()
        if load.poll() is not None:
            raise Failed(f"the changes took longer than {seconds} s, and had no load in the end")
        load.wait()
    found = wisp.summary(load)
    what = f"requests lost of {found.requests} over {plan.updates} updates and {plan.rollouts} activator rollouts"
    return [Row(what, f"{found.failures}", "0", found.failures == 0)]


def at_rest(functions: str, bar: int | None) -> Row:
    """All replicas of all three."""
    held = sum(pss_bytes(pid) for pid in processes())
    what = f"control plane at rest, all {len(processes())} processes, {functions}"
    return Row(what, page.mib(held), "≤ 60 MiB", held <= bar) if bar else Row(what, page.mib(held))


def processes() -> list[int]:
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            program = (folder / "cmdline").read_bytes().split(b"\0")[0].decode()
            if program.rsplit("/", 1)[-1] in CONTROL_PLANE:
                found.append(int(folder.name))
    return found


def everything(found: Summary, count: int) -> None:
    """A start that failed, or was none, would make the numbers better."""
    cold = found.series.get("cold", {}).get("count", 0)
    if found.failures or cold != count:
        raise Failed(f"{count} starts were asked for: {cold} were from zero, {found.failures} failed")


def plain(up: Node, plan: Plan) -> list[Row]:
    """What Kubernetes does without Wisp: a Deployment from zero to its first answer, by its Service."""
    linux = up.run("hello").strip()
    peers = [("the shim of Wisp", {"runtimeClassName": "wisp"}, up.image, ["/"]), ("runc", {}, linux, None)]
    rows = []
    for number, (name, pod, image, command) in enumerate(peers):
        address = deployment(up, f"plain-{number}", pod, {"image": image} | ({"command": command} if command else {}))
        starts = [first_answer(up, f"plain-{number}", address) for _ in range(plan.pod_starts + 1)]
        # The first one pulls the image.
        p50 = statistics.median(starts[1:])
        rows.append(Row(f"to compare: `kubectl scale` from zero, {name}, p50 of {plan.pod_starts}", f"{p50 * 1000:.0f} ms"))
    return rows


def deployment(up: Node, name: str, pod: dict, container: dict) -> str:
    labels = {"app": name}
    spec = {"terminationGracePeriodSeconds": 1, "containers": [{"name": "server"} | container]} | pod
    template = {"metadata": {"labels": labels}, "spec": spec}
    body = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    up.request("POST", "/apis/apps/v1/namespaces/default/deployments", {"metadata": {"name": name}, "spec": body})
    service = {"metadata": {"name": name}, "spec": {"selector": labels, "ports": [{"port": 8080}]}}
    return json.loads(up.request("POST", "/api/v1/namespaces/default/services", service))["spec"]["clusterIP"]


def first_answer(up: Node, name: str, address: str) -> float:
    """Seconds from the request to scale; the client tries again as soon as it is refused."""
    scale(up, name, 0)
    up.until("no pod is left", lambda: not pods_of(up, name))
    time.sleep(random.random())
    begun = time.monotonic()
    scale(up, name, 1)
    while not answers(address):
        if time.monotonic() - begun > 60:
            raise Failed(f"{name} does not answer")
        time.sleep(0.002)
    return time.monotonic() - begun


def scale(up: Node, name: str, replicas: int) -> None:
    path = f"/apis/apps/v1/namespaces/default/deployments/{name}/scale"
    up.request("PATCH", path, {"spec": {"replicas": replicas}}, "application/merge-patch+json")


def pods_of(up: Node, name: str) -> list:
    return json.loads(up.request("GET", f"/api/v1/namespaces/default/pods?labelSelector=app%3D{name}"))["items"]


def answers(address: str) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, 8080), 0.5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: plain\r\nConnection: close\r\n\r\n")
        return connection.recv(64).startswith(b"HTTP/1.1 200")
    return False
