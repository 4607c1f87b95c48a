"""A whole mesh on this machine: real control plane, node, Envoys and traffic."""

import concurrent.futures
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from argosy.platforms.local import exec as exec_sock
from argosy.platforms.local.launcher import LaunchOptions, Mesh, Publish, launch

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("mesh")]

SERVER = """
import http.server, os, signal, socketserver, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = f"{os.environ['VERSION']} {os.environ['HOSTNAME']} {self.headers.get('host')}".encode()
        if self.path == "/exit": os._exit(5)
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128
server = Server(("", 8080), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
"""

MESH = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: web}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: @REPLICAS@
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: web:@VERSION@
        env: [{name: VERSION, value: "@VERSION@"}]
        ports: [{name: web, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: web}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  containers: [{name: shell, image: x, command: [sleep, infinity]}]
  terminationGracePeriodSeconds: 0
---
apiVersion: v1
kind: Pod
metadata: {name: legacy, labels: {sidecar.istio.io/inject: "false"}}
spec:
  containers: [{name: shell, image: x, command: [sleep, infinity]}]
  terminationGracePeriodSeconds: 0
"""


class Client:
    """The mesh as its users have it."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.directory = mesh.directory
        self.token = self.directory.admin_token.read_text().strip()
        self.api = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(self.directory.api_socket), retries=3),
            base_url="http://api",
            headers={"authorization": f"Bearer {self.token}"},
            timeout=30,
        )

    def apply(self, replicas: int = 1, version: str = "v1") -> None:
        text = MESH.replace("@REPLICAS@", str(replicas)).replace("@VERSION@", version)
        body = {"files": [{"path": "mesh.yaml", "text": text}]}
        answer = self.api.post("/apis/argosy.dev/v1alpha1/apply", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["problems"] == []

    def pods(self, app: str = "web") -> list[dict[str, Any]]:
        query = {"labelSelector": f"app={app}"}
        items: list[dict[str, Any]] = self.api.get("/api/v1/pods", params=query).json()["items"]
        return items

    def ready(self, app: str = "web", version: str | None = None) -> list[str]:
        return [
            p["metadata"]["name"]
            for p in self.pods(app)
            if is_ready(p)
            and (version is None or p["spec"]["containers"][0]["image"].endswith(version))
        ]

    def describe(self) -> str:
        """What a person would look at when something is late."""
        pods = self.api.get("/api/v1/pods").json()["items"]
        lines = [f"{p['metadata']['name']}: {p.get('status')}" for p in pods]
        for log in (*self.directory.path.glob("*.log"), *self.directory.pods.glob("*/*/logs/*")):
            lines.append(f"{log}: {log.read_text()[-2000:]}")
        return "\n".join(lines)

    def run(self, pod: str, *argv: str) -> str:
        """What the program prints when run in the pod; its code must be 0."""
        program = (
            "import sys; from pathlib import Path; from argosy.platforms.local.exec import run;"
            "sys.exit(run(Path(sys.argv[1]), sys.argv[2], 'default', sys.argv[3], sys.argv[4:]))"
        )
        command = [sys.executable, "-c", program, str(self.directory.exec_socket), self.token, pod]
        done = subprocess.run([*command, *argv], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done
        return done.stdout

    def get(self, pod: str, url: str) -> str:
        script = (
            f"import urllib.request as r; print(r.urlopen({url!r}, timeout=10).read().decode())"
        )
        return self.run(pod, sys.executable, "-c", script).strip()

    def node(self, path: str) -> httpx.Response:
        transport = httpx.HTTPTransport(uds=str(self.directory.node_socket))
        with httpx.Client(transport=transport, base_url="http://node") as client:
            return client.get(path, headers={"authorization": f"Bearer {self.token}"})


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def wait(condition: Callable[[], Any], why: Callable[[], Any], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, why()
        time.sleep(0.05)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    directory = tmp_path_factory.mktemp("mesh")
    (directory / "server.py").write_text(SERVER)
    images = directory / "images.yaml"
    images.write_text('images: [{match: "web:.*", command: ["${PYTHON}", "./server.py"]}]')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARGOSY_STATE_DIR", str(directory / "state"))
        name = f"t{uuid.uuid4().hex[:8]}"
        publish = (Publish("default", "web", 80),)
        mesh = launch(LaunchOptions(mesh=name, publish=publish, images=(images,)))
        try:
            made = Client(mesh)
            made.apply(replicas=2)
            wait(lambda: len(made.ready()) == 2, made.describe)
            wait(lambda: {"client", "legacy"} <= set(all_ready(made)), made.describe)
            yield made
        finally:
            mesh.stop()
        assert not mesh.directory.path.exists()


def all_ready(made: Client) -> list[str]:
    pods = made.api.get("/api/v1/pods").json()["items"]
    return [p["metadata"]["name"] for p in pods if is_ready(p)]


@pytest.mark.parametrize(
    "host", ["web", "web.default", "web.default.svc", "web.default.svc.cluster.local"]
)
def test_every_form_of_a_service_name(client: Client, host: str) -> None:
    version, _, seen = client.get("client", f"http://{host}/").split()
    assert (version, seen) == ("v1", host)


def test_a_pod_without_proxy_reaches_services(client: Client) -> None:
    names = {client.get("legacy", "http://web/").split()[1] for _ in range(12)}
    assert names == set(client.ready()), "random choice among both"


def test_a_published_port_of_this_machine(client: Client) -> None:
    answer = httpx.get(client.mesh.published[0].url, timeout=10)
    assert answer.status_code == 200


@pytest.mark.parametrize("pod", ["client", "legacy"])
def test_addresses_outside_are_reached(client: Client, pod: str) -> None:
    address = own_address()
    if address is None:
        pytest.skip("this machine has no address but loopback")
    with (
        socket.create_server((address, 0)) as server,
        concurrent.futures.ThreadPoolExecutor() as pool,
    ):
        server.settimeout(20)

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\noutside")

        answered = pool.submit(answer)
        url = f"http://{address}:{server.getsockname()[1]}/"
        assert client.get(pod, url) == "outside"
        answered.result(5)


def own_address() -> str | None:
    """An address of this machine that is not loopback; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address: str = sock.getsockname()[0]
        return None if address.startswith("127.") else address


def test_the_proxy_is_seen_through_the_node(client: Client) -> None:
    pod = client.ready()[0]
    answer = client.node(f"/v1/pods/default/{pod}/envoy/server_info")
    assert answer.json()["state"] == "LIVE"
    assert answer.json()["node"]["id"].endswith(f"~{pod}.default~default.svc.cluster.local")
    assert client.node("/v1/pods/default/legacy/envoy/server_info").status_code == 404
    shown = {p["name"]: p["proxy"] for p in client.node("/v1/pods").json()}
    assert shown[pod] is True


def test_the_node_asks_for_its_token(client: Client) -> None:
    transport = httpx.HTTPTransport(uds=str(client.directory.node_socket))
    with httpx.Client(transport=transport, base_url="http://node") as stranger:
        assert stranger.get("/v1/pods").status_code == 401
    with pytest.raises(exec_sock.ExecError, match="token"):
        exec_sock.run(client.directory.exec_socket, "x", "default", "client", ["true"])


def test_an_application_that_ends_is_started_again(client: Client) -> None:
    pod = client.ready()[0]
    (address,) = [p["status"]["podIP"] for p in client.pods() if p["metadata"]["name"] == pod]
    script = f"import urllib.request as r; r.urlopen('http://{address}:8080/exit', timeout=5)"
    client.run("client", "sh", "-c", f'{sys.executable} -c "{script}" 2>/dev/null || true')

    def restarts() -> int:
        (found,) = [p for p in client.pods() if p["metadata"]["name"] == pod]
        return int(found["status"]["containerStatuses"][0].get("restartCount", 0))

    wait(lambda: restarts() == 1 and len(client.ready()) == 2, client.describe)


def test_a_proxy_that_is_killed_is_started_again(client: Client) -> None:
    pod = client.ready()[0]
    sockets = Path("/proc").glob("[0-9]*/cwd")
    here = str(client.directory.pod("default", pod))
    (pid,) = [int(p.parts[2]) for p in sockets if _link(p) == here]
    os.kill(pid, signal.SIGKILL)
    wait(lambda: pod not in client.ready(), client.describe, 5)
    wait(lambda: pod in client.ready(), client.describe)
    assert client.get("client", "http://web/").startswith("v1")


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""


class Load:
    """Requests from the client pod, one after the other in four lines, until stopped."""

    SCRIPT = """
import http.client, sys, threading, time, pathlib
stop, counts, errors = pathlib.Path(sys.argv[1]), [0], []
def line():
    while not stop.exists():
        try:
            connection = http.client.HTTPConnection("web", timeout=10)
            for _ in range(20):
                connection.request("GET", "/")
                answer = connection.getresponse()
                body = answer.read()
                counts[0] += 1
                if answer.status != 200:
                    errors.append(f"{time.time()} {answer.status} {body[:100]}")
                if answer.getheader("connection") == "close": break
                time.sleep(0.005)
            connection.close()
        except Exception as error:
            errors.append(f"{time.time()} {error!r}")
lines = [threading.Thread(target=line) for _ in range(4)]
[l.start() for l in lines]
[l.join() for l in lines]
print(counts[0], len(errors), errors[:5])
"""

    def __init__(self, client: Client, directory: Path) -> None:
        self.client = client
        self.stop = directory / "stop"
        self.pool = concurrent.futures.ThreadPoolExecutor(1)

    def __enter__(self) -> "Load":
        run = (sys.executable, "-c", self.SCRIPT, str(self.stop))
        self.result = self.pool.submit(self.client.run, "client", *run)
        time.sleep(0.5)
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(0.5)
        self.stop.touch()
        self.pool.shutdown()


def test_no_request_fails_while_replicas_come_and_go(client: Client, tmp_path: Path) -> None:
    with Load(client, tmp_path) as load:
        client.apply(replicas=3)
        wait(lambda: len(client.ready()) == 3, client.describe)
        client.apply(replicas=1)
        wait(lambda: len(client.pods()) == 1, client.describe)
        client.apply(replicas=2, version="v2")
        wait(lambda: len(client.ready(version="v2")) == 2 == len(client.pods()), client.describe)
        time.sleep(3)
    requests, failed, errors = load.result.result().split(maxsplit=2)
    assert int(requests) > 100
    assert (failed, errors.strip()) == ("0", "[]"), f"{failed} of {requests} failed: {errors}"
    assert client.get("client", "http://web/").startswith("v2")


def test_the_data_plane_goes_on_without_the_control_plane(client: Client, tmp_path: Path) -> None:
    word = f"argosy.server\0--directory\0{client.directory.path}"
    with Load(client, tmp_path) as load:
        (pid,) = [int(p.parts[2]) for p in Path("/proc").glob("[0-9]*/cmdline") if word in _read(p)]
        os.kill(pid, signal.SIGKILL)
        time.sleep(2)
    requests, failed, errors = load.result.result().split(maxsplit=2)
    assert int(requests) > 50
    assert failed == "0", errors
    wait(lambda: _replicas(client, 1), client.describe)


def _replicas(client: Client, count: int) -> bool:
    try:
        client.apply(replicas=count, version="v2")
    except (httpx.TransportError, AssertionError):
        return False
    return True


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""
