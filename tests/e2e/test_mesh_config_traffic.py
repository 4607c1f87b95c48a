"""What MeshConfig changes for requests while the mesh runs: one mesh, and a change for each test.

https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from external import Internet, Site, internet
from inside import Answer, Inside, InsideError, inside
from manifests import deployment, mesh_config, namespace, server, service
from mesh import Mesh, eventually
from rules import Rules, document

from argosy.platforms.local.state import MeshDirectory

pytestmark = pytest.mark.e2e

HTTP = {"name": "http", "port": 8000}
SITE = "api.example.com"
XFCC = "x-forwarded-client-cert"
WORKLOADS = (
    namespace("other")
    + namespace("legacy", {"istio-injection": "disabled"})
    + deployment("curl", image="curlimages/curl")
    + deployment("curl", image="curlimages/curl", namespace="legacy")
    + deployment("web", *server("any", "8000,7000,127.0.0.1:8001"), port=8000)
    + service(
        "web",
        "web",
        HTTP,
        {"name": "http-loopback", "port": 8001},
        {"name": "http-secure", "port": 443, "targetPort": 8000},
        {"name": "tcp", "port": 7000},
    )
    + deployment("flaky", *server("flaky", 8000), port=8000)
    + service("flaky", "flaky", HTTP)
    + deployment("far", *server("any", "8000"), port=8000, namespace="other")
    + service("far", "far", HTTP, namespace="other")
    + deployment("plain", *server("any", "8000"), port=8000, namespace="legacy")
    + service("plain", "plain", HTTP, namespace="legacy")
)
WEB = "http://web:8000/"
FAR = "http://far.other:8000/"
UNUSED = "10.244.255.253"
"""An address of the mesh's network that nobody has."""

Configure = Callable[[str], None]
"""Replaces MeshConfig for the length of the test."""


@pytest.fixture(scope="module")
def net(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Internet]:
    directory = tmp_path_factory.mktemp("traffic")
    file = directory / "workloads.yaml"
    file.write_text(WORKLOADS)
    with internet(mesh, directory, Site(SITE)) as made:
        mesh.up(file, made.manifest)
        made.connect()
        yield made


@pytest.fixture(scope="module")
def curl(mesh: Mesh, net: Internet) -> Iterator[Inside]:
    with inside(mesh, "deploy/curl") as clients:
        yield clients


@pytest.fixture(scope="module")
def legacy(mesh: Mesh, net: Internet) -> Iterator[Inside]:
    """A client without a sidecar."""
    with inside(mesh, "deploy/curl", "legacy") as clients:
        yield clients


@pytest.fixture
def rules(mesh: Mesh, net: Internet) -> Iterator[Rules]:
    with Rules(mesh) as rules:
        yield rules


@pytest.fixture
def configure(rules: Rules) -> Configure:
    return lambda text: rules.apply("mesh", mesh_config(text))


@pytest.fixture
def renew(configure: Configure) -> Configure:
    """Also makes all proxies connect anew: open connections go on with what held before.

    Clusters that change are made anew, with their connections.
    """

    def both(text: str) -> None:
        configure(text)
        configure(f"{text}\nconnectTimeout: 9s")

    return both


def of_other(kind: str, spec: object) -> str:
    """A rule for ``far`` in its namespace."""
    written = json.loads(document("networking.istio.io/v1", kind, "far", spec))
    written["metadata"]["namespace"] = "other"
    return json.dumps(written)


def is_mutual(answer: Answer) -> bool:
    """Whether the server's proxy knew its client by certificate."""
    return XFCC in answer.json["headers"]


# Connections.


@pytest.mark.covers("MeshConfig.connectTimeout")
def test_how_long_connecting_may_take(configure: Configure, rules: Rules, curl: Inside) -> None:
    """Nobody has the address: the kernel gives up after some seconds, the proxy when it is told."""
    nobody = {
        "hosts": ["nobody.example.com"],
        "ports": [{"number": 8000, "name": "http", "protocol": "HTTP"}],
        "resolution": "STATIC",
        "endpoints": [{"address": UNUSED}],
    }
    rules.apply("nobody", document("networking.istio.io/v1", "ServiceEntry", "nobody", nobody))
    url, host = f"http://{UNUSED}:8000/", {"host": "nobody.example.com"}
    once = "defaultHttpRetryPolicy: {attempts: 0}"
    configure(once)
    before = curl.get(url, headers=host, timeout=30)
    assert before.status == 503
    assert "connection timeout" not in before.body
    configure(f"{once}\nconnectTimeout: 0.2s")
    after = curl.get(url, headers=host, timeout=30)
    assert after.status == 503
    assert "connection timeout" in after.body


def keepalives(mesh: Mesh) -> list[float]:
    """Seconds until the first probe, of connections from curl's pod to port 8000 that have one.

    A timer of kind 2 is the keepalive's: https://docs.kernel.org/networking/proc_net_tcp.html
    """
    code = "print(open('/proc/net/tcp').read())"
    text = mesh.exec("deploy/curl", sys.executable, "-c", code).stdout
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 6 and fields[2].endswith(f":{8000:04X}") and fields[5].startswith("02:"):
            found.append(int(fields[5].removeprefix("02:"), 16) / 100)
    return found


@pytest.mark.covers("MeshConfig.tcpKeepalive")
def test_keepalives_of_the_kernel(configure: Configure, mesh: Mesh, curl: Inside) -> None:
    assert curl.get(WEB).status == 200
    assert keepalives(mesh) == []
    configure("tcpKeepalive: {time: 500s, interval: 70s, probes: 4}")
    assert curl.get(WEB).status == 200
    times = keepalives(mesh)
    assert times
    assert all(300 < seconds <= 501 for seconds in times), times


@pytest.mark.covers("MeshConfig.dnsRefreshRate")
def test_how_often_a_name_that_failed_is_asked_for(
    configure: Configure, rules: Rules, net: Internet, curl: Inside
) -> None:
    """An answer lives as long as it says; the rate is for names without one."""
    name = "later.example.com"
    later = {
        "hosts": [name],
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "resolution": "DNS",
    }
    rules.apply("later", document("networking.istio.io/v1", "ServiceEntry", "later", later))
    eventually(lambda: name in net.names.asked, "the proxy asks for the name")
    time.sleep(1)
    asked = net.names.asked.count(name)
    time.sleep(2.5)
    assert net.names.asked.count(name) == asked, "by default a minute passes"
    configure("dnsRefreshRate: 0.5s")
    asked = net.names.asked.count(name)
    eventually(lambda: net.names.asked.count(name) >= asked + 8, "asked again and again")
    net.answer(name, net.address(SITE))
    eventually(lambda: curl.get(f"http://{name}/").status == 200, "the name is there at last")


@pytest.mark.covers("MeshConfig.h2UpgradePolicy")
def test_protocols_between_proxies(configure: Configure, mesh: Mesh, curl: Inside) -> None:
    """HTTP/2 between sidecars unless forbidden, and to servers without one only if demanded."""

    def connections(version: int) -> int:
        return mesh.stat(
            "deploy/web", f"http.inbound_0.0.0.0_8000;.downstream_cx_http{version}_total"
        )

    plain = "http://plain.legacy:8000/"
    assert curl.get(plain).json["protocol"] == "HTTP/1.1"
    assert curl.get(WEB).status == 200
    assert connections(2) >= 1
    configure("h2UpgradePolicy: DO_NOT_UPGRADE")
    before = connections(1)
    assert curl.get(WEB).status == 200
    assert connections(1) == before + 1
    configure("h2UpgradePolicy: UPGRADE")
    assert curl.get(plain).json["protocol"] == "HTTP/2"


@pytest.mark.covers("MeshConfig.defaultTrafficPolicy.connectionPool")
def test_limits_for_services_that_have_no_rule(
    configure: Configure, rules: Rules, curl: Inside
) -> None:
    """A rule's own block counts instead."""

    def at_once(case: str) -> Counter[int]:
        slow = {"x-fail": "99", "x-with": "200", "x-after": "2", "x-case": case}
        found = curl.requests("http://flaky:8000/", count=6, parallel=6, headers=slow)
        return Counter(answer.status for answer in found)

    assert at_once("a") == {200: 6}
    configure("defaultTrafficPolicy: {connectionPool: {http: {http2MaxRequests: 2}}}")
    assert at_once("b") == {200: 2, 503: 4}
    rules.destination("flaky", {"connectionPool": {"http": {"http2MaxRequests": 5}}})
    assert at_once("c") == {200: 5, 503: 1}


@pytest.mark.covers("MeshConfig.defaultTrafficPolicy.outlierDetection")
def test_endpoints_that_fail_are_ejected(configure: Configure, curl: Inside) -> None:
    def fails(case: str) -> str:
        failing = {"x-fail": "99", "x-with": "503", "x-case": case}
        return curl.get("http://flaky:8000/", headers=failing).body

    assert all("tries" in fails("eject") for _ in range(8)), "the server itself fails"
    policy = "{consecutive5xxErrors: 3, baseEjectionTime: 5m, maxEjectionPercent: 100}"
    configure(f"defaultTrafficPolicy: {{outlierDetection: {policy}}}")
    eventually(lambda: "no healthy upstream" in fails("ejected"), "its only endpoint is ejected")
    configure("{}")
    eventually(lambda: "tries" in fails("back"), "it is asked again")


# Where requests go that the mesh does not know, and how they come in.


@pytest.mark.covers("MeshConfig.outboundTrafficPolicy.tls", "MeshConfig.outboundTrafficPolicy.mode")
def test_unknown_hosts_are_spoken_to_in_tls(
    configure: Configure, net: Internet, curl: Inside
) -> None:
    url = f"http://{SITE}:443/path"
    configure("outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}")
    assert curl.get(url).status == 503, "plain HTTP to a port of TLS"
    tls = json.dumps({"mode": "SIMPLE", "caCertificates": net.ca})
    configure(f"outboundTrafficPolicy: {{mode: ALLOW_ANY_DYNAMIC_DNS, tls: {tls}}}")
    answer = curl.get(url)
    assert answer.status == 200
    assert answer.json["path"] == "/path"
    assert answer.json["tls"]["sni"] == SITE
    net.answer("other.example.com", net.address(SITE))
    assert curl.get("http://other.example.com:443/").status == 503, "the certificate is another's"


@pytest.mark.covers("MeshConfig.tlsDefaults")
def test_tls_that_is_not_the_meshs(
    configure: Configure, rules: Rules, mesh: Mesh, net: Internet, curl: Inside
) -> None:
    ports = [{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 443}]
    spec = {"hosts": [SITE], "ports": ports, "resolution": "DNS"}
    rules.apply("site", document("networking.istio.io/v1", "ServiceEntry", "site", spec))
    rules.destination(SITE, {"tls": {"mode": "SIMPLE", "caCertificates": net.ca}})
    assert curl.get(f"http://{SITE}/").json["tls"]["version"] == "TLSv1.3"
    assert mesh.stat("deploy/curl", "ssl.curves.P-384") == 0
    configure("tlsDefaults: {ecdhCurves: [P-384]}")
    eventually(lambda: curl.get(f"http://{SITE}/").status == 200, "the handshake succeeds")
    assert mesh.stat("deploy/curl", "ssl.curves.P-384") >= 1


@pytest.mark.covers("MeshConfig.inboundTrafficPolicy.mode")
def test_applications_at_their_loopback_address(configure: Configure, curl: Inside) -> None:
    url = "http://web:8001/"
    assert curl.get(url).status == 503, "it listens at 127.0.0.1 only"
    configure("inboundTrafficPolicy: {mode: LOCALHOST}")
    eventually(lambda: curl.get(url).status == 200, "it is asked there")
    assert curl.get(WEB).status == 200


# Identity.


@pytest.mark.covers("MeshConfig.enableAutoMtls")
def test_mutual_tls_only_where_a_rule_asks_for_it(
    configure: Configure, rules: Rules, curl: Inside
) -> None:
    assert is_mutual(curl.get(WEB))
    configure("enableAutoMtls: false")
    assert not is_mutual(curl.get(WEB))
    rules.destination("web", {"tls": {"mode": "ISTIO_MUTUAL"}})
    assert is_mutual(curl.get(WEB))


@pytest.mark.covers("MeshConfig.rootNamespace")
def test_the_namespace_whose_rules_are_the_meshs(
    configure: Configure, rules: Rules, mesh: Mesh, legacy: Inside
) -> None:
    (pod,) = mesh.get("pods", "-l", "app=web")
    url = f"http://{pod['status']['podIP']}:8000/"
    strict = json.loads(
        document("security.istio.io/v1", "PeerAuthentication", "all", {"mtls": {"mode": "STRICT"}})
    )
    strict["metadata"]["namespace"] = "other"
    rules.apply("strict", json.dumps(strict))
    assert legacy.get(url).status == 200
    configure("rootNamespace: other")
    eventually(lambda: legacy.get(url).status == 0, "plaintext is refused everywhere")


@pytest.mark.covers("MeshConfig.meshMTLS.cipherSuites[]", "MeshConfig.meshMTLS.minProtocolVersion")
def test_ciphers_and_versions_of_mutual_tls(
    configure: Configure, mesh: Mesh, legacy: Inside, tmp_path: Path
) -> None:
    """Ciphers are for TLS 1.2. Proxies speak 1.3 to each other, so the client is none."""
    (pod,) = mesh.get("pods", "-l", "app=web")
    address = pod["status"]["podIP"]
    strong, other = "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"

    shown = {"pair": own_pair(mesh, "app=curl", tmp_path), "alpn": "istio-http/1.1"}

    def accepts(cipher: str) -> bool:
        try:
            found = legacy.call("tls12", host=address, port=8000, cipher=cipher, **shown)
        except InsideError:
            return False
        return bool(found == cipher)

    assert accepts(strong)
    assert accepts(other)
    configure(f"meshMTLS: {{cipherSuites: [{other}]}}")
    eventually(lambda: not accepts(strong), "what is not listed is refused")
    assert accepts(other)
    configure("meshMTLS: {minProtocolVersion: TLSV1_3}")
    eventually(lambda: not accepts(other), "TLS 1.2 is refused")


def own_pair(mesh: Mesh, selector: str, directory: Path) -> tuple[str, str]:
    """Files of the certificate and key that a pod's proxy has."""
    (pod,) = mesh.get("pods", "-l", selector)
    state = MeshDirectory.at(Path(mesh.environment["ARGOSY_STATE_DIR"]) / mesh.name)
    secret = state.pod("default", pod["metadata"]["name"]) / "certs" / "default.json"
    (resource,) = json.loads(secret.read_text())["resources"]
    paths = (directory / "certificate_chain", directory / "private_key")
    for path in paths:
        path.write_text(resource["tls_certificate"][path.name]["inline_string"])
    return str(paths[0]), str(paths[1])


# What namespaces show to each other.


@pytest.mark.covers("MeshConfig.defaultServiceExportTo[]")
def test_services_are_for_their_own_namespace(configure: Configure, curl: Inside) -> None:
    closed = "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n"
    configure(closed)
    assert curl.get(FAR).status == 200
    configure(f'{closed}defaultServiceExportTo: ["."]')
    assert curl.get(FAR).status == 502
    assert curl.get(WEB).status == 200


@pytest.mark.covers("MeshConfig.defaultVirtualServiceExportTo[]")
def test_routes_are_for_their_own_namespace(
    configure: Configure, rules: Rules, curl: Inside
) -> None:
    route = [{"destination": {"host": "far"}}]
    teapot = {"abort": {"httpStatus": 418, "percentage": {"value": 100}}}
    spec = {"hosts": ["far"], "http": [{"route": route, "fault": teapot}]}
    rules.apply("far", of_other("VirtualService", spec))
    assert curl.get(FAR).status == 418
    configure('defaultVirtualServiceExportTo: ["."]')
    assert curl.get(FAR).status == 200


@pytest.mark.covers("MeshConfig.defaultDestinationRuleExportTo[]")
def test_policies_are_for_their_own_namespace(
    configure: Configure, rules: Rules, curl: Inside
) -> None:
    spec = {"host": "far", "trafficPolicy": {"tls": {"mode": "DISABLE"}}}
    rules.apply("far", of_other("DestinationRule", spec))
    assert not is_mutual(curl.get(FAR))
    configure('defaultDestinationRuleExportTo: ["."]')
    assert is_mutual(curl.get(FAR))


# Requests.


@pytest.mark.covers("MeshConfig.pathNormalization.normalization")
@pytest.mark.parametrize(
    ("normalization", "sent", "expected"),
    [
        ("NONE", "/a/../b//c%2fd", "/a/../b//c%2fd"),
        ("DEFAULT", "/a/../b//c%2fd", "/b//c%2fd"),
        ("BASE", "/a/../b//c%2fd", "/b//c%2fd"),
        ("MERGE_SLASHES", "/a/../b//c%2fd", "/b/c%2fd"),
        ("DECODE_AND_MERGE_SLASHES", "/a/../b//c%2f%2Fd", "/b/c/d"),
    ],
)
def test_paths(
    renew: Configure, curl: Inside, normalization: str, sent: str, expected: str
) -> None:
    renew(f"pathNormalization: {{normalization: {normalization}}}")
    text = f"GET {sent} HTTP/1.1\r\nHost: web:8000\r\nConnection: close\r\n\r\n"

    def path() -> str:
        answer = curl.call("raw_http", host="web", port=8000, text=text)
        return str(json.loads(answer.partition("\r\n\r\n")[2])["path"])

    eventually(lambda: path() == expected, f"{sent} becomes {expected}")


@pytest.mark.covers("MeshConfig.defaultInboundHttpRetryPolicy")
def test_a_servers_own_proxy_asks_again(renew: Configure, curl: Inside) -> None:
    """The client's does not: by default it takes a 503 of the application for an answer."""

    def ask(case: str) -> Answer:
        failing = {"x-fail": "2", "x-with": "503", "x-case": case}
        return curl.get("http://flaky:8000/", headers=failing)

    assert ask("inbound-a").status == 503
    renew("defaultInboundHttpRetryPolicy: {attempts: 3, retryOn: 5xx}")
    cases = iter(range(1000))
    eventually(
        lambda: ask(f"inbound-{next(cases)}").status == 200, "asked a third time", seconds=90
    )
    answer = ask("inbound-b")
    assert (answer.status, answer.json["tries"]) == (200, 3)
    assert answer.headers.get("x-envoy-attempt-count", "1") == "1"


@pytest.mark.covers("MeshConfig.inboundClusterStatName", "MeshConfig.outboundClusterStatName")
def test_names_in_statistics(configure: Configure, mesh: Mesh, curl: Inside) -> None:
    configure(
        'inboundClusterStatName: "in_%SERVICE_NAME%_%TARGET_PORT%"\n'
        'outboundClusterStatName: "out_%SERVICE%_%SERVICE_PORT_NAME%"'
    )
    assert curl.get(WEB).status == 200
    assert mesh.stat("deploy/web", "cluster.in_web_8000;.upstream_rq_total") >= 1
    assert mesh.stat("deploy/curl", "cluster.out_web.default_http;.upstream_rq_total") >= 1
