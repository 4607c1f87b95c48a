"""Least privilege and compliance, measured on Bookinfo with real traffic.

What `argosy suggest authz` writes keeps every page working and closes every way that nobody took;
`argosy report` finds what is planted, and gives a good namespace 100.
"""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import yaml
from inside import Inside, inside
from manifests import deployment, namespace, server, service
from mesh import SAMPLES, Json, Mesh

pytestmark = pytest.mark.e2e

PATHS = ("/productpage", "/api/v1/products", "/api/v1/products/0", "/api/v1/products/0/reviews")
WORKLOADS = ("details-v1", "productpage-v1", "ratings-v1", "reviews-v1", "curl")
DOMAIN = "cluster.local/ns"
BAD = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: none, namespace: bad}
spec: {mtls: {mode: DISABLE}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: everything, namespace: bad}
spec:
  selector: {matchLabels: {app: shop}}
  rules: [{}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: anyone, namespace: bad}
spec:
  selector: {matchLabels: {app: stock}}
  rules:
  - from: [{source: {principals: ["cluster.local/*"]}}]
    to: [{operation: {methods: [GET]}}]
  - from: [{source: {principals: ["cluster.local/ns/bad/sa/nobody"]}}]
    to: [{operation: {methods: [DELETE]}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: open, namespace: bad}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [bad.example.com]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: nowhere, namespace: bad}
spec:
  hosts: [shop]
  http: [{route: [{destination: {host: not-there}}]}]
"""
GOOD = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: default}
spec: {mtls: {mode: STRICT}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: bookinfo-gateway, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: ["*"]
    tls: {mode: SIMPLE, credentialName: bookinfo}
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["*"]
    tls: {httpsRedirect: true}
"""


class World(NamedTuple):
    mesh: Mesh
    files: Path
    pages: httpx.Client


@pytest.fixture(scope="module")
def world(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    files = tmp_path_factory.mktemp("compliance")
    plain = {"sidecar.istio.io/inject": "false"}
    (files / "bad.yaml").write_text(
        namespace("bad")
        + deployment("shop", *server("any", 8080), port=8080, namespace="bad")
        + service("shop", "shop", {"name": "http", "port": 80, "targetPort": 8080}, namespace="bad")
        + deployment("stock", *server("any", 8080), port=8080, namespace="bad")
        + service(
            "stock", "stock", {"name": "http", "port": 80, "targetPort": 8080}, namespace="bad"
        )
        + deployment("naked", image="curlimages/curl", namespace="bad", annotations=plain)
    )
    samples = SAMPLES / "bookinfo"
    mesh.up(
        samples / "bookinfo.yaml",
        samples / "networking.yaml",
        SAMPLES / "curl" / "curl.yaml",
        files / "bad.yaml",
    )
    with httpx.Client(base_url=mesh.url, timeout=30) as pages:
        yield World(mesh, files, pages)


def fetch(pages: httpx.Client) -> None:
    """Every page; of the reviews both versions that everybody gets, and jason's."""
    for path in PATHS:
        answer = pages.get(path)
        assert answer.status_code == 200, (path, answer.text)
    cookies = {}
    login = pages.post("/login", data={"username": "jason", "passwd": ""})
    assert login.status_code in (200, 302), login.text
    cookies = dict(pages.cookies)
    seen = set()
    for _ in range(40):
        pages.cookies.clear()
        seen.add(page(pages))
        pages.cookies.update(cookies)
        seen.add(page(pages))
        if seen == {"none", "red", "black"}:
            break
    assert seen == {"none", "red", "black"}, "all three versions of reviews"
    pages.cookies.clear()


def page(pages: httpx.Client) -> str:
    answer = pages.get("/productpage")
    assert answer.status_code == 200
    assert "An extremely entertaining play" in answer.text, "reviews"
    assert "unavailable" not in answer.text, "details and ratings"
    return next((c for c in ("black", "red") if f'color="{c}"' in answer.text), "none")


@pytest.fixture(scope="module")
def policies(world: World) -> list[Json]:
    """Suggested from a recording of all pages, and applied."""
    mesh = world.mesh
    done: list[subprocess.CompletedProcess[str]] = []

    def record() -> None:
        done.append(mesh.argosy("suggest", "authz", "--record", "12s", "-o", "yaml"))

    recording = threading.Thread(target=record)
    recording.start()
    while recording.is_alive():
        fetch(world.pages)
        time.sleep(0.2)
    recording.join()
    (suggested,) = done
    judged = mesh.argosy("suggest", "authz", "--dry-run", check=False)
    assert judged.returncode == 0, judged.stdout + judged.stderr
    seen, _, rest = judged.stdout.partition(" of ")
    assert int(seen) > 20
    assert rest.startswith(f"{seen} calls that were seen would be allowed.")
    file = world.files / "policies.yaml"
    file.write_text(suggested.stdout)
    mesh.apply(file)
    found: list[Json] = list(yaml.safe_load_all(suggested.stdout))
    return found


def test_the_policies_are_tight(policies: list[Json]) -> None:
    by_name = {one["metadata"]["name"].removeprefix("allow-observed-"): one for one in policies}
    assert by_name.keys() == {*WORKLOADS, "reviews-v2", "reviews-v3"}
    assert "rules" not in by_name["curl"]["spec"], "nobody calls it"
    (rule,) = by_name["ratings-v1"]["spec"]["rules"]
    assert rule["from"] == [{"source": {"principals": [f"{DOMAIN}/default/sa/bookinfo-reviews"]}}]
    assert rule["to"] == [
        {"operation": {"ports": ["9080"], "methods": ["GET"], "paths": ["/ratings/{*}"]}}
    ]
    (rule,) = by_name["productpage-v1"]["spec"]["rules"]
    gateway = f"{DOMAIN}/istio-system/sa/istio-ingressgateway"
    assert rule["from"] == [{"source": {"principals": [gateway]}}]
    allowed = [one["operation"] for one in rule["to"]]
    assert {m for one in allowed for m in one["methods"]} == {"GET", "POST"}
    posts = [one["paths"] for one in allowed if "POST" in one["methods"]]
    assert posts == [["/login"]]


def test_every_page_goes_on_working(world: World, policies: list[Json]) -> None:
    fetch(world.pages)


def test_every_way_that_nobody_took_is_closed(world: World, policies: list[Json]) -> None:
    """Each workload calls each service: by GET where it never did, by DELETE where it did."""
    taken = {
        ("productpage-v1", "details"),
        ("productpage-v1", "reviews"),
        ("reviews-v1", "ratings"),
    }
    answers: dict[tuple[str, str], set[int]] = {}
    with ExitStack() as stack:
        for source in WORKLOADS:
            caller: Inside = stack.enter_context(inside(world.mesh, f"deploy/{source}"))
            for target in ("details", "productpage", "ratings", "reviews"):
                known = (source, target) in taken
                if source.startswith(target):
                    continue  # a workload that calls itself passes no proxy
                urls = [f"http://{target}:9080/{target}/0", f"http://{target}:9080/health"]
                method = "DELETE" if known else "GET"
                found = {caller.get(url, method=method).status for url in urls}
                answers[source, target] = found
                if known:
                    assert caller.get(f"http://{target}:9080/{target}/0").status == 200
    assert set().union(*answers.values()) == {403}, answers


def report(world: World, *options: str) -> tuple[int, Json]:
    done = world.mesh.argosy("report", "-o", "json", *options, check=False)
    return done.returncode, json.loads(done.stdout)


def test_a_good_namespace_scores_100(world: World, policies: list[Json]) -> None:
    key, chain = world.files / "key.pem", world.files / "chain.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"),
            *("-subj", "/CN=bookinfo.example.com", "-keyout", str(key), "-out", str(chain)),
        ],
        check=True,
        capture_output=True,
    )
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "bookinfo", "namespace": "istio-system"},
        "type": "kubernetes.io/tls",
        "stringData": {"tls.key": key.read_text(), "tls.crt": chain.read_text()},
    }
    world.mesh.apply(GOOD + "---\n" + json.dumps(secret))
    code, found = report(world, "-n", "default", "--fail-on", "info", "--since", "10m")
    assert found["findings"] == []
    assert code == 0
    assert found["score"] == 100
    assert [one["score"] for one in found["namespaces"]] == [100]
    assert found["unmeasured"] == []
    assert found["mutualTls"]["percent"] == 100
    assert found["mutualTls"]["total"] > 50


def test_each_planted_flaw_is_found(world: World) -> None:
    file = world.files / "flaws.yaml"
    file.write_text(BAD)
    mesh = world.mesh
    mesh.argosy("apply", "-f", str(file), check=False)
    with inside(mesh, "deploy/naked", "bad") as naked, inside(mesh, "deploy/curl") as curl:
        for _ in range(5):
            assert naked.get("http://shop.bad/").status == 200
            assert curl.get("http://stock.bad/").status in (200, 403)
        curl.get("http://10.244.0.1:15004/")
    started = threading.Thread(
        target=lambda: mesh.argosy("suggest", "authz", "-n", "bad", "--record", "6s")
    )
    started.start()
    with inside(mesh, "deploy/curl") as curl:
        while started.is_alive():
            curl.get("http://stock.bad/")
            time.sleep(0.2)
    started.join()
    code, found = report(world, "--since", "10m", "--fail-on", "high")
    assert code == 79
    bad = {
        (one["rule"], one["object"]): one for one in found["findings"] if one["namespace"] == "bad"
    }
    lines = BAD.splitlines()
    for rule, about, severity in (
        ("mesh-no-proxy", "Deployment bad/naked", "medium"),
        ("mtls-plaintext-accepted", "Deployment bad/shop", "high"),
        ("authz-allow-all", "AuthorizationPolicy bad/everything rules[0]", "high"),
        ("authz-anyone", "AuthorizationPolicy bad/anyone rules[0]", "medium"),
        ("authz-unused-allow", "AuthorizationPolicy bad/anyone rules[1]", "low"),
        ("gateway-no-tls", "Gateway bad/open servers[0]", "high"),
        ("configuration-problem", "VirtualService bad/nowhere", "high"),
        ("mtls-plaintext-traffic", "Traffic unknown/unknown → bad/shop", "high"),
    ):
        assert (rule, about) in bad, (rule, about, sorted(bad))
        one = bad[rule, about]
        assert one["severity"] == severity
        assert one["why"]
        assert one["remedy"]
        if about.split()[0] in ("AuthorizationPolicy", "Gateway", "VirtualService"):
            assert one["file"] == str(file)
            name = about.split()[1].partition("/")[2]
            line = one["line"] - 1
            begin = max((i for i in range(line + 1) if lines[i] == "---"), default=0)
            end = min(
                (i for i in range(line + 1, len(lines)) if lines[i] == "---"), default=len(lines)
            )
            assert f"name: {name}" in "".join(lines[begin:end]), (about, one["line"])
    outside = [one for one in found["findings"] if one["rule"] == "egress-unregistered"]
    assert [one["namespace"] for one in outside] == ["default"]
    scores = {one["namespace"]: one["score"] for one in found["namespaces"]}
    assert scores["bad"] < 60 < scores["istio-system"]
    assert report(world, "-n", "bad", "--fail-on", "score<60")[0] == 79
    assert report(world, "-n", "istio-system", "--fail-on", "score<60")[0] == 0
    assert world.mesh.argosy("report", "--fail-on", "loud", check=False).returncode == 2
