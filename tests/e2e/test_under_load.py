"""Nothing fails while everything changes: rules, subsets, endpoints, certificates, the control plane,
Gateways, ServiceEntries, DestinationRules and the settings of localities.

The load goes through two Envoys; the counts are printed (`pytest -s`).
"""

import contextlib
import functools
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from manifests import mesh_config
from mesh import ARGOSY, Mesh, eventually, processes
from rules import Rules, document

pytestmark = pytest.mark.e2e

LOAD = Path(__file__).with_name("load.py")
SECONDS = 60
SHORT_SECONDS = 25
NETWORKING = "networking.istio.io/v1"

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


def load(mesh: Mesh, url: str, seconds: int, rate: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [
            *(str(ARGOSY), "exec", "deploy/curl", "--", sys.executable, str(LOAD)),
            *(url, "--seconds", str(seconds), "--rate", str(rate)),
        ],
        env=mesh.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.timeout(240)
def test_zero_failed_requests(loaded: Mesh) -> None:
    before = serials(loaded)
    process = load(loaded, "http://httpbin:8000/get", SECONDS, 100)
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


HTTP = {"number": 80, "name": "http", "protocol": "HTTP"}
INGRESS = "http://istio-ingressgateway.istio-system/get"
OUTLIERS = {"consecutive5xxErrors": 1, "interval": "1s", "baseEjectionTime": "1m"}

POLICIES: tuple[dict[str, object], ...] = (
    {"loadBalancer": {"simple": "RANDOM"}},
    {"tls": {"mode": "DISABLE"}},
    {"loadBalancer": {"consistentHash": {"httpHeaderName": "user-agent"}}},
    {"tls": {"mode": "ISTIO_MUTUAL"}, "connectionPool": {"tcp": {"maxConnections": 500}}},
    {"connectionPool": {"http": {"h2UpgradePolicy": "DO_NOT_UPGRADE", "maxRetries": 9}}},
    {"outlierDetection": OUTLIERS, "loadBalancer": {"localityLbSetting": {"enabled": True}}},
    {"portLevelSettings": [{"port": {"number": 8000}, "loadBalancer": {"simple": "RANDOM"}}]},
)
LOCALITIES = (
    "localityLbSetting: {enabled: false}",
    "localityLbSetting: {failover: [{from: region1, to: region2}]}",
    "localityLbSetting: {failoverPriority: [version]}",
    "accessLogFile: ''",
)


def gateway(*hosts: str, more: tuple[dict[str, object], ...] = ()) -> str:
    servers = [{"port": HTTP, "hosts": hosts}, *more]
    spec = {"selector": {"istio": "ingressgateway"}, "servers": servers}
    return document(NETWORKING, "Gateway", "ingress", spec)


def answers(mesh: Mesh, url: str) -> bool:
    return mesh.status("deploy/curl", url) == 200


def gateways() -> tuple[str, ...]:
    """All of them serve what is asked for at port 80."""
    other = {"port": {"number": 8081, "name": "other", "protocol": "HTTP"}, "hosts": ["*"]}
    named = {"port": {**HTTP, "name": "named"}, "hosts": ["shop.example.com"]}
    return (
        gateway("*"),
        gateway("*", more=(other,)),
        gateway("istio-ingressgateway.istio-system", "shop.example.com"),
        gateway("*", more=(named,)),
    )


def entries(addresses: list[str]) -> tuple[str, ...]:
    """Hosts, ports, endpoints and the way to find them change; the load's host and port stay."""
    port = {**HTTP, "targetPort": 8080}
    some = [{"address": address} for address in addresses]
    shared = {"hosts": ["steady.example.com"], "ports": [port], "resolution": "STATIC"}
    specs: tuple[dict[str, object], ...] = (
        {**shared, "endpoints": some[:1], "location": "MESH_EXTERNAL"},
        {**shared, "endpoints": some, "hosts": ["steady.example.com", "more.example.com"]},
        {**shared, "workloadSelector": {"labels": {"app": "httpbin"}}, "location": "MESH_INTERNAL"},
        {**shared, "endpoints": some[1:], "ports": [port, {**port, "number": 81, "name": "more"}]},
    )
    return tuple(document(NETWORKING, "ServiceEntry", "steady", spec) for spec in specs)


@pytest.mark.timeout(180)
def test_zero_failed_requests_through_what_changes(loaded: Mesh) -> None:
    """Three loads at once: by the Gateway, by the ServiceEntry, and to the DestinationRule's host."""
    pods = loaded.get("pods", "-l", "app=httpbin")
    addresses = [pod["status"]["podIP"] for pod in pods]
    loaded.argosy("delete", "--wait", "vs", "httpbin", check=False)
    loaded.argosy("delete", "--wait", "dr", "httpbin", check=False)
    urls = (INGRESS, "http://steady.example.com/get", "http://httpbin:8000/get")
    with Rules(loaded) as rules, contextlib.ExitStack() as stack:
        rules.apply("gateway", gateways()[0])
        to = [{"destination": {"host": "httpbin", "port": {"number": 8000}}}]
        spec = {"hosts": ["*"], "gateways": ["ingress"], "http": [{"route": to}]}
        rules.apply("route", document(NETWORKING, "VirtualService", "ingress", spec))
        rules.apply("entry", entries(addresses)[0])
        for url in urls:
            eventually(functools.partial(answers, loaded, url), url, 30)
        running = [load(loaded, url, SHORT_SECONDS, 40) for url in urls]
        for process in running:
            stack.callback(process.kill)
        started = time.monotonic()
        changes = 0
        for turn in itertools.count():
            if time.monotonic() > started + SHORT_SECONDS - 3:
                break
            rules.apply("gateway", gateways()[turn % 4])
            rules.apply("entry", entries(addresses)[turn % 4])
            rules.destination("httpbin", POLICIES[turn % len(POLICIES)])
            rules.apply("mesh", mesh_config(LOCALITIES[turn % 4]))
            changes += 4
        summaries = [json.loads(process.communicate(timeout=60)[0]) for process in running]
    sys.stdout.write(f"\n{changes} changes: {summaries}\n")
    assert changes >= 16, "each Gateway and each ServiceEntry once"
    for url, summary in zip(urls, summaries, strict=True):
        assert summary["requests"] > SHORT_SECONDS * 30, (url, summary)
        assert summary["failures"] == [], (url, summary)
