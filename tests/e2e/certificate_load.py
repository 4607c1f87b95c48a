"""Two servers and a client in ``foo``, a stranger without a sidecar in ``legacy``, and a load.

Every request makes a new TLS connection between the two Envoys, so that each is a handshake under
what holds at that moment.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from manifests import deployment, namespace, service
from mesh import ARGOSY, Mesh

from argosy.platforms.local.state import MeshDirectory

LOAD = Path(__file__).with_name("load.py")
RATE = 60
_NEW_CONNECTIONS = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: foo}
spec:
  host: web.foo.svc.cluster.local
  trafficPolicy:
    connectionPool: {http: {maxRequestsPerConnection: 1}}
"""
WORKLOADS = "---\n".join(
    (
        namespace("foo"),
        namespace("legacy", {"istio-injection": "disabled"}),
        deployment("web", image="mccutchen/go-httpbin", port=8080, namespace="foo", replicas=2),
        service("web", "web", {"name": "http", "port": 80, "targetPort": 8080}, namespace="foo"),
        deployment("client", "/bin/sleep", "infinity", namespace="foo"),
        deployment("stranger", "/bin/sleep", "infinity", namespace="legacy"),
        _NEW_CONNECTIONS,
    )
)


def get(mesh: Mesh) -> int:
    return mesh.status("deploy/client", "http://web.foo/get", namespace="foo")


def state_of(mesh: Mesh) -> MeshDirectory:
    return MeshDirectory.at(Path(mesh.environment["ARGOSY_STATE_DIR"]) / mesh.name)


def roots(mesh: Mesh) -> str:
    return mesh.argosy("certs", "root", "-o", "name").stdout


def certificates(mesh: Mesh) -> dict[str, Any]:
    """What each workload has, by its pod."""
    overview = json.loads(mesh.argosy("certs", "-o", "json").stdout)
    return {one["report"]["pod"]: one for one in overview["workloads"]}


@contextmanager
def load(mesh: Mesh, seconds: float, namespace: str = "foo") -> Iterator[dict[str, Any]]:
    """Steady requests in a namespace meanwhile; what it yields is filled in at the end."""
    url = f"http://web.{namespace}/get"
    argv = (sys.executable, str(LOAD), url, "--seconds", str(seconds))
    process = subprocess.Popen(
        [ARGOSY, "exec", "-n", namespace, "deploy/client", "--", *argv, "--rate", str(RATE)],
        env=mesh.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, Any] = {}
    try:
        time.sleep(1)
        yield found
        text, _ = process.communicate(timeout=seconds + 60)
        found.update(json.loads(text))
    finally:
        process.kill()
        process.wait()


def require_no_failure(found: dict[str, Any], what: str) -> None:
    """Every request was answered with 200; the count is printed."""
    sys.stdout.write(f"\n{what}: {found['requests']} requests, {found['statuses']}\n")
    assert found["requests"] > 100, found
    assert found["statuses"] == {"200": found["requests"]}, found


@contextmanager
def staying_in_legacy(
    mesh: Mesh, script: Path
) -> Iterator[Callable[[dict[str, Any]], dict[str, Any]]]:
    """The same in one process that stays, for one request after the other."""
    process = subprocess.Popen(
        [
            *(str(ARGOSY), "exec", "-n", "legacy", "-i", "deploy/stranger", "--"),
            *(sys.executable, str(script)),
        ],
        env=mesh.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    told, answers = process.stdin, process.stdout

    def ask(wanted: dict[str, Any]) -> dict[str, Any]:
        told.write(json.dumps(wanted) + "\n")
        told.flush()
        answer: dict[str, Any] = json.loads(answers.readline())
        return answer

    try:
        yield ask
    finally:
        told.close()
        process.kill()
        process.wait()


def in_legacy(mesh: Mesh, script: Path, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The answers of ``script``, run in the pod without a sidecar, one for each request."""
    done = mesh.argosy(
        *("exec", "-n", "legacy", "-i", "deploy/stranger", "--", sys.executable, str(script)),
        stdin="".join(json.dumps(wanted) + "\n" for wanted in requests),
    )
    return [json.loads(line) for line in done.stdout.splitlines()]
