"""Istio's authorization tasks: who may call what, by HTTP and by TCP, and trying it out first.

https://istio.io/latest/docs/tasks/security/authorization/
"""

import json
from collections.abc import Iterator
from typing import Any

import authorization_world
import pytest
from authorization_world import CALLERS, EDGE, HTTPBIN, World
from inside import InsideError
from mesh import Mesh

pytestmark = pytest.mark.e2e

EVERYBODY = set(CALLERS)
MESHED = {"foo", "bar"}
SELECTED = {"selector": {"matchLabels": {"app": "httpbin"}}}
TCP_ECHO = {"selector": {"matchLabels": {"app": "tcp-echo"}}}


@pytest.fixture(scope="module")
def world(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with authorization_world.authorization_world(
        mesh, tmp_path_factory.mktemp("authorization")
    ) as world:
        yield world


@pytest.fixture(autouse=True)
def nothing_left(world: World) -> Iterator[None]:
    """Each test begins without policies."""
    yield
    world.rules.clear()
    world.wait(lambda: world.allowed() == EVERYBODY, "everybody may call again")


def to(**operation: list[str]) -> dict[str, Any]:
    return {"to": [{"operation": operation}]}


def of(**source: list[str]) -> dict[str, Any]:
    return {"from": [{"source": source}]}


def when(key: str, **values: list[str]) -> dict[str, Any]:
    return {"when": [{"key": key, **values}]}


@pytest.mark.covers(
    "AuthorizationPolicy.action",
    "AuthorizationPolicy.selector.matchLabels",
    "AuthorizationPolicy.rules[].to[].operation.methods[]",
    "AuthorizationPolicy.rules[].to[].operation.paths[]",
    "AuthorizationPolicy.rules[].when[].key",
    "AuthorizationPolicy.rules[].when[].notValues[]",
)
def test_explicit_deny(world: World) -> None:
    """https://istio.io/latest/docs/tasks/security/authorization/authz-deny/"""
    world.policy("deny-method-get", {**SELECTED, "action": "DENY", "rules": [to(methods=["GET"])]})
    world.wait(lambda: world.status("foo", "/get") == 403, "GET is refused")
    answer = world.clients["foo"].get(f"{HTTPBIN}/get")
    assert answer.body == "RBAC: access denied"
    assert world.status("foo", "/post", method="POST") == 200

    token = when("request.headers[x-token]", notValues=["admin"])
    rule = {**to(methods=["GET"]), **token}
    world.policy("deny-method-get", {**SELECTED, "action": "DENY", "rules": [rule]})
    admin, guest = {"x-token": "admin"}, {"x-token": "guest"}
    world.wait(lambda: world.status("foo", "/get", headers=admin) == 200, "an admin may GET")
    assert world.status("foo", "/get", headers=guest) == 403
    assert world.status("foo", "/get") == 403

    world.policy("allow-path-ip", {**SELECTED, "action": "ALLOW", "rules": [to(paths=["/ip"])]})
    world.wait(lambda: world.status("foo", "/get", headers=admin) == 403, "only /ip is allowed")
    assert world.status("foo", "/ip", headers=guest) == 403
    assert world.status("foo", "/ip", headers=admin) == 200


@pytest.mark.covers(
    "AuthorizationPolicy.rules[].to[].operation.ports[]",
)
def test_tcp(world: World) -> None:
    """https://istio.io/latest/docs/tasks/security/authorization/authz-tcp/

    Port 9002 is in no Service: it is dialled by the workload's own address.
    """
    (pod,) = world.mesh.get("pods", "-n", "foo", "-l", "app=tcp-echo")
    address = pod["status"]["podIP"]

    def answers(caller: str = "foo") -> set[int]:
        found = {port for port in (9000, 9001) if world.echoes(caller, port)}
        return found | ({9002} if world.echoes(caller, 9002, address) else set())

    assert answers() == {9000, 9001, 9002}

    def becomes(ports: set[int], what: str) -> None:
        world.wait(lambda: answers() == ports, what)
        assert answers("legacy") == ports

    ports = ["9000", "9001"]
    world.policy("tcp-policy", {**TCP_ECHO, "action": "ALLOW", "rules": [to(ports=ports)]})
    becomes({9000, 9001}, "two ports are allowed")
    invalid = to(methods=["GET"], ports=["9000"])
    world.policy("tcp-policy", {**TCP_ECHO, "action": "ALLOW", "rules": [invalid]})
    becomes(set(), "an ALLOW rule with methods holds for no TCP")
    world.policy("tcp-policy", {**TCP_ECHO, "action": "DENY", "rules": [to(methods=["GET"])]})
    becomes(set(), "a DENY rule without its methods holds for all")
    world.policy("tcp-policy", {**TCP_ECHO, "action": "DENY", "rules": [invalid]})
    becomes({9001, 9002}, "a DENY rule without its methods holds for its port")


SOURCES = [
    (of(principals=["cluster.local/ns/foo/sa/curl"]), {"foo"}),
    (of(principals=["*/sa/curl"]), MESHED),
    (of(principals=["*"]), MESHED),
    (of(notPrincipals=["cluster.local/ns/foo/*"]), {"bar", "legacy"}),
    (of(namespaces=["ba*"]), {"bar"}),
    (of(notNamespaces=["foo"]), {"bar", "legacy"}),
    (of(serviceAccounts=["curl"]), {"foo"}),
    (of(serviceAccounts=["bar/curl"]), {"bar"}),
    (of(notServiceAccounts=["curl", "bar/curl"]), {"legacy"}),
    (of(trustDomains=["cluster.local"]), MESHED),
    (of(notTrustDomains=["*"]), {"legacy"}),
    (of(ipBlocks=["10.244.0.0/16"]), EVERYBODY),
    (of(ipBlocks=["192.0.2.0/24"]), set()),
    (of(notIpBlocks=["10.244.0.0/16"]), set()),
    (of(remoteIpBlocks=["10.0.0.0/8"]), EVERYBODY),
    (of(notRemoteIpBlocks=["10.0.0.0/8"]), set()),
    (of(requestPrincipals=["*"]), set()),
    (of(notRequestPrincipals=["*"]), EVERYBODY),
    (when("source.namespace", values=["foo"]), {"foo"}),
    (when("source.principal", notValues=["*"]), {"legacy"}),
    (when("source.serviceAccount", values=["bar/curl"]), {"bar"}),
    (when("source.trustDomain", values=["cluster*"]), MESHED),
    (when("source.ip", values=["10.244.0.0/16"]), EVERYBODY),
    (when("remote.ip", notValues=["10.244.0.0/16"]), set()),
    (when("destination.ip", values=["10.244.0.0/16"]), EVERYBODY),
    (when("destination.port", values=["8080"]), EVERYBODY),
    (when("destination.port", values=["8000"]), set()),
    (when("connection.sni", values=["*httpbin.foo.svc.cluster.local"]), MESHED),
    (when("request.headers[user-agent]", values=["python-httpx*"]), EVERYBODY),
    (when("request.auth.claims[a]", notValues=["*"]), EVERYBODY),
    (to(hosts=["httpbin.foo"]), EVERYBODY),
    (to(notHosts=["httpbin.foo"]), set()),
    (to(hosts=["httpbin.foo:8000"]), EVERYBODY),
    (to(hosts=["httpbin.foo:8080"]), set()),
    (to(notPorts=["8080"]), set()),
    (to(notMethods=["GET"]), set()),
    (to(notPaths=["/i*"]), set()),
    (to(paths=["/{*}"]), EVERYBODY),
    (to(paths=["/{*}/{**}"]), set()),
    ({}, EVERYBODY),
]


@pytest.mark.covers(
    "AuthorizationPolicy.rules[].from[].source.principals[]",
    "AuthorizationPolicy.rules[].from[].source.notPrincipals[]",
    "AuthorizationPolicy.rules[].from[].source.requestPrincipals[]",
    "AuthorizationPolicy.rules[].from[].source.notRequestPrincipals[]",
    "AuthorizationPolicy.rules[].from[].source.namespaces[]",
    "AuthorizationPolicy.rules[].from[].source.notNamespaces[]",
    "AuthorizationPolicy.rules[].from[].source.serviceAccounts[]",
    "AuthorizationPolicy.rules[].from[].source.notServiceAccounts[]",
    "AuthorizationPolicy.rules[].from[].source.trustDomains[]",
    "AuthorizationPolicy.rules[].from[].source.notTrustDomains[]",
    "AuthorizationPolicy.rules[].from[].source.ipBlocks[]",
    "AuthorizationPolicy.rules[].from[].source.notIpBlocks[]",
    "AuthorizationPolicy.rules[].from[].source.remoteIpBlocks[]",
    "AuthorizationPolicy.rules[].from[].source.notRemoteIpBlocks[]",
    "AuthorizationPolicy.rules[].to[].operation.hosts[]",
    "AuthorizationPolicy.rules[].to[].operation.notHosts[]",
    "AuthorizationPolicy.rules[].to[].operation.notPorts[]",
    "AuthorizationPolicy.rules[].to[].operation.notMethods[]",
    "AuthorizationPolicy.rules[].to[].operation.notPaths[]",
    "AuthorizationPolicy.rules[].when[].values[]",
)
def test_whom_and_what_rules_mean(world: World) -> None:
    """Each alone in an ALLOW policy; some in a DENY policy too, which refuses just those."""
    for i, (rule, expected) in enumerate(SOURCES):
        world.policy("rule", {**SELECTED, "action": "ALLOW", "rules": [rule]})
        world.wait(lambda e=expected: world.allowed() == e, f"ALLOW {rule} allows {expected}")  # type: ignore[misc]
        if i % 3:
            continue
        rest = EVERYBODY - expected
        world.policy("rule", {**SELECTED, "action": "DENY", "rules": [rule]})
        world.wait(lambda e=rest: world.allowed() == e, f"DENY {rule} allows {rest}")  # type: ignore[misc]


def test_where_policies_hold(world: World) -> None:
    """https://istio.io/latest/docs/concepts/security/#policy-target"""
    nobody: set[str] = set()
    for name, where, spec in (
        ("allow-nothing-here", "foo", {}),
        ("allow-nothing-anywhere", "istio-system", {}),
        ("allow-nothing-to-these", "istio-system", SELECTED),
    ):
        world.policy(name, spec, where)
        world.wait(lambda: world.allowed() == nobody, f"{name} refuses everybody")
        world.rules.delete(name)
        world.wait(lambda: world.allowed() == EVERYBODY, f"{name} is gone")
    world.policy("allow-nothing-elsewhere", {}, "bar")
    world.policy("allow-nothing-to-others", {"selector": {"matchLabels": {"app": "other"}}})
    assert world.allowed() == EVERYBODY
    # Several ALLOW policies allow together.
    world.policy("allow-nothing", {})
    world.policy("allow-bar", {"rules": [of(namespaces=["bar"])]})
    world.wait(lambda: world.allowed() == {"bar"}, "one of two allows")


def test_dry_run(world: World) -> None:
    """https://istio.io/latest/docs/tasks/security/authorization/authz-dry-run/"""
    dry = {"annotations": {"istio.io/dry-run": "true"}}
    deny = {**SELECTED, "action": "DENY", "rules": [to(paths=["/headers"])]}
    world.policy("deny-path-headers", deny, **dry)
    world.policy("allow-path-headers", {**deny, "action": "ALLOW"}, **dry)

    def counted(action: str, result: str) -> int:
        name = f'authz_dry_run_action="{action}",authz_dry_run_result="{result}"'
        text = world.mesh.envoy("deploy/httpbin", "/stats/prometheus", "foo")
        lines = [line for line in text.splitlines() if name in line and "_rbac{" in line]
        return sum(int(line.rpartition(" ")[2]) for line in lines)

    world.wait(
        lambda: world.status("foo", "/headers") == 200 and counted("deny", "denied") > 0,
        "it would be denied",
    )
    before = counted("deny", "denied")
    found = world.clients["foo"].requests(f"{HTTPBIN}/headers", count=20)
    assert [answer.status for answer in found] == [200] * 20
    assert counted("deny", "denied") == before + 20
    assert counted("allow", "allowed") >= 20
    assert world.status("foo", "/ip") == 200
    assert counted("allow", "denied") == 1
    assert counted("deny", "allowed") == 1


def test_audit_changes_nothing(world: World) -> None:
    world.policy("audit", {"action": "AUDIT", "rules": [{}]})
    assert world.allowed() == EVERYBODY
    text = world.mesh.envoy("deploy/httpbin", "/config_dump?resource=dynamic_listeners", "foo")
    assert '"ns[foo]-policy[audit]-rule[0]"' in text


def test_a_connection_that_is_open_obeys_a_new_policy(world: World) -> None:
    """Envoy drains connections of a listener's former configuration: they end, or obey the new."""
    legacy = world.clients["legacy"]
    opened = legacy.call("connect", host="httpbin.foo", port=8000)
    request = "GET /ip HTTP/1.1\r\nhost: httpbin.foo\r\n\r\n"

    def status() -> str:
        try:
            legacy.call("send", connection=opened, text=request)
            answer: str = legacy.call("receive", connection=opened, count=4096, timeout=0.5)
        except InsideError:
            return "closed"
        return answer[9:12] or "closed"

    assert status() == "200"
    world.policy("deny", {"action": "DENY", "rules": [{}]})
    world.wait(lambda: status() in ("403", "closed"), "the open connection is of no more use")


# External authorizers: https://istio.io/latest/docs/tasks/security/authorization/authz-custom/

DENIED = "denied by ext_authz for not found header `x-ext-authz: allow` in the request"
ALLOW, DENY = {"x-ext-authz": "allow"}, {"x-ext-authz": "deny"}


def custom(provider: str, *rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        **SELECTED,
        "action": "CUSTOM",
        "provider": {"name": provider},
        "rules": list(rules) or [{}],
        **more,
    }


@pytest.mark.covers(
    "AuthorizationPolicy.provider.name",
    "MeshConfig.extensionProviders[].name",
    "MeshConfig.extensionProviders[].envoyExtAuthzHttp.service",
    "MeshConfig.extensionProviders[].envoyExtAuthzHttp.port",
    "MeshConfig.extensionProviders[].envoyExtAuthzHttp.includeHeadersInCheck[]",
    "MeshConfig.extensionProviders[].envoyExtAuthzHttp.includeRequestHeadersInCheck[]",
    "MeshConfig.extensionProviders[].envoyExtAuthzGrpc.service",
    "MeshConfig.extensionProviders[].envoyExtAuthzGrpc.port",
    "MeshConfig.extensionProviders[].envoyExtAuthzHttp.headersToUpstreamOnAllow[]",
)
@pytest.mark.parametrize("provider", ["http", "grpc", "http-as-before"])
def test_external_authorization(world: World, provider: str) -> None:
    world.policy("ext-authz", custom(provider, to(paths=["/headers"])))
    for caller in CALLERS:
        client = world.clients[caller]
        world.wait(
            lambda c=caller: world.status(c, "/headers", headers=DENY) == 403,  # type: ignore[misc]
            f"{provider} denies {caller}",
        )
        denied = client.get(f"{HTTPBIN}/headers", headers=DENY)
        assert (denied.status, denied.body) == (403, DENIED)
        assert denied.headers["x-ext-authz-check-result"] == "denied"
        allowed = client.get(f"{HTTPBIN}/headers", headers=ALLOW)
        assert allowed.status == 200
        assert allowed.json["headers"]["X-Ext-Authz-Check-Result"] == ["allowed"]
        assert world.status(caller, "/ip", headers=DENY) == 200, "nobody is asked about it"


@pytest.mark.covers(
    "MeshConfig.extensionProviders[].envoyExtAuthzHttp.pathPrefix",
    "MeshConfig.extensionProviders[].envoyExtAuthzHttp.includeAdditionalHeadersInCheck",
    "MeshConfig.extensionProviders[].envoyExtAuthzHttp.includeRequestBodyInCheck.maxRequestBytes",
    "MeshConfig.extensionProviders[].envoyExtAuthzHttp.includeRequestBodyInCheck.allowPartialMessage",
    "MeshConfig.extensionProviders[].envoyExtAuthzHttp.headersToDownstreamOnAllow[]",
    "MeshConfig.extensionProviders[].envoyExtAuthzHttp.headersToDownstreamOnDeny[]",
)
def test_what_the_authorizer_is_told_and_tells(world: World) -> None:
    world.policy("ext-authz", custom("http"))
    headers = {**ALLOW, "x-more-news": "yes", "x-other": "no"}
    url = f"{HTTPBIN}/anything?q=1"

    def answer() -> Any:
        return world.clients["foo"].get(url, method="POST", size=150, headers=headers)

    world.wait(lambda: "x-ext-authz-check-result" in answer().headers, "the authorizer is asked")
    found = answer()
    assert found.status == 200
    (text,) = found.json["headers"]["X-Ext-Authz-Check-Received"]
    received = json.loads(text)
    assert received["method"] == "POST"
    assert received["path"] == "/check/anything?q=1"
    assert received["body"] == "x" * 100
    assert received["headers"]["x-more-news"] == "yes"
    assert received["headers"]["x-mesh"] == "argosy"
    assert "x-other" not in received["headers"]


def test_external_authorization_cannot_undo_other_policies(world: World) -> None:
    world.policy("ext-authz", custom("http"))
    world.policy("deny", {"action": "DENY", "rules": [to(paths=["/ip"])]})
    world.wait(lambda: world.status("foo", "/ip", headers=ALLOW) == 403, "DENY is obeyed")
    assert world.status("foo", "/get", headers=ALLOW) == 200
    assert world.clients["foo"].get(f"{HTTPBIN}/ip", headers=DENY).body == DENIED, "it comes first"


@pytest.mark.covers(
    "MeshConfig.extensionProviders[].envoyExtAuthzHttp.statusOnError",
    "MeshConfig.extensionProviders[].envoyExtAuthzHttp.failOpen",
    "MeshConfig.extensionProviders[].envoyExtAuthzGrpc.statusOnError",
    "MeshConfig.extensionProviders[].envoyExtAuthzGrpc.failOpen",
)
@pytest.mark.parametrize(
    ("provider", "status"),
    [
        ("down", 503),
        ("down-by-default", 403),
        ("down-and-open", 200),
        ("grpc-down", 401),
        ("grpc-down-and-open", 200),
    ],
)
def test_an_authorizer_that_does_not_answer(world: World, provider: str, status: int) -> None:
    world.policy("mark", {**SELECTED, "action": "DENY", "rules": [to(paths=["/mark"])]})
    world.wait(lambda: world.status("foo", "/mark") == 403, "the mark is there")
    world.policy("ext-authz", custom(provider, to(notPaths=["/mark"])))
    world.rules.delete("mark")
    world.wait(lambda: world.status("foo", "/mark") != 403, "the newest policies are there")
    assert world.status("foo", "/ip", headers=ALLOW) == status


@pytest.mark.covers(
    "MeshConfig.extensionProviders[].envoyExtAuthzHttp.timeout",
    "MeshConfig.extensionProviders[].envoyExtAuthzGrpc.timeout",
)
@pytest.mark.parametrize("kind", ["", "grpc-"], ids=["http", "grpc"])
def test_an_authorizer_that_is_slow(world: World, kind: str) -> None:
    """A second is allowed. What comes later is no answer: shut, or open with failOpen."""
    slow = {**ALLOW, "x-ext-authz-delay": "20"}
    refused = {**DENY, "x-ext-authz-delay": "20"}

    def asked(headers: dict[str, str]) -> tuple[int, bool]:
        """The status, and whether the workload was told that the authorizer had allowed it."""
        found = world.clients["foo"].get(f"{HTTPBIN}/headers", headers=headers, timeout=10)
        told = found.status == 200 and "X-Ext-Authz-Check-Result" in found.json["headers"]
        return found.status, told

    world.policy("ext-authz", custom(f"{kind}impatient", to(paths=["/headers"])))
    world.wait(lambda: asked(ALLOW) == (200, True), "a quick answer comes in time")
    assert asked(slow) == (403, False), "shut, long before the answer"
    world.policy("ext-authz", custom(f"{kind}impatient-and-open", to(paths=["/headers"])))
    world.wait(lambda: asked(slow) == (200, False), "open, long before the answer")
    assert asked(refused) == (200, False)
    world.wait(lambda: asked(DENY) == (403, False), "an answer in time is heeded")


@pytest.mark.covers(
    "MeshConfig.extensionProviders[].envoyExtAuthzGrpc.includeRequestBodyInCheck",
    "MeshConfig.extensionProviders[].envoyExtAuthzHttp.includeRequestBodyInCheck.packAsBytes",
)
def test_bodies_for_an_authorizer_by_grpc(world: World) -> None:
    """As text or as bytes, and no more than its limit."""

    def told(provider: str) -> tuple[str, str]:
        """What came as text, and what as bytes."""
        path = f"/anything/{provider}"
        found: list[str] = []

        def is_asked() -> bool:
            url = f"{HTTPBIN}{path}"
            answer = world.clients["foo"].get(url, method="POST", size=150, headers=ALLOW)
            assert answer.json["data"].endswith("x" * 150), "the workload has all of it"
            found.extend(answer.json["headers"].get("X-Ext-Authz-Check-Received", ()))
            return bool(found)

        world.policy("ext-authz", custom(provider, to(paths=[path])))
        world.wait(is_asked, f"{provider} is asked")
        received = json.loads(found[0])
        return received["body"], received["rawBody"]

    assert told("grpc") == ("", "")
    assert told("grpc-body") == ("x" * 100, "")
    assert told("grpc-bytes") == ("", "x" * 100)


@pytest.mark.covers(
    "MeshConfig.extensionProviders[].envoyExtAuthzHttp.clearRouteCache",
    "MeshConfig.extensionProviders[].envoyExtAuthzGrpc.clearRouteCache",
)
def test_an_authorizer_chooses_the_route(world: World) -> None:
    """By the header that it adds, if the route is looked for again after its answer."""
    world.rules.apply("edge", EDGE)
    url = "http://istio-ingressgateway.istio-system/headers"

    def route() -> tuple[str, bool]:
        """The route that was taken, and whether the authorizer was asked."""
        found = world.clients["legacy"].get(url, headers=ALLOW)
        if found.status != 200:
            return "", False
        asked = "X-Ext-Authz-Check-Result" in found.json["headers"]
        return found.headers["x-route"], asked

    world.wait(lambda: route() == ("usual", False), "the gateway answers")
    at_edge = {"selector": {"matchLabels": {"istio": "ingressgateway"}}}
    for provider, expected in (
        ("impatient", "usual"),
        ("rerouting", "checked"),
        ("grpc", "usual"),
        ("grpc-rerouting", "checked"),
    ):
        world.policy("ext-authz", {**custom(provider), **at_edge}, "istio-system")
        world.wait(lambda e=expected: route() == (e, True), f"{provider}: {expected}")  # type: ignore[misc]
        world.rules.delete("ext-authz")
        world.wait(lambda: route() == ("usual", False), "nobody is asked any more")


def test_an_authorizer_that_is_not_there_refuses(world: World) -> None:
    """And says so at the policy; what the policy does not match is not concerned."""
    policy = authorization_world.policy("ext-authz", custom("nobody", to(paths=["/headers"])))
    world.rules.apply("ext-authz", policy, quietly=False)
    world.wait(lambda: world.status("foo", "/headers", headers=ALLOW) == 403, "it is refused")
    assert world.status("foo", "/ip") == 200
    shown = world.mesh.argosy("analyze", "-n", "foo", check=False)
    assert "nobody" in shown.stdout + shown.stderr


def test_external_authorization_of_tcp(world: World) -> None:
    """By gRPC; an HTTP authorizer cannot be asked about connections, so they are refused."""
    world.policy("ext-authz", {**custom("grpc", to(ports=["9000"])), **TCP_ECHO})
    # The authorizer lets in who has an identity.
    world.wait(lambda: not world.echoes("legacy", 9000), "a caller without identity is refused")
    assert world.echoes("legacy", 9001), "nobody is asked about it"
    world.policy("ext-authz", {**custom("http", to(ports=["9000"])), **TCP_ECHO})
    world.wait(lambda: not world.echoes("foo", 9000), "connections are refused")
    assert world.echoes("foo", 9001)
