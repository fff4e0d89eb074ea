"""What stands before an instance: nothing, nginx, or Wisp's activator."""

import contextlib
import os
import pathlib
import shutil

from .load import Peer, compare
from .page import Row
from .plan import Plan
from .process import Failed, free_port, running, scratch, wait_for_port
from .servers import described, wisp_host
from .up import Up, function, wisp_up

ADDED_P50_MICROS_MAX = 80
REUSE_REQUESTS = 128

NGINX = """\
{user}
daemon off;
worker_processes {workers};
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    # No connection is ever closed for its age: the same for both proxies.
    keepalive_requests 1000000000;
    upstream instance {{
        server {upstream};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://instance;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
        }}
    }}
}}
"""


@contextlib.contextmanager
def nginx(folder, name: str, upstream: str):
    """nginx with kept connections on both sides, as many workers as cores, and no log."""
    own = folder / name
    own.mkdir()
    port = free_port()
    # Its workers would become another user, who cannot enter the folder of sockets.
    user = "user root;" if os.getuid() == 0 else ""
    config = NGINX.format(user=user, workers=os.cpu_count(), folder=own, port=port, upstream=upstream)
    (own / "nginx.conf").write_text(config)
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    with running([program, "-p", own, "-c", own / "nginx.conf"], own):
        wait_for_port(port)
        yield Peer(f"through {name}", port)


def proxy(plan: Plan) -> list[Row]:
    """The same function, warm, reached in three ways. nginx forwards to the very instance that the activator uses."""
    with scratch() as folder:
        functions = folder / "functions"
        function(functions, "hello", minimum=1, reuse="pooled")
        with wisp_host(folder, REUSE_REQUESTS) as (direct, _), wisp_up(folder, functions) as up:
            up.wait("one instance", lambda seen: seen["functions"][0]["replicas"] == 1)
            with nginx(folder, "nginx", f"unix:{instance_socket(up)}") as before:
                return rows(direct, before, up.peer("through wisp", "hello"), plan)


def instance_socket(up: Up) -> pathlib.Path:
    """Where the function's one instance listens."""
    instances = up.ask("/api/functions/default/hello")["instances"]
    if len(instances) != 1:
        raise Failed(f"one instance is wanted: {instances}")
    return up.state / "run" / instances[0]["name"] / "s"


def rows(direct: Peer, nginx_peer: Peer, wisp: Peer, plan: Plan) -> list[Row]:
    peers = [direct, nginx_peer, wisp]
    alone, many = compare(peers, 1, plan), compare(peers, 32, plan)
    added = {peer.name: alone[peer.name].p50_micros - alone[direct.name].p50_micros for peer in (nginx_peer, wisp)}
    ratio = many[wisp.name].requests_per_second / many[nginx_peer.name].requests_per_second
    enough = added[wisp.name] <= ADDED_P50_MICROS_MAX
    return [
        *described(alone, 1),
        Row("added by nginx, p50, 1 connection", f"{added[nginx_peer.name]:.0f} µs"),
        Row("added by wisp, p50, 1 connection", f"{added[wisp.name]:.0f} µs", f"≤ {ADDED_P50_MICROS_MAX} µs", enough),
        *described(many, 32),
        Row("wisp / nginx, 32 connections", f"{ratio:.2f} ×", "≥ 1.0 ×", ratio >= 1.0),
    ]
