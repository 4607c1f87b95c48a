"""Nothing fails while everything changes: rules, subsets, endpoints, certificates, the control plane.

The load goes through two Envoys; the counts are printed (`pytest -s`).
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mesh import ARGOSY, Mesh, processes

pytestmark = pytest.mark.e2e

LOAD = Path(__file__).with_name("load.py")
SECONDS = 60

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: httpbin}
spec:
  ports: [{name: http, port: 8000, targetPort: 8080}]
  selector: {app: httpbin}
"""


def httpbin(version: str, replicas: int) -> str:
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: httpbin-{version}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: httpbin, version: {version}}}}}
  template:
    metadata: {{labels: {{app: httpbin, version: {version}}}}}
    spec:
      containers:
        - name: httpbin
          image: mccutchen/go-httpbin
          readinessProbe: {{httpGet: {{path: /status/200, port: 8080}}, periodSeconds: 1}}
"""


CLIENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: curl}
spec:
  selector: {matchLabels: {app: curl}}
  template:
    metadata: {labels: {app: curl}}
    spec:
      containers:
        - {name: curl, image: curlimages/curl, command: [/bin/sleep, infinity]}
"""


def rules(first: int) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: httpbin}}
spec:
  host: httpbin
  subsets:
    - {{name: v1, labels: {{version: v1}}}}
    - {{name: v2, labels: {{version: v2}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: httpbin}}
spec:
  hosts: [httpbin]
  http:
    - route:
        - {{destination: {{host: httpbin, subset: v1}}, weight: {first}}}
        - {{destination: {{host: httpbin, subset: v2}}, weight: {100 - first}}}
"""


NO_SUBSETS = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: httpbin}
spec:
  hosts: [httpbin]
  http:
    - route:
        - {destination: {host: httpbin}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: httpbin}
spec:
  host: httpbin
  trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}
"""


@pytest.fixture(scope="module")
def loaded(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    mesh.environment["SECRET_TTL"] = "40s"
    file = tmp_path_factory.mktemp("yaml") / "httpbin.yaml"
    file.write_text("---".join((SERVICE, httpbin("v1", 2), httpbin("v2", 1), CLIENT)))
    mesh.up(file)
    return mesh


def control_plane_pid(mesh: Mesh) -> int:
    """Found by its command line, as an operator would."""
    wanted = re.compile(rf"argosy\.server --directory \S*/{mesh.name} ")
    (pid,) = [pid for pid, line, _ in processes() if wanted.search(line)]
    return pid


def serials(mesh: Mesh) -> set[str]:
    text = mesh.argosy("proxy-config", "secrets", "deploy/curl").stdout
    found = {line.split("ACTIVE")[1].split()[0] for line in text.splitlines() if "Chain" in line}
    assert found, text
    return found


@pytest.mark.timeout(240)
def test_zero_failed_requests(loaded: Mesh) -> None:
    before = serials(loaded)
    process = subprocess.Popen(
        [
            *(str(ARGOSY), "exec", "deploy/curl", "--", sys.executable, str(LOAD)),
            *("http://httpbin:8000/get", "--seconds", str(SECONDS), "--rate", "100"),
        ],
        env=loaded.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    started = time.monotonic()
    done: list[str] = []
    try:
        loaded.apply(rules(100))
        loaded.apply(rules(0))
        loaded.apply(rules(50))
        done.append("weights")
        loaded.apply(NO_SUBSETS)
        loaded.apply(rules(50))
        done.append("subsets removed and made again")
        loaded.apply(httpbin("v2", 3))
        loaded.argosy("wait", "deploy/httpbin-v2", "--for", "available")
        done.append("two replicas more")
        killed = control_plane_pid(loaded)
        os.kill(killed, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while True:
            answer = loaded.argosy("status", "-o", "json", check=False)
            if answer.returncode == 0 and all(
                proxy["types"].get("CDS", {}).get("state") == "SYNCED"
                for proxy in json.loads(answer.stdout)["proxies"]
            ):
                proxies = json.loads(answer.stdout)["proxies"]
                if len(proxies) == 7:
                    break
            assert time.monotonic() < deadline, "the proxies did not come back" + loaded.logs()
            time.sleep(0.5)
        assert control_plane_pid(loaded) != killed
        done.append("control plane killed and back")
        loaded.apply(rules(80))
        loaded.apply(httpbin("v1", 1))
        loaded.apply(httpbin("v2", 1))
        done.append("three replicas drained")
        while time.monotonic() < started + SECONDS - 5:
            loaded.apply(rules(20))
            loaded.apply(rules(70))
            time.sleep(1)
        rotated = serials(loaded)
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    summary = json.loads(out)
    sys.stdout.write(f"\nmeanwhile: {', '.join(done)}; certificate rotated\n{summary}\n")
    assert rotated.isdisjoint(before), "no certificate was renewed"
    assert summary["requests"] > SECONDS * 80
    assert summary["failures"] == [], summary
