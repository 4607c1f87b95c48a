"""Rate limits with real Envoys, a real Mixer and a real Redis; and Istio's documented way, unmodified.

https://istio.io/latest/docs/tasks/policy-enforcement/rate-limit/
"""

import base64
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import debian
import httpx
import pytest
import yaml
from envoy.service.ratelimit.v3 import rls_pb2
from inside import Inside, inside
from manifests import account, deployment, namespace, server, service
from mesh import ARGOSY, Mesh, directory, eventually, mixer_pid, mixer_runs
from rules import Rules

pytestmark = pytest.mark.e2e

LOAD = Path(__file__).with_name("load.py")
CALLER = Path(__file__).with_name("mixer_caller.py")
MIXER = "10.244.0.1:15004"
SLEEP = (sys.executable, "-c", "import time; time.sleep(1e6)")
URL = "http://echo:8000"


@pytest.fixture(scope="module")
def running(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    folder = tmp_path_factory.mktemp("limits")
    if redis := debian.find("redis-server"):
        found = " ".join(f"{name}={value}" for name, value in redis.environment.items())
        program = folder / "bin" / "redis-server"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec env {found} {redis.path} "$@"\n')
        program.chmod(0o755)
        mesh.environment["PATH"] = f"{program.parent}:{mesh.environment['PATH']}"
    file = folder / "all.yaml"
    file.write_text(
        namespace("away")
        + account("echo")
        + deployment("echo", *server("any", 8000), port=8000, replicas=3, account="echo")
        + service("echo", "echo", {"name": "http", "port": 8000})
        + deployment("productpage", *server("any", 9080), port=9080)
        + service("productpage", "productpage", {"name": "http", "port": 9080})
        + deployment("client", *SLEEP)
        + deployment("client", *SLEEP, namespace="away")
    )
    mesh.up(file)
    eventually(lambda: mixer_runs(mesh), "Mixer runs", 30)
    return mesh


@pytest.fixture(scope="module")
def client(running: Mesh) -> Iterator[Inside]:
    with inside(running, "deploy/client") as found:
        yield found


@pytest.fixture(scope="module")
def away(running: Mesh) -> Iterator[Inside]:
    with inside(running, "deploy/client", "away") as found:
        yield found


@pytest.fixture
def rules(running: Mesh) -> Iterator[Rules]:
    with Rules(running) as found:
        yield found


def rate_limit(name: str, *rules: dict[str, Any], **spec: Any) -> str:
    chosen = {} if "targetRefs" in spec else {"selector": {"matchLabels": {"app": "echo"}}}
    document = {
        "apiVersion": "argosy.dev/v1alpha1",
        "kind": "RateLimit",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {**chosen, **spec, "rules": rules},
    }
    return json.dumps(document)


def shared(requests: int, unit: str = "HOUR", **more: Any) -> dict[str, Any]:
    burst = more.pop("burst", None)
    limit = {"requests": requests, "unit": unit} | ({"burst": burst} if burst else {})
    return {"scope": "SHARED", "limit": limit, **more}


def statuses(client: Inside, url: str = URL, count: int = 1, **how: Any) -> list[int]:
    return [answer.status for answer in client.requests(url, count=count, **how)]


def is_counted(client: Inside, url: str = URL) -> None:
    """Wait until a limit of one request is known to all that count."""
    eventually(lambda: statuses(client, url) == [429], f"{url} is limited")


def load(mesh: Mesh, seconds: float, rate: int, concurrency: int) -> "subprocess.Popen[str]":
    argv = ("exec", "deploy/client", "--", sys.executable, str(LOAD), f"{URL}/")
    options = ("--seconds", str(seconds), "--rate", str(rate), "--concurrency", str(concurrency))
    return subprocess.Popen(
        [str(ARGOSY), *argv, *options],
        env=mesh.environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def outcome(loading: "subprocess.Popen[str]") -> tuple[dict[str, int], float]:
    """How often which status came, and how long it took."""
    out, _ = loading.communicate(timeout=90)
    found = json.loads(out)
    return found["statuses"], found["seconds"]


def test_a_shared_limit_holds_for_all_replicas_together(
    running: Mesh, client: Inside, rules: Rules
) -> None:
    """50 clients that want four times as much as there is, of three replicas, for 10 s."""
    rules.apply("limit", rate_limit("rate", shared(100, "SECOND", burst=10)))
    eventually(lambda: 429 in statuses(client, count=60, parallel=20), "it is counted")
    found, seconds = outcome(load(running, 10.0, 400, 50))
    assert set(found) == {"200", "429"}
    assert 0.98 * 1000 <= found["200"] <= 1.02 * 100 * seconds, (found, seconds)
    assert found["429"] > 1000, found
    replicas = Counter(
        answer.json["hostname"]
        for answer in client.requests(URL, count=40, parallel=8)
        if answer.status == 200
    )
    assert len(replicas) == 3


@pytest.mark.covers(
    "RateLimit.selector.matchLabels",
    "RateLimit.targetRefs[].group",
    "RateLimit.targetRefs[].kind",
    "RateLimit.targetRefs[].name",
)
def test_who_is_counted_where(
    running: Mesh, client: Inside, away: Inside, rules: Rules, tmp_path: Path
) -> None:
    """By the identity in the caller's certificate; at workloads, services' workloads, and Gateways."""
    by_namespace = shared(2, name="each", keys=[{"source": "NAMESPACE"}])
    file = tmp_path / "limits.yaml"
    file.write_text(yaml.safe_dump(json.loads(rate_limit("who", by_namespace))))
    line = 1 + file.read_text().splitlines().index("  - keys:")
    running.apply(file)
    eventually(lambda: statuses(client) == [429], "the limit is used up")
    assert statuses(away, "http://echo.default:8000", 3) == [200, 200, 429]

    # Who may not count by it cannot use it up, whatever certificate of the mesh he has.
    assert asked_directly(running, "client", "default/who/each") == "PERMISSION_DENIED"
    assert asked_directly(running, "echo", "default/who/each") == "OK"

    found = running.argosy("limits").stdout.splitlines()
    assert found[0].split()[:5] == ["LIMIT", "KEY", "STATE", "USED", "LEFT"]
    rows = {line.split()[1]: line.split() for line in found[1:]}
    assert {"source.namespace=default", "source.namespace=away"} <= set(rows)
    used = rows["source.namespace=away"]
    assert used[0] == "default/who/each"
    assert (used[2], used[4]) == ("OVER", "0")
    assert used[-2:] == ["2/h", f"{file}:{line}"]
    (item,) = json.loads(running.argosy("limits", "-o", "json").stdout)["items"]
    (row,) = [row for row in item["rows"] if row["values"] == ["away"]]
    assert (row["allowed"], row["refused"]) == (2, 1)
    running.delete(file)
    eventually(lambda: statuses(client, count=3) == [200] * 3, "the limit is gone")
    assert "There is no rate limit here." in running.argosy("limits").stderr

    to_service = {"kind": "Service", "name": "productpage"}
    once = {"limit": {"requests": 1, "unit": "HOUR"}}
    rules.apply("limit", rate_limit("service", once, targetRefs=[to_service]))
    page = statuses(client, "http://productpage:9080", 6)
    # A first one may have gone by a connection from before.
    assert page in ([200] + [429] * 5, [200] * 2 + [429] * 4)
    assert statuses(client, count=3) == [200] * 3
    assert "per replica" in running.argosy("limits").stdout
    rules.delete("limit")

    gateway = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.example.com, b.example.com]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge, namespace: default}
spec:
  hosts: [a.example.com, b.example.com]
  gateways: [edge]
  http: [{route: [{destination: {host: productpage}}]}]
"""
    rules.apply("gateway", gateway)
    target = {"group": "networking.istio.io", "kind": "Gateway", "name": "edge"}
    once["match"] = {"hosts": ["a.example.com"]}  # type: ignore[assignment]  # a part of YAML
    problems = rules.apply("limit", rate_limit("edge", once, targetRefs=[target]))
    assert problems == []
    at = {name: {"host": f"{name}.example.com"} for name in ("a", "b")}
    answers = [httpx.get(running.url, headers=at[name]).status_code for name in "aaabbb"]
    assert answers == [200, 429, 429, 200, 200, 200]


def asked_directly(mesh: Mesh, app: str, limit: str) -> str:
    """The gRPC status that Mixer answers a workload that asks by itself, with its certificate."""
    path = next(directory(mesh).glob(f"pods/default/{app}-*/certs/default.json"))
    secret = json.loads(path.read_bytes())["resources"][0]["tls_certificate"]
    question = rls_pb2.RateLimitRequest(domain="argosy", hits_addend=0)
    question.descriptors.add().entries.add(key="limit", value=limit)
    wanted = {
        "target": MIXER,
        "roots": mesh.argosy("certs", "root", "-o", "name").stdout,
        "certificate": secret["certificate_chain"]["inline_string"],
        "key": secret["private_key"]["inline_string"],
        "method": "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit",
        "body": base64.b64encode(question.SerializeToString()).decode(),
    }
    argv = ("exec", f"deploy/{app}", "--", sys.executable, str(CALLER))
    return mesh.argosy(*argv, stdin=json.dumps(wanted)).stdout.strip()


ROUTES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo, namespace: default}
spec:
  hosts: [echo]
  http:
  - name: reports
    match: [{name: big, uri: {prefix: /big}}, {uri: {prefix: /small}}]
    route: [{destination: {host: echo}}]
  - {name: others, route: [{destination: {host: echo}}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.example.com, b.example.com]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge, namespace: default}
spec:
  hosts: [a.example.com, b.example.com]
  gateways: [edge]
  http:
  - {name: checkout, match: [{uri: {prefix: /checkout}}], route: [{destination: {host: productpage}}]}
  - {route: [{destination: {host: productpage}}]}
"""


@pytest.mark.covers("RateLimit.rules[].match.routes")
def test_routes_are_counted_where_they_are_chosen(
    running: Mesh, client: Inside, away: Inside, rules: Rules, tmp_path: Path
) -> None:
    """By the callers' sidecars and by gateways, alone and together; other routes go free."""
    rules.apply("routes", ROUTES)
    for name, scope in (("own", "PER_REPLICA"), ("together", "SHARED")):
        by_route = [
            {"scope": scope, "limit": {"requests": requests, "unit": "HOUR"}, **more}
            for requests, more in (
                (4, {"match": {"routes": ["reports"]}}),
                (1, {"match": {"routes": ["*.big"], "methods": ["GET"]}}),
            )
        ]
        sent = rate_limit(name, *by_route, selector={"matchLabels": {"app": "client"}})
        assert rules.apply("sent", sent) == []
        if scope == "SHARED":
            shown = f"default/{name}/1"
            eventually(lambda at=shown: at in running.argosy("limits").stdout, "Mixer knows it")  # type: ignore[misc]  # bound
        big, small, other = (f"{URL}/{path}" for path in ("big", "small", "other"))
        assert statuses(client, big, 2) == [200, 429], name
        found = statuses(client, small, 5)
        assert sorted(found) == found, name
        # Of the proxy's own buckets one may have lost a token to the request that the other refused.
        assert found.count(429) in ((2, 3) if name == "own" else (2,)), name
        assert statuses(client, other, 5) == [200] * 5, name
        assert statuses(away, "http://echo.default:8000/big", 3) == [200] * 3, "no selected caller"
        rules.delete("sent")

        target = {"group": "networking.istio.io", "kind": "Gateway", "name": "edge"}
        once = {"scope": scope, "limit": {"requests": 1, "unit": "HOUR"}}
        at_gateway = {"match": {"routes": ["checkout"]}, **once}
        assert (
            rules.apply("edge", rate_limit(f"edge-{name}", at_gateway, targetRefs=[target])) == []
        )
        if scope == "SHARED":
            shown = f"default/edge-{name}/0"
            eventually(lambda at=shown: at in running.argosy("limits").stdout, "Mixer knows it")  # type: ignore[misc]  # bound
        hosts = [{"host": f"{host}.example.com"} for host in "ab"]
        paths = ("/checkout", "/checkout/now", "/else", "/else")
        codes = [httpx.get(running.url + p, headers=h).status_code for h in hosts for p in paths]
        assert codes == [200, 429, 200, 200, 429, 429, 200, 200], name
        rules.delete("edge")

    file = tmp_path / "limits.yaml"
    wrong = {"match": {"routes": ["others", "othres"]}, "limit": {"requests": 1, "unit": "DAY"}}
    document = rate_limit("wrong", wrong, selector={"matchLabels": {"app": "client"}})
    file.write_text(yaml.safe_dump(json.loads(document)))
    line = 1 + next(i for i, text in enumerate(file.read_text().splitlines()) if "othres" in text)
    told = running.argosy("analyze", str(file), check=False).stdout
    assert "no VirtualService has an HTTP route that is called othres" in told
    assert f"{file}:{line}" in told
    assert "called others" not in told


def test_mixer_is_killed_under_load(running: Mesh, client: Inside, rules: Rules) -> None:
    """What fails open lets all through and fails nothing; what fails closed refuses; both recover."""
    open_, closed = {"paths": ["/open"]}, {"paths": ["/closed"]}
    rules.apply(
        "limit",
        rate_limit(
            "fails",
            shared(1, name="open", match=open_),
            shared(1, name="closed", match=closed, onFailure="DENY"),
            shared(1_000_000, name="loaded", match={"paths": ["/"]}),
        ),
    )
    is_counted(client, f"{URL}/open")
    is_counted(client, f"{URL}/closed")
    loading = load(running, 5.0, 100, 8)
    eventually(lambda: "default/fails/loaded" in running.argosy("limits").stdout, "it is loaded")
    before = mixer_pid(running)
    os.kill(before, signal.SIGKILL)
    seen = set()
    eventually(
        lambda: (
            seen.add((statuses(client, f"{URL}/open")[0], statuses(client, f"{URL}/closed")[0]))  # type: ignore[func-returns-value]  # remembers
            or (200, 500) in seen
        ),
        "each does as it declares",
    )
    found, _ = outcome(loading)
    assert set(found) == {"200"}, f"nobody failed: {found}"
    is_counted(client, f"{URL}/open")
    is_counted(client, f"{URL}/closed")
    assert mixer_pid(running) != before


REDIS = """
apiVersion: v1
kind: Service
metadata: {name: counters}
spec:
  ports: [{name: tcp-redis, port: 6379}]
  selector: {app: counters}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: counters}
spec:
  selector: {matchLabels: {app: counters}}
  template:
    metadata: {labels: {app: counters}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: redis
        image: docker.io/redis:alpine
        readinessProbe: {tcpSocket: {port: 6379}, periodSeconds: 1}
"""
COUNTED_IN_REDIS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  argosy: |
    rateLimitCounters: redis://counters.default:6379/0
"""


def test_redis_is_killed_and_comes_back(running: Mesh, client: Inside, rules: Rules) -> None:
    debian.require("redis-server")
    rules.apply("redis", REDIS)
    running.argosy("wait", "deploy/counters", "--for", "condition=Available", "--timeout", "30")
    rules.apply("config", COUNTED_IN_REDIS)
    open_, closed = {"paths": ["/open"]}, {"paths": ["/closed"]}
    rules.apply(
        "limit",
        rate_limit(
            "redis",
            shared(1, name="open", match=open_),
            shared(1, name="closed", match=closed, onFailure="DENY"),
        ),
    )
    is_counted(client, f"{URL}/open")
    is_counted(client, f"{URL}/closed")
    keys = running.exec("deploy/counters", sys.executable, "-c", KEYS).stdout.split()
    counted = {key.split("|")[0] for key in keys}
    assert {f"argosy:limit:default/redis/{name}" for name in ("open", "closed")} <= counted
    running.exec("deploy/counters", sys.executable, "-c", KILL)
    eventually(lambda: statuses(client, f"{URL}/open") == [200], "open", 5)
    eventually(lambda: statuses(client, f"{URL}/closed") == [500], "closed", 5)
    is_counted(client, f"{URL}/open")
    is_counted(client, f"{URL}/closed")


KEYS = """
import redis
print(*(key.decode() for key in redis.Redis().keys()), sep="\\n")
"""
KILL = """
import os, redis, signal
os.kill(redis.Redis().info()["process_id"], signal.SIGKILL)
"""


# Istio's own.

RATELIMIT_CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata:
  name: ratelimit-config
data:
  config.yaml: |
    domain: ratelimit
    descriptors:
      - key: PATH
        value: "/productpage"
        rate_limit:
          unit: minute
          requests_per_unit: 1
      - key: PATH
        value: "api"
        rate_limit:
          unit: minute
          requests_per_unit: 2
      - key: PATH
        rate_limit:
          unit: minute
          requests_per_unit: 100
"""
FILTERS = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: filter-ratelimit, namespace: istio-system}
spec:
  workloadSelector: {labels: {istio: ingressgateway}}
  configPatches:
    - applyTo: HTTP_FILTER
      match:
        context: GATEWAY
        listener:
          filterChain:
            filter:
              name: "envoy.filters.network.http_connection_manager"
              subFilter: {name: "envoy.filters.http.router"}
      patch:
        operation: INSERT_BEFORE
        value:
          name: envoy.filters.http.ratelimit
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit
            domain: ratelimit
            failure_mode_deny: true
            timeout: 10s
            rate_limit_service:
              grpc_service:
                envoy_grpc:
                  cluster_name: outbound|8081||ratelimit.default.svc.cluster.local
                  authority: ratelimit.default.svc.cluster.local
              transport_api_version: V3
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: filter-ratelimit-svc, namespace: istio-system}
spec:
  workloadSelector: {labels: {istio: ingressgateway}}
  configPatches:
    - applyTo: VIRTUAL_HOST
      match:
        context: GATEWAY
        routeConfiguration: {vhost: {name: "", route: {action: ANY}}}
      patch:
        operation: MERGE
        value:
          rate_limits:
            - actions:
              - request_headers: {header_name: ":path", descriptor_key: "PATH"}
"""
API_ROUTE = """
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: {name: bookinfo}
spec:
  gateways: [bookinfo-gateway]
  hosts: ['*']
  http:
  - match:
    - uri: {exact: /productpage}
    - uri: {prefix: /static}
    - uri: {exact: /login}
    - uri: {exact: /logout}
    route: [{destination: {host: productpage, port: {number: 9080}}}]
  - match:
    - uri: {prefix: /api/v1/products}
    route: [{destination: {host: productpage, port: {number: 9080}}}]
    name: api
"""
API_FILTER = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: filter-ratelimit-svc-api, namespace: istio-system}
spec:
  workloadSelector: {labels: {istio: ingressgateway}}
  configPatches:
    - applyTo: HTTP_ROUTE
      match:
        context: GATEWAY
        routeConfiguration: {vhost: {name: "*:8080", route: {name: "api"}}}
      patch:
        operation: MERGE
        value:
          route:
            rate_limits:
            - actions:
              - header_value_match:
                  descriptor_key: "PATH"
                  descriptor_value: "api"
                  headers:
                    - name: ":path"
                      safe_regex_match:
                        google_re2: {}
                        regex: "/api/v1/products/[1-9]{1,2}"
"""


def test_istios_global_rate_limit(running: Mesh, istio_samples: Path, rules: Rules) -> None:
    """Its manifests of the service and of Redis, its configuration and filters, its figures."""
    debian.require("redis-server")
    networking = istio_samples / "bookinfo" / "networking"
    rules.apply("config", RATELIMIT_CONFIG)
    rules.apply("service", (istio_samples / "ratelimit/rate-limit-service.yaml").read_text())
    rules.apply("gateway", (networking / "bookinfo-gateway.yaml").read_text())
    for name in ("redis", "ratelimit"):
        running.argosy("wait", f"deploy/{name}", "--for", "condition=Available", "--timeout", "30")
    rules.apply("filters", FILTERS)
    url = running.url

    def codes(*paths: str) -> list[int]:
        return [httpx.get(f"{url}{path}").status_code for path in paths]

    eventually(lambda: codes("/logout") == [200], "the service is asked", 30)
    assert codes("/productpage", "/productpage") == [200, 429]
    gateway, _, _ = rules.text("gateway").partition("\n---\n")
    rules.apply("gateway", f"{gateway}\n---\n{API_ROUTE}")
    rules.apply("api", API_FILTER)
    assert codes(*(f"/api/v1/products/{number}" for number in (1, 2, 3))) == [200, 200, 429]
    assert codes("/logout") == [200]
