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
from rate_limit_manifests import (
    API_FILTER,
    API_ROUTE,
    COUNTED_IN_REDIS,
    FILTERS,
    GATEWAY,
    KEYS,
    RATELIMIT_CONFIG,
    REDIS,
    ROUTED_EDGE,
    ROUTES,
    STOP,
    WHOLE_EDGE,
)
from rules import Rules
from token_bucket import never_too_many, passed_by_a_bucket

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


def is_known(mesh: Mesh, limit: str) -> None:
    """Wait until Mixer has heard of it."""
    eventually(lambda: limit in mesh.argosy("limits").stdout, f"Mixer knows {limit}")


def load(
    mesh: Mesh, seconds: float, rate: int, concurrency: int, *more: str
) -> "subprocess.Popen[str]":
    argv = ("exec", "deploy/client", "--", sys.executable, str(LOAD), f"{URL}/", *more)
    options = ("--seconds", str(seconds), "--rate", str(rate), "--concurrency", str(concurrency))
    return subprocess.Popen(
        [str(ARGOSY), *argv, *options],
        env=mesh.environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def outcome(loading: "subprocess.Popen[str]") -> Any:
    out, _ = loading.communicate(timeout=90)
    return json.loads(out)


PER_SECOND, BURST, SECONDS = 100, 20, 10.0


def test_a_shared_limit_holds_for_all_replicas_together(
    running: Mesh, client: Inside, rules: Rules
) -> None:
    """50 clients that want four times as much as there is, of three replicas, for 10 s.

    In no time, however short or long and whenever it begins, does more pass than the limit says,
    so of 1000 at most 2 % more; and no less than 2 % below what a bucket lets through that is asked when
    these answers came.
    """
    limit = shared(PER_SECOND, "SECOND", burst=BURST, onFailure="DENY")
    rules.apply("limit", rate_limit("rate", limit))
    eventually(lambda: 429 in statuses(client, count=60, parallel=20), "it is counted")
    for _ in range(3):
        found = outcome(load(running, SECONDS, 4 * PER_SECOND, 50, "--times"))
        # A Mixer that this machine keeps waiting for half a second is none: that request is refused.
        assert set(found["statuses"]) - {"500"} == {"200", "429"}
        assert found["statuses"].get("500", 0) <= PER_SECOND * SECONDS / 100, found["statuses"]
        passed = [(sent, answered) for sent, answered, status in found["times"] if status == 200]
        answers = (answered for _, answered, _ in found["times"])
        ideal = passed_by_a_bucket(answers, BURST, PER_SECOND)
        assert never_too_many(passed, BURST, PER_SECOND), len(passed)
        assert abs(len(passed) - ideal) <= 0.02 * PER_SECOND * SECONDS, (len(passed), ideal)
        if ideal >= 0.98 * PER_SECOND * SECONDS:  # else this machine was too busy to ask enough
            break
    else:
        pytest.fail(f"in no ten seconds there was demand all the time: {found['statuses']}")
    assert not never_too_many(passed, BURST, 0.95 * PER_SECOND), "the test would see 5 % too many"
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
    rules.delete("limit")

    rules.apply("gateway", GATEWAY + WHOLE_EDGE)
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


def test_what_replicas_count_for_themselves_is_seen(
    running: Mesh, client: Inside, rules: Rules
) -> None:
    """By Mixer, of each replica: who was refused how often, and whose bucket is nearly empty."""
    hourly = {"unit": "HOUR"}
    whole = {"name": "whole", "limit": {"requests": 10, **hourly}}
    part = {"name": "part", "match": {"paths": ["/part"]}, "limit": {"requests": 1, **hourly}}
    tried = {"name": "tried", "dryRun": True, "limit": {"requests": 1, **hourly}}
    page = {"name": "all", "limit": {"requests": 10, "unit": "DAY"}}
    at_page = {"matchLabels": {"app": "productpage"}}
    for host in ("echo", "productpage"):  # none has a connection to a listener from before
        rules.destination(host, {"connectionPool": {"http": {"maxRequestsPerConnection": 1}}})
    rules.apply("limit", rate_limit("own", whole, part, tried))
    rules.apply("page", rate_limit("page", page, selector=at_page))
    assert statuses(client, "http://productpage:9080", 9) == [200] * 9
    parts = Counter(statuses(client, f"{URL}/part", 6))
    assert 1 <= parts[200] <= 3
    others = Counter(statuses(client, count=60, parallel=8))
    assert others[429] >= 60 - 30

    pods = {p["status"]["podIP"]: p["metadata"]["name"] for p in running.get("pods")}

    def rows(name: str) -> dict[str, Any]:
        """Of one limit, by the pod."""
        items = json.loads(running.argosy("limits", "-o", "json").stdout)["items"]
        (item,) = [one for one in items if one["id"] == f"default/{name}"]
        assert not item["shared"]
        return {pods[row["replica"]["address"]]: row for row in item["rows"]}

    def total(name: str, field: str) -> int:
        return sum(row[field] for row in rows(name).values())

    def told() -> bool:
        return total("own/whole", "allowed") + total("own/whole", "refused") == 66

    eventually(told, "all replicas have told", 20)
    of_whole = rows("own/whole")
    assert len(of_whole) == 3
    assert total("own/whole", "refused") == others[429]
    assert {row["state"] for row in of_whole.values() if row["refused"]} == {"OVER"}
    assert {row["remaining"] for row in of_whole.values() if row["refused"]} == {0}
    assert total("own/part", "refused") == parts[429]
    assert {row["allowed"] for row in rows("own/part").values()} == {None}
    passed = parts[200] + others[200]
    assert total("own/tried", "allowed") + total("own/tried", "refused") == passed
    assert total("own/tried", "allowed") <= 3
    eventually(lambda: total("page/all", "allowed") == 9, "productpage has told")
    ((pod, row),) = rows("page/all").items()
    assert (row["state"], row["remaining"], row["allowed"], row["refused"]) == ("NEAR", 1, 9, 0)
    lines = running.argosy("limits").stdout.splitlines()
    (line,) = [line.split() for line in lines if line.startswith("default/page/all")]
    assert line[1:6] == ["pod", pod, "NEAR", "90%", "1"]
    shown = running.envoy("deploy/productpage", "/stats/prometheus?filter=limit")
    assert 'envoy_limit_http_local_rate_limit_ok{limit="default/page/all"} 9' in shown


@pytest.mark.covers("RateLimit.rules[].match.routes")
def test_routes_are_counted_where_they_are_chosen(
    running: Mesh, client: Inside, away: Inside, rules: Rules, tmp_path: Path
) -> None:
    """By the callers' sidecars and by gateways, alone and together; other routes go free."""
    rules.apply("routes", ROUTES + GATEWAY + ROUTED_EDGE)
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
            is_known(running, f"default/{name}/1")
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
            is_known(running, f"default/edge-{name}/0")
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


def fails(name: str) -> str:
    return rate_limit(
        name,
        shared(1, name="open", match={"paths": ["/open"]}),
        shared(1, name="closed", match={"paths": ["/closed"]}, onFailure="DENY"),
        shared(1_000_000, name="loaded", match={"paths": ["/"]}),
    )


def until_counted_again(client: Inside, *, empty: bool) -> None:
    """Meanwhile each does as it declares. ``empty``: nothing is left of what was counted."""
    seen: dict[str, list[int]] = {"open": [], "closed": []}

    def recovered() -> bool:
        for name, found in seen.items():
            found += statuses(client, f"{URL}/{name}")
        return all(
            failed in found and found[-2:] == [429] * 2
            for found, failed in ((seen["open"], 200), (seen["closed"], 500))
        )

    eventually(recovered, "both are counted again", 30)
    assert set(seen["open"]) == {200, 429}, seen
    assert set(seen["closed"]) - {200} == {500, 429}, seen
    assert seen["closed"].count(200) == int(empty), seen


def test_mixer_is_killed_under_load(running: Mesh, client: Inside, rules: Rules) -> None:
    """What fails open lets all through and fails nothing; what fails closed refuses; both recover."""
    rules.apply("limit", fails("fails"))
    is_counted(client, f"{URL}/open")
    is_counted(client, f"{URL}/closed")
    loading = load(running, 5.0, 100, 8)
    eventually(lambda: loaded(running) > 0, "it is loaded")
    before = mixer_pid(running)
    os.kill(before, signal.SIGKILL)
    until_counted_again(client, empty=True)
    assert mixer_pid(running) != before
    assert set(outcome(loading)["statuses"]) == {"200"}, "nobody failed"


def loaded(mesh: Mesh) -> int:
    """Requests that Mixer has counted by the wide limit."""
    items = json.loads(mesh.argosy("limits", "-o", "json").stdout)["items"]
    return sum(
        row["allowed"]
        for one in items
        if one["id"] == "default/fails/loaded"
        for row in one["rows"]
    )


def test_redis_is_killed_and_comes_back(running: Mesh, client: Inside, rules: Rules) -> None:
    debian.require("redis-server")
    rules.apply("redis", REDIS)
    running.argosy("wait", "deploy/counters", "--for", "condition=Available", "--timeout", "30")
    rules.apply("config", COUNTED_IN_REDIS)
    rules.apply("limit", fails("redis"))
    is_counted(client, f"{URL}/open")
    is_counted(client, f"{URL}/closed")
    keys = running.exec("deploy/counters", sys.executable, "-c", KEYS).stdout.split()
    counted = {key.partition("|")[0] for key in keys}
    assert {f"argosy:limit:default/redis/{name}" for name in ("open", "closed")} <= counted
    pid = running.exec("deploy/counters", sys.executable, "-c", STOP).stdout.strip()
    for _ in range(3):  # it is there, and says nothing
        assert statuses(client, f"{URL}/open") == [200]
        assert statuses(client, f"{URL}/closed") == [500]
    kill = f"import os, signal; os.kill({pid}, signal.SIGKILL)"
    running.exec("deploy/counters", sys.executable, "-c", kill)
    until_counted_again(client, empty=True)


# Istio's own.


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
