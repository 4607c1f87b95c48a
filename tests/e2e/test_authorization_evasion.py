"""Nobody gets round a policy: through the gateway, from sidecar to sidecar, and past a client's proxy.

The tries are those of ``evasions.py``; besides, who pretends to be somebody else.
"""

from collections.abc import Iterator

import authorization_world
import pytest
from authorization_world import World
from evasions import DENY, HEADERS, HOSTS, METHODS, PASSED, PATHS, REFUSED, Try
from mesh import Mesh

from argosy.testing.raw_http import Http1, Http2, connect

pytestmark = pytest.mark.e2e

GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gateway, namespace: foo}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: everything, namespace: foo}
spec:
  hosts: ["*"]
  gateways: [gateway]
  http: [{route: [{destination: {host: httpbin.foo.svc.cluster.local, port: {number: 8000}}}]}]
"""
OF_GATEWAY = {"selector": {"matchLabels": {"istio": "ingressgateway"}}}
OF_HTTPBIN = {"selector": {"matchLabels": {"app": "httpbin"}}}
GROUPS = {"paths": PATHS, "hosts": HOSTS, "methods": METHODS, "headers": HEADERS}
SENT = frozenset({200, 404, 405, 500, 502, 503})
"""What may come of a request that no policy refuses: whatever the application thinks of it."""


@pytest.fixture(scope="module")
def world(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("evasion")
    with authorization_world.authorization_world(mesh, directory, GATEWAY) as world:
        yield world


@pytest.fixture(scope="module")
def gateway(world: World) -> int:
    """The gateway's port on this machine."""
    port = int(world.mesh.url.rpartition(":")[2])
    world.wait(
        lambda: ask(port, Try("/ip", frozenset(), frozenset())) == 200, "the gateway answers"
    )
    return port


@pytest.fixture(autouse=True)
def nothing_left(world: World) -> Iterator[None]:
    yield
    world.rules.clear()


def ask(port: int, one: Try, *, http2: bool = False) -> int:
    """Of a port of this machine, by a connection of its own."""
    if http2:
        with Http2(connect(port)) as second:
            return second.request(one.method, one.target, one.host, one.headers).status
    with Http1(connect(port)) as first:
        return first.request(one.method, one.target, headers(one)).status


def headers(one: Try) -> list[tuple[str, str]]:
    return [("host", one.host), *one.headers]


def ask_from(world: World, caller: str, tries: list[Try], *, http2: bool) -> list[int]:
    """httpbin from inside a workload."""
    requests = [
        {
            "method": one.method,
            "target": one.target,
            "host": one.host,
            "headers": one.headers if http2 else headers(one),
        }
        for one in tries
    ]
    found: list[int] = world.clients[caller].call(
        "statuses", host="httpbin.foo", port=8000, requests=requests, http2=http2
    )
    return found


def wrong(tries: list[Try], found: list[int], *, http2: bool) -> list[tuple[Try, int]]:
    def fits(status: int, expected: frozenset[int]) -> bool:
        return status in expected or (PASSED in expected and status in SENT)

    return [
        (one, status)
        for one, status in zip(tries, found, strict=True)
        if not fits(status, one.http2 if http2 else one.http1)
    ]


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
def test_past_the_clients_proxy(world: World, http2: bool) -> None:
    """A client without a sidecar sends what it likes to the workload's."""
    world.policy("deny", {**OF_HTTPBIN, **DENY})
    world.wait(lambda: world.status("legacy", "/admin") == REFUSED, "the policy is there")
    for tries in GROUPS.values():
        assert wrong(tries, ask_from(world, "legacy", tries, http2=http2), http2=http2) == []


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
def test_from_sidecar_to_sidecar(world: World, http2: bool) -> None:
    """Hosts are what routes go by in a client's proxy, so these are not for here."""
    world.policy("deny", {**OF_HTTPBIN, **DENY})
    world.wait(lambda: world.status("bar", "/admin") == REFUSED, "the policy is there")
    for name in ("paths", "methods", "headers"):
        tries = GROUPS[name]
        found = ask_from(world, "bar", tries, http2=http2)
        assert wrong(tries, found, http2=http2) == []


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
@pytest.mark.parametrize("target", ["gateway", "workload"])
def test_through_the_gateway(world: World, gateway: int, target: str, http2: bool) -> None:
    """The policy is the gateway's, or the workload's behind it."""
    if target == "gateway":
        world.policy("deny", {**OF_GATEWAY, **DENY}, "istio-system")
    else:
        world.policy("deny", {**OF_HTTPBIN, **DENY})
    refused = Try("/admin", frozenset(), frozenset())
    world.wait(lambda: ask(gateway, refused) == REFUSED, "the policy is there")
    for tries in GROUPS.values():
        found = [ask(gateway, one, http2=http2) for one in tries]
        assert wrong(tries, found, http2=http2) == []
