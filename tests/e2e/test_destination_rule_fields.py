"""Fields of a DestinationRule by what a request, or the server that gets it, experiences.

The servers have no sidecar, so they see the connections of the client's Envoy.
https://istio.io/latest/docs/reference/config/networking/destination-rule/
"""

import time
from collections import Counter
from collections.abc import Iterator

import pytest
from inside import Answer, Inside, inside
from manifests import deployment, namespace, server, service
from mesh import Mesh
from rules import Rules, document

pytestmark = pytest.mark.e2e

WORKLOADS = (
    namespace("legacy", {"istio-injection": "disabled"})
    + deployment("curl", image="curlimages/curl")
    + deployment("wget", image="curlimages/curl")
    + deployment("echo", *server("any", "8000,8001,7000"), port=8000, namespace="legacy")
    + service(
        "echo",
        "echo",
        {"name": "http", "port": 8000},
        {"name": "http-more", "port": 8001},
        {"name": "tcp", "port": 7000},
        namespace="legacy",
    )
    + deployment("flaky", *server("flaky", 8080), port=8080, namespace="legacy", replicas=2)
    + service(
        "flaky", "flaky", {"name": "http", "port": 8000, "targetPort": 8080}, namespace="legacy"
    )
)
ECHO = "echo.legacy.svc.cluster.local"
URL = "http://echo.legacy:8000/"
POLICY = "DestinationRule.trafficPolicy"


@pytest.fixture(scope="module")
def meshed(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    file = tmp_path_factory.mktemp("yaml") / "workloads.yaml"
    file.write_text(WORKLOADS)
    mesh.up(file)
    return mesh


@pytest.fixture(scope="module")
def curl(meshed: Mesh) -> Iterator[Inside]:
    with inside(meshed, "deploy/curl") as clients:
        yield clients


@pytest.fixture(scope="module")
def wget(meshed: Mesh) -> Iterator[Inside]:
    with inside(meshed, "deploy/wget") as clients:
        yield clients


@pytest.fixture
def rules(meshed: Mesh) -> Iterator[Rules]:
    with Rules(meshed) as rules:
        yield rules


def connections(answers: list[Answer]) -> int:
    """How many connections the server got the requests on."""
    assert {answer.status for answer in answers} == {200}, answers
    return len({answer.json["connection"] for answer in answers})


def protocols(answers: list[Answer]) -> set[str]:
    return {answer.json["protocol"] for answer in answers}


# Connection pools.


@pytest.mark.covers("DestinationRule.trafficPolicy.connectionPool.http.maxRequestsPerConnection")
def test_requests_per_connection(rules: Rules, curl: Inside) -> None:
    rules.destination(ECHO)
    assert connections(curl.requests(URL, count=6)) == 1
    rules.destination(ECHO, {"connectionPool": {"http": {"maxRequestsPerConnection": 2}}})
    assert connections(curl.requests(URL, count=6)) == 3


@pytest.mark.covers(
    "DestinationRule.trafficPolicy.connectionPool.http.idleTimeout",
    "DestinationRule.trafficPolicy.connectionPool.tcp.maxConnectionDuration",
)
@pytest.mark.parametrize(
    "pool", [{"http": {"idleTimeout": "0.2s"}}, {"tcp": {"maxConnectionDuration": "0.2s"}}]
)
def test_connections_of_requests_end(rules: Rules, curl: Inside, pool: object) -> None:
    rules.destination(ECHO, {"connectionPool": pool})
    first = curl.requests(URL)
    time.sleep(2)
    assert connections([*first, *curl.requests(URL)]) == 2


@pytest.mark.covers(
    "DestinationRule.trafficPolicy.connectionPool.tcp.idleTimeout",
    "DestinationRule.trafficPolicy.connectionPool.tcp.maxConnectionDuration",
)
@pytest.mark.parametrize("field", ["idleTimeout", "maxConnectionDuration"])
def test_opaque_connections_end(rules: Rules, curl: Inside, field: str) -> None:
    rules.destination(ECHO, {"connectionPool": {"tcp": {field: "0.5s"}}})
    connection = curl.call("connect", host="echo.legacy", port=7000)
    assert curl.call("receive", connection=connection, count=1, timeout=10) == ""
    started = time.monotonic()
    assert curl.call("receive", connection=connection, count=1, timeout=60) == ""
    assert time.monotonic() - started < 30, "the connection is closed, so nobody waits"
    curl.call("close", connection=connection)


@pytest.mark.covers(
    "DestinationRule.trafficPolicy.connectionPool.http.h2UpgradePolicy",
    "DestinationRule.trafficPolicy.connectionPool.http.useClientProtocol",
)
def test_protocols_of_connections(rules: Rules, curl: Inside) -> None:
    rules.destination(ECHO)
    assert protocols([curl.get(URL), curl.get(URL, http2=True)]) == {"HTTP/1.1"}
    rules.destination(ECHO, {"connectionPool": {"http": {"h2UpgradePolicy": "UPGRADE"}}})
    assert protocols([curl.get(URL), curl.get(URL, http2=True)]) == {"HTTP/2"}
    rules.destination(ECHO, {"connectionPool": {"http": {"useClientProtocol": True}}})
    assert protocols([curl.get(URL)]) == {"HTTP/1.1"}
    assert protocols([curl.get(URL, http2=True)]) == {"HTTP/2"}


@pytest.mark.covers(
    "DestinationRule.trafficPolicy.connectionPool.http.http2MaxRequests",
    "DestinationRule.trafficPolicy.connectionPool.http.http1MaxPendingRequests",
)
def test_requests_at_once(rules: Rules, curl: Inside) -> None:
    """Of eight at once, as many wait at the server as may."""
    url = "http://flaky.legacy:8000/"
    slow = {"x-fail": "99", "x-with": "500", "x-after": "4", "x-case": "slow"}
    rules.destination(
        "flaky.legacy.svc.cluster.local", {"connectionPool": {"http": {"http2MaxRequests": 3}}}
    )
    found = Counter(a.status for a in curl.requests(url, count=8, parallel=8, headers=slow))
    assert found == {500: 3, 503: 5}
    limits = {"http": {"http1MaxPendingRequests": 1}, "tcp": {"maxConnections": 1}}
    rules.destination("flaky.legacy.svc.cluster.local", {"connectionPool": limits})
    found = Counter(a.status for a in curl.requests(url, count=8, parallel=8, headers=slow))
    assert found[503] >= 4, found


@pytest.mark.covers("DestinationRule.trafficPolicy.connectionPool.http.maxConcurrentStreams")
def test_streams_of_a_connection(rules: Rules, curl: Inside) -> None:
    http = {"h2UpgradePolicy": "UPGRADE", "maxConcurrentStreams": 1}
    rules.destination(ECHO, {"connectionPool": {"http": http}})
    answers = curl.requests(URL, count=4, parallel=4, headers={"x-after": "2"})
    assert connections(answers) == 4


@pytest.mark.covers("DestinationRule.trafficPolicy.proxyProtocol.version")
def test_the_proxy_protocol(rules: Rules, curl: Inside) -> None:
    rules.destination(ECHO, {"proxyProtocol": {"version": "V1"}})
    answer = curl.call("exchange", host="echo.legacy", port=7000, text="hello")
    assert answer.startswith("raw:PROXY TCP4 "), answer
    assert answer.endswith("hello"), "in one piece with the header, or after it"


# Which rule it is.


@pytest.mark.covers("DestinationRule.trafficPolicy.portLevelSettings")
def test_a_port_has_its_own(rules: Rules, curl: Inside) -> None:
    upgrade = {"connectionPool": {"http": {"h2UpgradePolicy": "UPGRADE"}}}
    of_port = {
        "port": {"number": 8001},
        "connectionPool": {"http": {"maxRequestsPerConnection": 1}},
    }
    rules.destination(ECHO, {**upgrade, "portLevelSettings": [of_port]})
    assert protocols(curl.requests(URL)) == {"HTTP/2"}
    more = curl.requests("http://echo.legacy:8001/", count=3)
    assert protocols(more) == {"HTTP/1.1"}, "nothing is inherited"
    assert connections(more) == 3


@pytest.mark.covers("DestinationRule.workloadSelector")
def test_clients_have_their_own(rules: Rules, curl: Inside, wget: Inside) -> None:
    spec = {
        "host": ECHO,
        "workloadSelector": {"matchLabels": {"app": "wget"}},
        "trafficPolicy": {"connectionPool": {"http": {"h2UpgradePolicy": "UPGRADE"}}},
    }
    rules.apply("dr", document("networking.istio.io/v1", "DestinationRule", "echo", spec))
    assert protocols(curl.requests(URL)) == {"HTTP/1.1"}
    assert protocols(wget.requests(URL)) == {"HTTP/2"}


@pytest.mark.covers("DestinationRule.exportTo", "DestinationRule.subsets[].trafficPolicy")
def test_rules_of_the_services_namespace(rules: Rules, curl: Inside) -> None:
    """They count for clients elsewhere if they are exported to them."""
    upgrade = {"connectionPool": {"http": {"h2UpgradePolicy": "UPGRADE"}}}
    spec: dict[str, object] = {"host": ECHO, "trafficPolicy": upgrade, "exportTo": ["."]}
    text = document("networking.istio.io/v1", "DestinationRule", "echo", spec)
    of_legacy = text.replace('"namespace": "default"', '"namespace": "legacy"')
    rules.apply("dr", of_legacy)
    assert protocols(curl.requests(URL)) == {"HTTP/1.1"}
    rules.apply("dr", of_legacy.replace('["."]', '["default"]'))
    assert protocols(curl.requests(URL)) == {"HTTP/2"}
    rules.delete("dr")
    rules.destination(ECHO, None, {"name": "all", "labels": {}, "trafficPolicy": upgrade})
    assert protocols(curl.requests(URL)) == {"HTTP/1.1"}
    rules.route(ECHO, route=[{"destination": {"host": ECHO, "subset": "all"}}])
    assert protocols(curl.requests(URL)) == {"HTTP/2"}


# Outliers.


@pytest.mark.covers(
    "DestinationRule.trafficPolicy.outlierDetection.consecutiveGatewayErrors",
    "DestinationRule.trafficPolicy.outlierDetection.consecutive5xxErrors",
    "DestinationRule.trafficPolicy.outlierDetection.outlierDetectionHttpErrorCodes",
)
@pytest.mark.parametrize(
    ("errors", "how", "ejected"),
    [
        ({"consecutiveGatewayErrors": 2, "consecutive5xxErrors": 0}, "503", True),
        ({"consecutiveGatewayErrors": 2, "consecutive5xxErrors": 0}, "500", False),
        ({"consecutive5xxErrors": 2}, "500", True),
        ({"consecutive5xxErrors": 2}, "429", False),
        ({"consecutive5xxErrors": 2, "outlierDetectionHttpErrorCodes": [429]}, "429", True),
        ({"consecutive5xxErrors": 2, "outlierDetectionHttpErrorCodes": [429]}, "500", False),
    ],
)
def test_what_ejects(
    meshed: Mesh, rules: Rules, curl: Inside, errors: dict[str, object], how: str, ejected: bool
) -> None:
    host = "flaky.legacy.svc.cluster.local"
    (bad, _) = sorted(
        pod["metadata"]["name"] for pod in meshed.get("pods", "-n", "legacy", "-l", "app=flaky")
    )
    outliers = {
        "interval": "600s",
        "baseEjectionTime": "600s",
        "maxEjectionPercent": 100,
        "minHealthPercent": 0,
        **errors,
    }
    rules.route(host, retries={"attempts": 0})
    rules.destination(
        host, {"loadBalancer": {"simple": "ROUND_ROBIN"}, "outlierDetection": outliers}
    )
    headers = {"x-host": bad, "x-with": how}
    url = "http://flaky.legacy:8000/"
    curl.requests(url, count=12, headers=headers)
    time.sleep(0.5)
    after = curl.requests(url, count=12, headers=headers)
    assert (bad not in {answer.json["hostname"] for answer in after}) == ejected
