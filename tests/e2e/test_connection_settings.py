"""What ProxyConfig says of connections and headers, by MeshConfig and so for every proxy at once.

https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig
https://istio.io/latest/docs/ops/configuration/traffic-management/edge-proxy/
"""

import json
import time
from collections.abc import Callable, Iterator

import pytest
from inside import Inside, InsideError, outside
from manifests import deployment, mesh_config, server, service
from mesh import Mesh, eventually
from rules import Rules, document

pytestmark = pytest.mark.e2e

HTTP: dict[str, object] = {"name": "http", "port": 8000}
XFCC = "x-forwarded-client-cert"
WORKLOADS = (
    deployment("curl", image="curlimages/curl")
    + deployment("web", *server("any", "8000,7000"), port=8000)
    + service("web", "web", HTTP, {"name": "tcp", "port": 7000})
    + deployment("flaky", *server("flaky", 8000), port=8000)
    + service("flaky", "flaky", HTTP)
)
WEB = "http://web:8000/"
GATEWAY = {
    "selector": {"istio": "ingressgateway"},
    "servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}],
}
ROUTE = {
    "hosts": ["*"],
    "gateways": ["edge"],
    "http": [{"route": [{"destination": {"host": "web", "port": {"number": 8000}}}]}],
}
FIELD = "MeshConfig.defaultConfig.connectionSettings"
HEADERS = "MeshConfig.defaultConfig.proxyHeaders"

Configure = Callable[[object], None]
"""Replaces MeshConfig's ``defaultConfig`` for the length of the test; open connections go too."""


@pytest.fixture(scope="module")
def meshed(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    file = tmp_path_factory.mktemp("yaml") / "workloads.yaml"
    edge = document("networking.istio.io/v1", "Gateway", "edge", GATEWAY)
    route = document("networking.istio.io/v1", "VirtualService", "edge", ROUTE)
    file.write_text(f"{WORKLOADS}{edge}\n---\n{route}")
    mesh.up(file)
    return mesh


@pytest.fixture(scope="module")
def browser(meshed: Mesh) -> Iterator[Inside]:
    with outside() as clients:
        yield clients


@pytest.fixture
def configure(rules: Rules) -> Configure:
    def apply(default_config: object) -> None:
        for connect_timeout in ("10s", "9s"):  # clusters that change make connections anew
            text = {"defaultConfig": default_config, "connectTimeout": connect_timeout}
            rules.apply("mesh", mesh_config(json.dumps(text)))

    return apply


@pytest.fixture
def connections(configure: Configure) -> Callable[..., None]:
    return lambda **settings: configure({"connectionSettings": settings})


def raw(curl: Inside, text: str, host: str = "web") -> str:
    """The first line of the answer."""
    found: str = curl.call("raw_http", host=host, port=8000, text=text)
    return found.partition("\r\n")[0]


@pytest.mark.covers(
    f"{FIELD}.httpHeadersWithUnderscoresAction",
    f"{FIELD}.httpMergeSlashes",
    f"{FIELD}.httpPathWithEscapedSlashesAction",
)
def test_headers_and_paths(connections: Callable[..., None], curl: Inside) -> None:
    assert curl.get(WEB, headers={"x_y": "1"}).json["headers"]["x_y"] == "1"
    assert curl.get(f"{WEB}/a").json["path"] == "//a"
    assert curl.get(f"{WEB}a%2fb").json["path"] == "/a%2fb"
    connections(
        httpHeadersWithUnderscoresAction="REJECT_REQUEST",
        httpMergeSlashes=True,
        httpPathWithEscapedSlashesAction="REJECT_REQUEST",
    )
    assert curl.get(WEB, headers={"x_y": "1"}).status == 400
    assert curl.get(f"{WEB}/a").json["path"] == "/a"
    assert curl.get(f"{WEB}a%2fb").status == 400
    connections(httpHeadersWithUnderscoresAction="DROP_HEADER")
    assert "x_y" not in curl.get(WEB, headers={"x_y": "1"}).json["headers"]


@pytest.mark.covers(f"{FIELD}.httpRequestHeadersTimeout", f"{FIELD}.httpRequestTimeout")
def test_requests_that_do_not_end(connections: Callable[..., None], curl: Inside) -> None:
    connections(httpRequestHeadersTimeout="0.5s")
    assert raw(curl, "GET / HTTP/1.1\r\nHost: web:8000\r\n") == "HTTP/1.1 408 Request Timeout"
    connections(httpRequestTimeout="0.5s")
    slow = "x-fail: 99\r\nx-with: 200\r\nx-after: 4\r\nx-case: body\r\n"
    body = f"POST / HTTP/1.1\r\nHost: flaky:8000\r\n{slow}Content-Length: 5\r\n\r\n"
    assert raw(curl, body, "flaky") == "HTTP/1.1 408 Request Timeout"


@pytest.mark.covers(f"{FIELD}.httpStreamIdleTimeout", f"{FIELD}.httpMaxStreamDuration")
def test_answers_that_take_too_long(connections: Callable[..., None], curl: Inside) -> None:
    slow = {"x-fail": "99", "x-with": "200", "x-after": "3", "x-case": "slow"}
    assert curl.get("http://flaky:8000/", headers=slow).status == 200
    for field in ("httpStreamIdleTimeout", "httpMaxStreamDuration"):
        connections(**{field: "0.5s"})
        assert curl.get("http://flaky:8000/", headers=slow).status != 200, field


def outlives(curl: Inside, seconds: float) -> bool:
    """Whether a connection is still there so long after its first answer."""
    connection = curl.call("connect", host="web", port=8000)
    curl.call("send", connection=connection, text="GET / HTTP/1.1\r\nHost: web:8000\r\n\r\n")
    answer = curl.call("receive", connection=connection, count=1 << 20, timeout=1)
    assert answer.startswith("HTTP/1.1 200")
    began = time.monotonic()
    curl.call("receive", connection=connection, count=1, timeout=seconds)
    curl.call("close", connection=connection)
    return time.monotonic() - began >= seconds * 0.9


@pytest.mark.covers(
    f"{FIELD}.httpIdleTimeout", f"{FIELD}.httpMaxConnectionDuration", f"{FIELD}.httpDrainTimeout"
)
def test_how_long_connections_live(connections: Callable[..., None], curl: Inside) -> None:
    connections(httpIdleTimeout="1.5s")
    assert not outlives(curl, 8)
    connections(httpMaxConnectionDuration="1.5s", httpDrainTimeout="600s")
    assert outlives(curl, 3)
    connections(httpMaxConnectionDuration="1.5s", httpDrainTimeout="0.2s")
    assert not outlives(curl, 8)


def frames(curl: Inside) -> tuple[dict[int, int], int]:
    """The settings that the proxy tells of HTTP/2, and how far it opens the connection's window.

    https://www.rfc-editor.org/rfc/rfc9113#section-4.1
    """
    connection = curl.call("connect", host="web", port=8000)
    preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    curl.call("send", connection=connection, text=preface + "\0\0\0\4\0\0\0\0\0")
    data = curl.call("receive", connection=connection, count=4096, timeout=2).encode("latin-1")
    curl.call("close", connection=connection)
    settings: dict[int, int] = {}
    opened = 0
    while data:
        length, kind = int.from_bytes(data[:3], "big"), data[3]
        payload, data = data[9 : 9 + length], data[9 + length :]
        if kind == 4:
            for i in range(0, length, 6):
                one = payload[i : i + 6]
                settings[int.from_bytes(one[:2], "big")] = int.from_bytes(one[2:], "big")
        elif kind == 8:
            opened += int.from_bytes(payload, "big")
    return settings, opened


@pytest.mark.covers(
    f"{FIELD}.httpMaxConcurrentStreams",
    f"{FIELD}.http2InitialStreamWindowSize",
    f"{FIELD}.http2InitialConnectionWindowSize",
)
def test_settings_of_http2(connections: Callable[..., None], curl: Inside) -> None:
    connections(
        httpMaxConcurrentStreams=7,
        http2InitialStreamWindowSize=70000,
        http2InitialConnectionWindowSize=200000,
    )
    settings, opened = frames(curl)
    assert (settings[3], settings[4]) == (7, 70000)
    assert 65535 + opened == 200000


def echoes(curl: Inside, connection: int) -> bool:
    try:
        curl.call("send", connection=connection, text="hello")
        return bool(curl.call("receive", connection=connection, count=9, timeout=5) == "raw:hello")
    except InsideError:  # reset
        return False


@pytest.mark.covers(f"{FIELD}.listenerConnectionLimit")
def test_connections_at_once(connections: Callable[..., None], curl: Inside) -> None:
    connections(listenerConnectionLimit=2)
    opened = [curl.call("connect", host="web", port=7000) for _ in range(3)]
    assert [echoes(curl, one) for one in opened] == [True, True, False]
    curl.call("close", connection=opened[0])

    def another() -> bool:
        connection = curl.call("connect", host="web", port=7000)
        found = echoes(curl, connection)
        curl.call("close", connection=connection)
        return found

    eventually(another, "there is room for one again")
    for connection in opened[1:]:
        curl.call("close", connection=connection)


@pytest.mark.covers(f"{FIELD}.clusterPerConnectionBufferLimitBytes")
def test_buffers_of_connections_to_servers(
    connections: Callable[..., None], meshed: Mesh, curl: Inside
) -> None:
    """A client is not read from while there is more in the buffer than the limit."""

    def paused() -> int:
        name = "outbound|7000||web.default.svc.cluster.local"
        return meshed.stat("deploy/curl", f"{name}.downstream_flow_control_paused_reading_total")

    text = "x" * 200_000
    connections(clusterPerConnectionBufferLimitBytes=1 << 30)
    before = paused()
    assert len(curl.call("exchange", host="web", port=7000, text=text)) > len(text)
    assert paused() == before
    connections(clusterPerConnectionBufferLimitBytes=1024)
    assert len(curl.call("exchange", host="web", port=7000, text=text)) > len(text)
    assert paused() > before


@pytest.mark.covers(f"{FIELD}.profile")
def test_the_profile_of_gateways(
    connections: Callable[..., None], meshed: Mesh, curl: Inside, browser: Inside
) -> None:
    """A part of it may be set otherwise; sidecars do not have it."""
    underscored = {"x_y": "1"}
    url = meshed.url
    assert browser.get(f"{url}/", headers=underscored).status == 200
    connections(profile="EDGE")
    assert browser.get(f"{url}/", headers=underscored).status == 400
    assert browser.get(f"{url}/a%2fb").status == 307
    assert curl.get(WEB, headers=underscored).status == 200
    connections(profile="EDGE", httpHeadersWithUnderscoresAction="ALLOW")
    assert browser.get(f"{url}/", headers=underscored).status == 200


@pytest.mark.covers(
    f"{HEADERS}.server.disabled",
    f"{HEADERS}.forwardedClientCert",
    f"{HEADERS}.setCurrentClientCertDetails.subject",
    f"{HEADERS}.setCurrentClientCertDetails.cert",
    f"{HEADERS}.setCurrentClientCertDetails.chain",
    f"{HEADERS}.setCurrentClientCertDetails.uri",
)
def test_what_proxies_say_of_themselves_and_of_clients(configure: Configure, curl: Inside) -> None:
    before = curl.get(WEB)
    assert before.headers["server"] == "envoy"
    shown = before.json["headers"][XFCC]
    assert "URI=" in shown
    assert "Cert=" not in shown
    details = {"subject": False, "cert": True, "chain": True, "uri": False}
    headers = {"server": {"disabled": True}, "setCurrentClientCertDetails": details}
    configure({"proxyHeaders": headers})
    answer = curl.get(WEB)
    assert "server" not in answer.headers
    shown = answer.json["headers"][XFCC]
    assert "Cert=" in shown
    assert "Chain=" in shown
    assert "URI=" not in shown
    assert "Subject=" not in shown
    configure({"proxyHeaders": {"forwardedClientCert": "SANITIZE"}})
    assert XFCC not in curl.get(WEB).json["headers"]


@pytest.mark.covers(
    "MeshConfig.defaultConfig.gatewayTopology.numTrustedProxies",
    "MeshConfig.defaultConfig.gatewayTopology.forwardClientCertDetails",
)
def test_what_stands_before_gateways(configure: Configure, meshed: Mesh, browser: Inside) -> None:
    url, sent = f"{meshed.url}/", {"x-forwarded-for": "198.51.100.7", XFCC: "Hash=beef"}
    seen = browser.get(url, headers=sent).json["headers"]
    assert seen.get("x-envoy-external-address") != "198.51.100.7"
    assert "beef" not in seen.get(XFCC, "")
    topology = {"numTrustedProxies": 1, "forwardClientCertDetails": "ALWAYS_FORWARD_ONLY"}
    configure({"gatewayTopology": topology})
    seen = browser.get(url, headers=sent).json["headers"]
    assert seen["x-envoy-external-address"] == "198.51.100.7"
    assert "Hash=beef" in seen[XFCC]
