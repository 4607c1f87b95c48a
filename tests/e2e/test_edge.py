"""What clients outside may say and do: headers, limits, attacks, against Envoys that serve.

https://istio.io/latest/docs/ops/configuration/traffic-management/network-topologies/
https://istio.io/latest/docs/ops/best-practices/security/
https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/header_sanitizing
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from credentials import tls
from edge import (
    ANSWERED,
    AT_THE_GATEWAY,
    CLAIMS,
    FLOODS,
    FORGED,
    HOST,
    NEXT,
    OBEYED,
    REFUSED,
    WORKLOADS,
)
from inside import Inside, InsideError, inside, outside
from manifests import mesh_config
from mesh import ARGOSY, Mesh, eventually
from rules import Rules

from argosy.testing.certificates import Credential, ScratchAuthority

pytestmark = pytest.mark.e2e

REFUSALS = ("400", "403", "404", "501", "reset", "closed")
ATTACKS = Path(__file__).with_name("attacks.py")


@dataclass(frozen=True)
class World:
    """``browser`` is on this machine, ``app`` in a pod of the mesh, ``stranger`` in one without proxy."""

    mesh: Mesh
    authority: ScratchAuthority
    rules: Rules
    browser: Inside
    app: Inside
    stranger: Inside
    gateway: str
    echo: str
    few: str


def address(mesh: Mesh, name: str, where: str) -> str:
    pods = mesh.get("pods", "-n", where)
    found: list[str] = [
        pod["status"]["podIP"] for pod in pods if pod["metadata"]["name"].startswith(name)
    ]
    return found[0]


@pytest.fixture(scope="module")
def world(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    file = tmp_path_factory.mktemp("yaml") / "workloads.yaml"
    authority = ScratchAuthority()
    own = authority.credential(HOST)
    file.write_text(tls("edge-credential", own, **{"ca.crt": own.roots}) + "\n---\n" + WORKLOADS)
    mesh.up(file)
    with (
        Rules(mesh) as rules,
        outside() as browser,
        inside(mesh, "deploy/curl") as app,
        inside(mesh, "deploy/stranger", "bare") as stranger,
    ):
        yield World(
            mesh,
            authority,
            rules,
            browser,
            app,
            stranger,
            address(mesh, "istio-ingressgateway", "istio-system"),
            address(mesh, "echo", "default"),
            address(mesh, "few", "default"),
        )


@pytest.fixture
def rules(world: World) -> Iterator[Rules]:
    yield world.rules
    world.rules.clear()


def forged(names: tuple[str, ...], **more: str) -> dict[str, str]:
    return {**{name: f"{FORGED}/{name}" for name in names}, **more}


def seen(answer: Any) -> dict[str, str]:
    """The header fields that the application got."""
    assert answer.status == 200, answer
    return dict(answer.json["fields"])


def claims_left(fields: dict[str, str]) -> list[str]:
    return sorted(name for name, value in fields.items() if FORGED in value)


@pytest.mark.parametrize("http2", [False, True])
def test_clients_outside_set_no_headers_of_the_mesh(world: World, *, http2: bool) -> None:
    """Neither with the address that they have, nor with one that they invent."""
    for invented in ({}, {"x-forwarded-for": "10.0.0.9"}, {"x-forwarded-for": "127.0.0.1"}):
        headers = forged(AT_THE_GATEWAY, host=HOST, **invented)
        answers = (
            world.browser.get(world.mesh.url, headers=headers, http2=http2),
            world.stranger.get(f"http://{world.gateway}:8080/", headers=headers, http2=http2),
        )
        for answer in answers:
            fields = seen(answer)
            assert claims_left(fields) == []
            assert "x-envoy-internal" not in fields
            assert fields["x-envoy-attempt-count"] == "1"
            assert "sa/istio-ingressgateway" in fields["x-forwarded-client-cert"]


@pytest.mark.parametrize("http2", [False, True])
def test_strangers_and_applications_speak_for_no_proxy(world: World, *, http2: bool) -> None:
    """At sidecars: a pod without a certificate, and the application behind its own sidecar."""
    headers = forged((*CLAIMS, *OBEYED), **{"x-forwarded-for": "10.0.0.9"})
    fields = seen(world.stranger.get(f"http://{world.echo}:8000/", headers=headers, http2=http2))
    assert claims_left(fields) == []
    assert not {"x-envoy-internal", "x-forwarded-client-cert"} & fields.keys()
    fields = seen(world.app.get("http://echo:8000/", headers=headers, http2=http2))
    assert claims_left(fields) == []
    assert "x-envoy-internal" not in fields
    assert "URI=spiffe://cluster.local/ns/default/sa/default" in fields["x-forwarded-client-cert"]


def test_a_gateway_behind_another_envoy(world: World, rules: Rules) -> None:
    switch = 'defaultConfig: {proxyMetadata: {ARGOSY_KEEP_ENVOY_HEADERS: "true"}}'
    rules.apply("mesh", mesh_config(switch))
    headers = forged(("x-envoy-any", "x-envoy-peer-metadata", "x-envoy-max-retries"), host=HOST)

    def kept() -> bool:
        fields = seen(world.browser.get(world.mesh.url, headers=headers))
        return claims_left(fields) == ["x-envoy-any"]

    eventually(kept, "the switch is in force")


@pytest.mark.covers(
    "MeshConfig.defaultConfig.gatewayTopology.numTrustedProxies",
)
def test_who_the_client_is(world: World, rules: Rules) -> None:
    """Istio's page on network topologies: the rightmost address but as many as there are proxies."""
    chain = "203.0.113.7,198.51.100.2,192.0.2.3"

    def fields() -> dict[str, str]:
        headers = {"host": HOST, "x-forwarded-for": chain, "x-forwarded-proto": "https"}
        return seen(world.stranger.get(f"http://{world.gateway}:8080/", headers=headers))

    own = address(world.mesh, "stranger", "bare")
    found = fields()
    assert found["x-envoy-external-address"] == own, "nobody's word"
    assert found["x-forwarded-for"] == f"{chain},{own}"
    assert found["x-forwarded-proto"] == "http"
    for proxies, client in ((1, "192.0.2.3"), (2, "198.51.100.2")):
        topology = f"defaultConfig: {{gatewayTopology: {{numTrustedProxies: {proxies}}}}}"
        rules.apply("mesh", mesh_config(topology))

        def believed(client: str = client) -> bool:
            return fields().get("x-envoy-external-address") == client

        eventually(believed, f"{proxies} trusted proxies")
        assert fields()["x-forwarded-proto"] == "https"
    rules.apply("mesh", mesh_config("defaultConfig: {gatewayTopology: {proxyProtocol: {}}}"))
    request = f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
    line = "PROXY TCP4 203.0.113.7 10.0.0.1 1234 80\r\n"

    def told(text: str) -> str:
        try:
            return str(world.stranger.call("exchange", host=world.gateway, port=8080, text=text))
        except InsideError:  # it was closed before all was read
            return ""

    eventually(lambda: '["x-forwarded-for", "203.0.113.7"]' in told(line + request), "it is read")
    assert told(request) == "", "without it there is no answer"
    # Text that ends no such line is refused too, and nobody can say it of a connection twice.
    assert told("PROXY TCP4 203.0.113.7 10.0.0.1 1234 99999\r\n" + request) == ""
    twice = told(line + "PROXY TCP4 192.0.2.9 10.0.0.1 1234 80\r\n" + request)
    assert "192.0.2.9" not in twice
    assert " 400 " in twice


@pytest.mark.covers(
    "MeshConfig.defaultConfig.gatewayTopology.forwardClientCertDetails",
    "MeshConfig.defaultConfig.proxyHeaders.forwardedClientCert",
)
def test_what_becomes_of_client_certificates(world: World, rules: Rules, tmp_path: Path) -> None:
    """Each mode of X-Forwarded-Client-Cert, for a client that has a certificate and forges more."""
    shown = world.authority.credential("client.example.com")
    client = files(shown, tmp_path)
    (tmp_path / "ca").write_text(shown.roots)
    _, port = world.mesh.secure_address

    def elements() -> list[str]:
        """What the application is told, without what its own sidecar adds at the end."""
        answer = world.browser.get(
            f"https://127.0.0.1:{port}/",
            headers={"host": HOST, "x-forwarded-client-cert": f"URI={FORGED}"},
            ca=str(tmp_path / "ca"),
            pair=client,
            server_name=HOST,
        )
        if answer.status != 200:
            return [answer.error or str(answer.status)]
        *before, last = seen(answer)["x-forwarded-client-cert"].split(",")
        assert "sa/istio-ingressgateway" in last
        return ["forged" if FORGED in one else "client" for one in before if one]

    eventually(lambda: elements() == ["client"], "SANITIZE_SET is the default")
    for mode, expected in (
        ("SANITIZE", []),
        ("FORWARD_ONLY", ["forged"]),
        ("APPEND_FORWARD", ["forged", "client"]),
        ("ALWAYS_FORWARD_ONLY", ["forged"]),
        ("SANITIZE_SET", ["client"]),
    ):
        topology = f"defaultConfig: {{gatewayTopology: {{forwardClientCertDetails: {mode}}}}}"
        rules.apply("mesh", mesh_config(topology))
        eventually(lambda wanted=expected: elements() == wanted, f"{mode}: {expected}")  # type: ignore[misc]  # a default has no type
    sidecars = "defaultConfig: {proxyHeaders: {forwardedClientCert: SANITIZE}}"
    rules.apply("mesh", mesh_config(sidecars))

    def hidden() -> bool:
        answer = world.stranger.get(f"http://{world.echo}:8000/")
        meshed = world.app.get("http://echo:8000/", fresh=True)
        return all("x-forwarded-client-cert" not in seen(one) for one in (answer, meshed))

    # Connections between the proxies that were open before go on with the listener they know.
    eventually(hidden, "sidecars tell applications nothing", seconds=90)


def files(credential: Credential, where: Path) -> tuple[str, str]:
    certificate, key = where / "crt", where / "key"
    certificate.write_text(credential.certificate)
    key.write_text(credential.key)
    return str(certificate), str(key)


@pytest.mark.covers(
    "MeshConfig.defaultConfig.connectionSettings.profile",
    "MeshConfig.defaultConfig.connectionSettings.httpHeadersWithUnderscoresAction",
    "MeshConfig.defaultConfig.connectionSettings.httpMergeSlashes",
    "MeshConfig.defaultConfig.connectionSettings.httpPathWithEscapedSlashesAction",
    "MeshConfig.defaultConfig.connectionSettings.httpMaxConcurrentStreams",
)
def test_the_profile_of_the_edge(world: World, rules: Rules) -> None:
    url = f"http://{world.gateway}:8080"

    def status(path: str = "/", **headers: str) -> int:
        return world.stranger.get(url + path, headers={"host": HOST, **headers}).status

    assert status(x_under="1") == 200, "Istio's default"
    assert status("/a%2Fb") == 200
    rules.apply("mesh", mesh_config("defaultConfig: {connectionSettings: {profile: EDGE}}"))
    eventually(lambda: status(x_under="1") == 400, "underscores are refused")
    assert status("/a%2Fb") == 307, "once decoded, ask again"
    merged = world.stranger.get(f"{url}//a//b", headers={"host": HOST})
    assert merged.json["line"] == "GET /a/b HTTP/1.1"
    (streams,) = attack(world.mesh, world.gateway, 8080, "many_streams")
    assert streams["refused"] == 2000 - 100
    allow = "{profile: EDGE, httpHeadersWithUnderscoresAction: DROP_HEADER}"
    rules.apply("mesh", mesh_config(f"defaultConfig: {{connectionSettings: {allow}}}"))

    def dropped() -> bool:
        answer = world.stranger.get(f"{url}/", headers={"host": HOST, "x_under": "1"})
        return answer.status == 200 and "x_under" not in seen(answer)

    eventually(dropped, "fields with underscores are dropped")


@pytest.mark.covers("MeshConfig.defaultConfig.connectionSettings.globalDownstreamConnectionLimit")
def test_connections_above_the_limit_are_closed(world: World) -> None:
    """And a gateway has a limit by itself, by the descriptors that its process may open."""
    held = [world.stranger.call("connect", host=world.few, port=8000) for _ in range(12)]
    request = "GET /record HTTP/1.1\r\nHost: few\r\n\r\n"
    served = []
    for connection in held:
        try:
            world.stranger.call("send", connection=connection, text=request)
            text = world.stranger.call("receive", connection=connection, count=12, timeout=3)
        except InsideError:  # it was closed before all was sent
            text = ""
        served.append(text == "HTTP/1.1 200")
    for connection in held:
        world.stranger.call("close", connection=connection)
    assert 1 <= sum(served) <= 4
    answer = world.mesh.argosy(
        "proxy-config",
        "bootstrap",
        "deploy/istio-ingressgateway",
        "-n",
        "istio-system",
        "-o",
        "json",
    )
    limit = answer.stdout.split('"max_active_downstream_connections":')[1].split("\n")[0]
    assert 100 <= int(limit.strip(' ",')) <= 50_000


def test_requests_that_two_readers_could_read_differently(world: World) -> None:
    """They are refused, at the gateway and at a sidecar, and what follows them is no request."""
    for host, port in ((world.gateway, 8080), (world.echo, 8000)):
        for what, text in REFUSED.items():
            answer = world.stranger.call("exchange", host=host, port=port, text=text + NEXT)
            assert answer.startswith(("HTTP/1.1 400 ", "HTTP/1.1 501 ")), (what, host, answer)
            assert answer.count("HTTP/1.1 ") == 1, (what, host, answer)
    record = world.app.get("http://echo:8000/record").json
    assert not [line for line in record if "/smuggled" in line]


def test_http2_requests_that_would_become_others(world: World) -> None:
    """RFC 9113 8.2 and 8.3: malformed, and so refused, before they are written as HTTP/1.1."""
    for host, port in ((world.gateway, 8080), (world.echo, 8000)):
        results = attack(world.mesh, host, port)
        assert len(results) > 20
        accepted = {one["attack"]: one["outcome"] for one in results}
        assert accepted.pop("nothing") == "200", "it is not the body that is refused"
        assert set(accepted.values()) <= set(REFUSALS), (host, accepted)
    record = world.app.get("http://echo:8000/record").json
    assert not [line for line in record if "/smuggled" in line]


def test_odd_requests_are_rewritten_before_they_go_on(world: World) -> None:
    """The application, which reads by the letter, sees what the proxies have understood."""

    def told(text: str, port: int = 8080) -> dict[str, Any]:
        where = world.gateway if port == 8080 else world.echo
        answer = world.stranger.call("exchange", host=where, port=port, text=text)
        assert answer.startswith("HTTP/1.1 200 "), answer
        found: dict[str, Any] = json.loads(answer.partition("\r\n\r\n")[2])
        found["fields"] = dict(found["fields"])
        return found

    end = f"Host: {HOST}\r\nConnection: close\r\n\r\n"
    for port in (8080, 8000):
        folded = told(f"GET / HTTP/1.1\r\nX-A: b\r\n c: d\r\n{end}", port)["fields"]
        assert folded["x-a"] == "b c: d", "obs-fold becomes a space, RFC 9112 5.2"
        assert "c" not in folded
        bare = told(f"GET / HTTP/1.1\r\nX-A: b\rX-B: c\r\n{end}", port)["fields"]
        assert "\r" not in bare["x-a"]
        assert "x-b" not in bare
        lines = told(f"GET / HTTP/1.1\nX-A: b\nX-B: c\n{end}", port)["fields"]
        assert (lines["x-a"], lines["x-b"]) == ("b", "c"), "RFC 9112 2.2 allows it"
        body = told(f"POST / HTTP/1.1\r\nContent-Length: {len(NEXT)}\r\n{end}{NEXT}", port)
        assert body["body"] == NEXT
        absolute = told(
            f"GET http://{HOST}/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", port
        )
        assert (absolute["fields"]["host"], absolute["line"]) == (HOST, "GET /a HTTP/1.1")
        dots = told(f"GET /a/../../b HTTP/1.1\r\n{end}", port)
        assert dots["line"] == "GET /b HTTP/1.1"
        upgrade = (
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
        )
        plain = told(f"GET / HTTP/1.1\r\n{upgrade}Host: {HOST}\r\n\r\n", port)["fields"]
        assert not {"upgrade", "http2-settings"} & plain.keys()
    two = f"GET / HTTP/1.1\r\nHost: {HOST}\r\nHost: other.test\r\nConnection: close\r\n\r\n"
    refused = world.stranger.call("exchange", host=world.gateway, port=8080, text=two)
    assert refused.startswith("HTTP/1.1 404 "), "no such host is served"
    # A sidecar serves any host; its application sees one field that is no host of anybody.
    assert told(two, 8000)["fields"]["host"] == f"{HOST},other.test"
    other = f"GET http://other.test/ HTTP/1.1\r\n{end}"
    refused = world.stranger.call("exchange", host=world.gateway, port=8080, text=other)
    assert refused.startswith("HTTP/1.1 404 "), "the host of the request line counts"


def test_sizes(world: World) -> None:
    """Envoy's limits, which nobody has to set: 60 KiB and 100 fields of a request's head."""
    for host, port in ((world.gateway, 8080), (world.echo, 8000)):
        for text in (
            f"GET / HTTP/1.1\r\nHost: {HOST}\r\nX-A: {'a' * 70_000}\r\n\r\n",
            f"GET /{'a' * 70_000} HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
            f"GET / HTTP/1.1\r\nHost: {HOST}\r\n{''.join(f'h{i}: v' + chr(13) + chr(10) for i in range(110))}\r\n",
        ):
            answer = world.stranger.call("exchange", host=host, port=port, text=text)
            assert answer.startswith("HTTP/1.1 431 "), answer[:200]


def attack(mesh: Mesh, host: str, port: int, *names: str) -> list[dict[str, Any]]:
    """What became of each."""
    with attacking(mesh, host, port, *names) as process:
        text, _ = process.communicate(timeout=180)
    assert process.returncode == 0, text
    return [json.loads(line) for line in text.splitlines()]


def attacking(mesh: Mesh, host: str, port: int, *names: str) -> "subprocess.Popen[str]":
    argv = (str(ARGOSY), "exec", "-n", "bare", "deploy/stranger", "--")
    script = (sys.executable, str(ATTACKS), host, str(port), HOST, *names)
    return subprocess.Popen(
        [*argv, *script], env=mesh.environment, stdout=subprocess.PIPE, text=True
    )


def allocated(mesh: Mesh, target: str, where: str) -> int:
    """Bytes that an Envoy has in use."""
    return int(json.loads(mesh.envoy(target, "/memory", where))["allocated"])


@pytest.mark.parametrize("place", ["gateway", "sidecar"])
def test_floods(world: World, place: str) -> None:
    """The attacker loses its connection; others are served meanwhile, and memory stays."""
    gateway = place == "gateway"
    host, port = (world.gateway, 8080) if gateway else (world.echo, 8000)
    pod = ("deploy/istio-ingressgateway", "istio-system") if gateway else ("deploy/echo", "default")
    uptime = json.loads(world.mesh.envoy(pod[0], "/server_info", pod[1]))["uptime_current_epoch"]
    before = allocated(world.mesh, *pod)
    highest = served = 0
    url = world.mesh.url
    floods = FLOODS if gateway else ("rapid_reset", "continuation", "ping")
    with attacking(world.mesh, host, port, *floods, *ANSWERED) as process:
        while process.poll() is None:
            if gateway:
                answers = world.browser.requests(url, headers={"host": HOST}, count=10)
            else:
                answers = world.app.requests("http://echo:8000/", count=10)
            assert [answer for answer in answers if answer.status != 200] == []
            served += len(answers)
            highest = max(highest, allocated(world.mesh, *pod))
        assert process.stdout is not None
        results = {found["attack"]: found for found in map(json.loads, process.stdout)}
    assert process.returncode == 0
    assert results.keys() == {*floods, *ANSWERED}
    assert [name for name in floods if not results[name]["closed"]] == []
    assert 200 not in [status for found in results.values() for status in found["statuses"]]
    assert results["many_headers"]["refused"] == 1
    assert results["huge_headers"]["refused"] == 1
    assert results["many_streams"]["refused"] == 2000 - 1024, "Envoy's limit of streams"
    assert results["rapid_reset"]["sent"] < 500_000, "it ends after some hundred streams"
    assert served >= 10
    assert highest - before < 64 << 20, f"{before} bytes before, {highest} at most"
    after = json.loads(world.mesh.envoy(pod[0], "/server_info", pod[1]))["uptime_current_epoch"]
    assert float(after.rstrip("s")) > float(uptime.rstrip("s")), "it is the same process"
