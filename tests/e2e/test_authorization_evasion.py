"""Nobody gets round a policy: through the gateway, from sidecar to sidecar, and past a client's proxy.

The tries are those of ``evasions.py``; besides, who pretends to be somebody else.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import authorization_world
import httpx
import pytest
from authorization_world import World
from evasions import DENY, HEADERS, HOSTS, METHODS, PASSED, PATHS, REFUSED, Try
from inside import InsideError
from manifests import mesh_config, service
from mesh import ARGOSY, Mesh, control_plane

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
FRONT_LABELS = {
    "app": "front",
    "istio": "ingressgateway",
    "gateway.networking.k8s.io/gateway-name": "front",
}
"""As those of a proxy of the Gateway ``front`` of the Kubernetes Gateway API."""

FRONT = json.dumps(
    {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "front", "namespace": "foo"},
        "spec": {
            "selector": {"matchLabels": FRONT_LABELS},
            "template": {
                "metadata": {
                    "labels": FRONT_LABELS,
                    "annotations": {"inject.istio.io/templates": "gateway"},
                },
                "spec": {"containers": [{"name": "istio-proxy", "image": "auto"}]},
            },
        },
    }
)
FRONT_SERVICE = service(
    "front", "front", {"name": "http", "port": 80, "targetPort": 8080}, namespace="foo"
)
OF_GATEWAY = {"selector": {"matchLabels": {"istio": "ingressgateway"}}}
OF_HTTPBIN = {"selector": {"matchLabels": {"app": "httpbin"}}}
GROUPS = {"paths": PATHS, "hosts": HOSTS, "methods": METHODS, "headers": HEADERS}
HOST = "httpbin.foo:8000"
SENT = frozenset({200, 404, 405, 500, 501, 502, 503})
"""What may come of a request that no policy refuses: whatever the application thinks of it."""


@pytest.fixture(scope="module")
def world(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("evasion")
    more = (GATEWAY, FRONT, FRONT_SERVICE)
    with authorization_world.authorization_world(mesh, directory, *more) as world:
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


def to(*paths: str) -> dict[str, object]:
    return {"to": [{"operation": {"paths": paths}}]}


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
    """Hosts are what routes go by in a client's proxy, so there is but httpbin's own."""
    world.policy("deny", {**OF_HTTPBIN, **DENY})
    world.wait(lambda: world.status("bar", "/admin") == REFUSED, "the policy is there")
    for name in ("paths", "methods", "headers"):
        tries = [
            replace(one, host=HOST, target=one.target.replace("open.com", HOST))
            for one in GROUPS[name]
        ]
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


def test_who_pretends_to_be_somebody_else(world: World) -> None:
    """Names in headers are no identity: not XFCC, not from a caller in plain text."""
    only_foo = {"rules": [{"from": [{"source": {"principals": ["cluster.local/ns/foo/sa/curl"]}}]}]}
    world.policy("only-foo", {**OF_HTTPBIN, **only_foo})
    world.wait(lambda: world.allowed() == {"foo"}, "only foo may call")
    pretended = (
        "By=spiffe://cluster.local/ns/foo/sa/httpbin;URI=spiffe://cluster.local/ns/foo/sa/curl"
    )
    spoofed = {"x-forwarded-client-cert": pretended}
    assert world.allowed(headers=spoofed) == {"foo"}


@pytest.mark.covers("AuthorizationPolicy.targetRef", "AuthorizationPolicy.targetRefs[]")
def test_policies_of_a_gateway_by_name(world: World, gateway: int) -> None:
    """The proxies of a Gateway of the Kubernetes Gateway API have its name in a label.

    A policy is for the Gateway of its own namespace, and of its name. What only waypoints have
    is told, and the policy holds for nobody.
    https://istio.io/latest/docs/reference/config/security/authorization-policy/
    """
    here = Try("/ip", frozenset(), frozenset())

    def statuses() -> tuple[int, int, int]:
        """Of the ingress gateways ``front`` and istio-ingressgateway, and of the workload."""
        front = world.clients["legacy"].get("http://front.foo/ip").status
        return front, ask(gateway, here), world.status("bar", "/ip")

    def target(kind: str, name: str, group: str = "gateway.networking.k8s.io") -> dict[str, str]:
        return {"group": group, "kind": kind, "name": name}

    front = target("Gateway", "front")
    everything = {"action": "DENY", "rules": [{}]}
    world.wait(lambda: statuses() == (200, 200, 200), "all of them answer")
    for targets in ({"targetRefs": [target("Gateway", "other"), front]}, {"targetRef": front}):
        world.policy("attached", {**everything, **targets})
        world.wait(lambda: statuses() == (REFUSED, 200, 200), "one refuses, no other")
        world.rules.delete("attached")
        world.wait(lambda: statuses() == (200, 200, 200), "it refuses nothing any more")

    without_effect = (
        target("Service", "httpbin", ""),
        target("ServiceEntry", "httpbin", "networking.istio.io"),
        target("GatewayClass", "istio-waypoint"),
    )
    spec = {**everything, "targetRefs": without_effect}
    policy = authorization_world.policy("attached", spec)
    told = world.rules.apply("attached", policy, quietly=False)
    fields = {problem["field"] for problem in told if problem["code"] == "NoEffect"}
    assert fields >= {f"spec.targetRefs[{index}].kind" for index in range(3)}
    # A policy that does hold shows that the proxies have come past those that do not.
    for where in ("bar", "istio-system"):
        world.policy(f"of-{where}", {**everything, "targetRefs": [front]}, where)
    world.policy("mark", {**OF_HTTPBIN, "action": "DENY", "rules": [to("/mark")]})
    world.wait(lambda: world.status("bar", "/mark") == REFUSED, "the newest policies are there")
    assert statuses() == (200, 200, 200)


def test_clients_of_the_gateway_by_address(world: World, gateway: int) -> None:
    """https://istio.io/latest/docs/tasks/security/authorization/authz-ingress/

    X-Forwarded-For is believed as far as ``numTrustedProxies`` says: not at all by default.
    """
    forwarded = Try("/ip", frozenset(), frozenset(), headers=(("x-forwarded-for", "203.0.113.9"),))
    twice = "203.0.113.9, 198.51.100.1"
    further = Try("/ip", frozenset(), frozenset(), headers=(("x-forwarded-for", twice),))
    own = world.clients["foo"]
    assert own.call("addresses", name="httpbin.foo")

    def rule(field: str, *blocks: str, action: str = "DENY") -> None:
        rules = [{"from": [{"source": {field: list(blocks)}}]}]
        world.policy("by-address", {**OF_GATEWAY, "action": action, "rules": rules}, "istio-system")

    def becomes(status: int, one: Try, what: str) -> None:
        world.wait(lambda: ask(gateway, one) == status, what)

    rule("ipBlocks", "203.0.113.0/24", action="ALLOW")
    becomes(REFUSED, forwarded, "the connection is from elsewhere")
    rule("notIpBlocks", "203.0.113.0/24", action="ALLOW")
    becomes(200, forwarded, "the connection is from elsewhere, and may be")
    rule("remoteIpBlocks", "203.0.113.0/24")
    becomes(200, forwarded, "X-Forwarded-For is not believed")
    topology = "defaultConfig: {gatewayTopology: {numTrustedProxies: %d}}"
    for trusted, one in ((1, forwarded), (2, further)):
        text = f"{authorization_world.PROVIDERS}\n{topology % trusted}"
        world.rules.apply("mesh", mesh_config(text))
        becomes(REFUSED, one, f"{trusted} proxies are believed")
    # With two proxies in front, what one of them says is not the client's address.
    assert ask(gateway, forwarded) != 0
    world.rules.apply("mesh", mesh_config(authorization_world.PROVIDERS))
    world.rules.forget("mesh")


def test_clients_behind_a_balancer_that_speaks_the_proxy_protocol(
    world: World, gateway: int
) -> None:
    """``remoteIpBlocks`` are of the address in the PROXY header, whatever X-Forwarded-For says.

    ``ipBlocks`` are of the connection itself.
    https://istio.io/latest/docs/tasks/security/authorization/authz-ingress/
    """
    listed, other = "203.0.113.9", "198.51.100.1"

    def status(client: str, forwarded: str = "") -> int:
        """0: no answer. An empty ``client`` sends no PROXY header."""
        proxy = f"PROXY TCP4 {client} 10.0.0.1 1234 80\r\n" if client else ""
        more = f"X-Forwarded-For: {forwarded}\r\n" if forwarded else ""
        text = f"{proxy}GET /ip HTTP/1.1\r\nHost: open.com\r\n{more}Connection: close\r\n\r\n"
        try:
            answer: str = world.clients["legacy"].call(
                "exchange", host="istio-ingressgateway.istio-system", port=80, text=text
            )
        except InsideError:  # it was closed before all was read
            return 0
        return int(answer[9:12] or 0)

    def statuses() -> tuple[int, int, int, int]:
        """The last two pretend to be each other."""
        return status(listed), status(other), status(listed, other), status(other, listed)

    def rule(action: str, field: str) -> None:
        rules = [{"from": [{"source": {field: ["203.0.113.0/24"]}}]}]
        world.policy("by-address", {**OF_GATEWAY, "action": action, "rules": rules}, "istio-system")

    topology = "defaultConfig: {gatewayTopology: {proxyProtocol: {}}}"
    world.rules.apply("mesh", mesh_config(f"{authorization_world.PROVIDERS}\n{topology}"))
    world.wait(lambda: statuses() == (200,) * 4, "PROXY headers are read")
    for action, field, expected in (
        ("DENY", "remoteIpBlocks", (REFUSED, 200, REFUSED, 200)),
        ("ALLOW", "remoteIpBlocks", (200, REFUSED, 200, REFUSED)),
        ("ALLOW", "notRemoteIpBlocks", (REFUSED, 200, REFUSED, 200)),
        ("ALLOW", "ipBlocks", (REFUSED,) * 4),
        ("DENY", "ipBlocks", (200,) * 4),
    ):
        rule(action, field)
        world.wait(lambda e=expected: statuses() == e, f"{action} {field}")  # type: ignore[misc]
    assert status("") == 0, "without a PROXY header there is no answer"
    world.rules.apply("mesh", mesh_config(authorization_world.PROVIDERS))
    world.rules.forget("mesh")
    here = Try("/ip", frozenset(), frozenset())
    world.wait(lambda: ask(gateway, here) == 200, "the gateway answers as before")


def test_policies_outlive_the_control_plane(world: World) -> None:
    """Proxies go on with what they have; when it is back, it knows of the policies."""
    world.policy("deny", {**OF_HTTPBIN, **DENY})
    refused = Try("/admin", frozenset(), frozenset())
    world.wait(lambda: world.status("legacy", "/admin") == REFUSED, "the policy is there")
    pid = control_plane(world.mesh)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)

    def is_back() -> bool:
        statuses = set(ask_from(world, "legacy", [refused] * 5, http2=False))
        assert statuses == {REFUSED}
        return control_plane(world.mesh) not in (None, pid)

    def are_synced() -> bool:
        try:
            return set(world.rules.states().values()) == {"SYNCED"}
        except httpx.HTTPError:  # it does not listen yet
            return False

    world.wait(is_back, "another control plane")
    world.wait(are_synced, "proxies are synced with it")
    assert set(ask_from(world, "legacy", [refused] * 20, http2=False)) == {REFUSED}
    assert world.status("legacy", "/ip") == 200


def test_policies_that_change_while_there_is_no_control_plane(world: World) -> None:
    """Proxies go on with their last configuration; what was asked meanwhile holds when it is back.

    The command line waits for the next control plane.
    """
    stays = {**OF_HTTPBIN, "action": "DENY", "rules": [to("/admin")]}
    goes = authorization_world.policy("goes", {**stays, "rules": [to("/ip")]})
    comes = authorization_world.policy("comes", {**stays, "rules": [to("/get")]})
    paths = ("/admin", "/ip", "/get")
    tries = [Try(path, frozenset(), frozenset()) for path in paths]

    def statuses() -> list[int]:
        return ask_from(world, "legacy", tries, http2=False)

    def meanwhile(command: str, text: str, before: list[int], after: list[int]) -> None:
        pid = control_plane(world.mesh)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        changing = subprocess.Popen(
            [str(ARGOSY), command, "--wait", "-f", "-"],
            env=world.mesh.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert changing.stdin is not None
        changing.stdin.write(text)
        changing.stdin.close()
        seen = 0
        try:
            while changing.poll() is None:
                found = statuses()
                if control_plane(world.mesh) in (None, pid):
                    assert found == before, "the last configuration is obeyed"
                    seen += 1
                assert found[0] == REFUSED, "it is never open"
        finally:
            changing.wait(60)
        assert changing.stderr is not None
        assert changing.returncode == 0, changing.stderr.read()
        changing.stderr.close()
        assert seen, "requests were sent while there was none"
        world.wait(lambda: statuses() == after, f"{command} holds with the next control plane")

    world.policy("stays", stays)
    world.rules.apply("goes", goes)
    world.wait(lambda: statuses() == [REFUSED, REFUSED, 200], "the policies are there")
    meanwhile("delete", goes, [REFUSED, REFUSED, 200], [REFUSED, 200, 200])
    world.rules.forget("goes")
    meanwhile("apply", comes, [REFUSED, 200, 200], [REFUSED, 200, REFUSED])
    world.mesh.argosy("delete", "--wait", "-f", "-", stdin=comes)
    world.wait(lambda: statuses() == [REFUSED, 200, 200], "it is gone again")
