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
from mesh import Mesh, eventually
from rules import Rules, document

pytestmark = pytest.mark.e2e

TCP_PORTS = range(7000, 7005)


def apart(name: str, locality: str) -> str:
    labels = {"app": "apart", "at": name, "istio-locality": locality}
    return deployment(name, *server("flaky", 8080), port=8080, namespace="legacy", labels=labels)


WORKLOADS = (
    namespace("legacy", {"istio-injection": "disabled"})
    + deployment("curl", image="curlimages/curl", labels={"istio-locality": "region1.zone1"})
    + deployment("wget", image="curlimages/curl")
    + deployment("echo", *server("any", "8000,8001,7000"), port=8000, namespace="legacy")
    + service(
        "echo",
        "echo",
        {"name": "http", "port": 8000},
        {"name": "http-more", "port": 8001},
        *({"name": f"tcp-{port}", "port": port, "targetPort": 7000} for port in TCP_PORTS),
        namespace="legacy",
    )
    + deployment("flaky", *server("flaky", 8080), port=8080, namespace="legacy", replicas=2)
    + service(
        "flaky",
        "flaky",
        {"name": "http", "port": 8000, "targetPort": 8080},
        {"name": "http-more", "port": 8001, "targetPort": 8080},
        namespace="legacy",
    )
    + apart("near", "region1.zone1")
    + apart("far", "region2.zone2")
    + service(
        "apart", "apart", {"name": "http", "port": 8000, "targetPort": 8080}, namespace="legacy"
    )
)
ECHO = "echo.legacy.svc.cluster.local"
URL = "http://echo.legacy:8000/"
FLAKY = "flaky.legacy.svc.cluster.local"
FLAKY_URL = "http://flaky.legacy:8000/"


@pytest.fixture(scope="module")
def wget(meshed: Mesh) -> Iterator[Inside]:
    with inside(meshed, "deploy/wget") as clients:
        yield clients


@pytest.fixture(scope="module")
def bad(meshed: Mesh) -> str:
    """The host name of one of the two replicas of ``flaky``."""
    pods = meshed.get("pods", "-n", "legacy", "-l", "app=flaky")
    return min(str(pod["metadata"]["name"]) for pod in pods)


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
    "DestinationRule.trafficPolicy.connectionPool.tcp.tcpKeepalive.time",
    "DestinationRule.trafficPolicy.connectionPool.tcp.tcpKeepalive.interval",
    "DestinationRule.trafficPolicy.connectionPool.tcp.tcpKeepalive.probes",
)
def test_probes_find_a_silent_peer(rules: Rules, curl: Inside) -> None:
    """The kernel gives up after ``time`` and ``probes`` times ``interval``, where there are probes.

    Each of the later ones stretches one of the three, and none is closed before its time; what
    Linux has by default (two hours, 75 seconds, 9 probes) would keep them longer than we wait.
    """
    keepalives = (
        {"time": "1s", "interval": "1s", "probes": 1},
        {"time": "4s", "interval": "1s", "probes": 1},
        {"time": "1s", "interval": "4s", "probes": 1},
        {"time": "1s", "interval": "1s", "probes": 4},
    )
    pools = [{"connectionPool": {"tcp": {"tcpKeepalive": one}}} for one in keepalives]
    of_ports = [{"port": {"number": n}, **p} for n, p in zip(TCP_PORTS[1:], pools, strict=True)]
    rules.destination(ECHO, {"portLevelSettings": of_ports})
    connections = [curl.call("connect", host="echo.legacy", port=port) for port in TCP_PORTS]
    for connection in connections:
        curl.call("send", connection=connection, text="hello")
        assert curl.call("receive", connection=connection, count=9) == "raw:hello"
    started = time.monotonic()
    for connection in connections:
        curl.call("send", connection=connection, text="deaf")
        assert curl.call("receive", connection=connection, count=8) == "raw:deaf"
    deafened = time.monotonic() - started
    unlimited, *limited = curl.call("ends", connections=connections, count=4, timeout=30)
    for connection in connections:
        curl.call("close", connection=connection)
    assert unlimited is None
    first, *later = [deafened + end for end in limited]
    assert first >= 1.9
    assert min(later) >= 4.9, later


@pytest.mark.covers(
    "DestinationRule.trafficPolicy.connectionPool.http.http2KeepAlive.interval",
    "DestinationRule.trafficPolicy.connectionPool.http.http2KeepAlive.timeout",
)
def test_a_connection_whose_pings_are_not_answered_is_closed(
    meshed: Mesh, rules: Rules, curl: Inside
) -> None:
    """Unless the pings are rare, or their answers may take long: then requests wait in vain."""

    def deafened(interval: str, timeout: str) -> Answer:
        """Of an HTTP/2 connection to a server that reads nothing after its first answer."""
        keepalive = {"interval": interval, "timeout": timeout}
        http = {"h2UpgradePolicy": "UPGRADE", "http2KeepAlive": keepalive}
        rules.destination(ECHO, {"connectionPool": {"http": http}})
        answer = curl.get(URL, headers={"x-deaf": "1"})
        assert answer.json["protocol"] == "HTTP/2"
        return answer

    deafened("600s", "0.2s")
    time.sleep(1)
    assert "Timeout" in curl.get(URL, timeout=1).error
    deafened("0.2s", "600s")
    time.sleep(1)
    assert "Timeout" in curl.get(URL, timeout=1).error
    first = deafened("0.2s", "0.2s")
    eventually(lambda: meshed.stat("deploy/curl", "keepalive_timeout") >= 1, "no answer in time")
    assert connections([first, curl.get(URL)]) == 2


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
    slow = {"x-fail": "99", "x-with": "500", "x-after": "4", "x-case": "slow"}
    rules.destination(FLAKY, {"connectionPool": {"http": {"http2MaxRequests": 3}}})
    found = Counter(a.status for a in curl.requests(FLAKY_URL, count=8, parallel=8, headers=slow))
    assert found == {500: 3, 503: 5}
    limits = {"http": {"http1MaxPendingRequests": 1}, "tcp": {"maxConnections": 1}}
    rules.destination(FLAKY, {"connectionPool": limits})
    found = Counter(a.status for a in curl.requests(FLAKY_URL, count=8, parallel=8, headers=slow))
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


@pytest.mark.covers(
    "DestinationRule.trafficPolicy.portLevelSettings[].port",
    "DestinationRule.trafficPolicy.portLevelSettings[].connectionPool",
)
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


@pytest.mark.covers(
    "DestinationRule.trafficPolicy.portLevelSettings[].loadBalancer",
    "DestinationRule.trafficPolicy.portLevelSettings[].outlierDetection",
    "DestinationRule.trafficPolicy.portLevelSettings[].tls",
)
def test_a_port_has_its_own_hosts_and_tls(rules: Rules, curl: Inside, bad: str) -> None:
    more = FLAKY_URL.replace("8000", "8001")

    round_robin = {"loadBalancer": {"simple": "ROUND_ROBIN"}}

    def second_port(host: str, policy: dict[str, object]) -> None:
        settings = [{"port": {"number": 8001}, **policy}]
        rules.destination(host, {**round_robin, "portLevelSettings": settings})

    def asked(url: str, **headers: str) -> Counter[str]:
        answers = curl.requests(url, count=12, headers=headers)
        return Counter(a.json["hostname"] for a in answers if a.status == 200)

    second_port(FLAKY, {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}}})
    assert len(asked(FLAKY_URL, **{"x-user": "jason"})) == 2
    assert len(asked(more, **{"x-user": "jason"})) == 1
    outliers = {"consecutive5xxErrors": 2, "interval": "600s", "maxEjectionPercent": 100}
    second_port(FLAKY, {**round_robin, "outlierDetection": outliers})
    failing = {"x-host": bad, "x-with": "500"}
    for url in (FLAKY_URL, more):
        asked(url, **failing)
    time.sleep(0.5)
    assert asked(FLAKY_URL, **failing).total() == 6
    assert asked(more, **failing).total() == 12
    second_port(ECHO, {"tls": {"mode": "SIMPLE"}})
    assert curl.get(URL).status == 200
    assert curl.get(URL.replace("8000", "8001")).status == 503, "the server has no TLS"


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
    "DestinationRule.trafficPolicy.outlierDetection.consecutiveErrors",
    "DestinationRule.trafficPolicy.outlierDetection.minHealthPercent",
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
        ({"consecutiveErrors": 2, "consecutive5xxErrors": 0}, "503", True),
        ({"consecutiveErrors": 2, "consecutive5xxErrors": 0}, "500", False),
        ({"consecutive5xxErrors": 2}, "reset", True),
        ({"consecutive5xxErrors": 2, "minHealthPercent": 60}, "500", False),
    ],
    ids=str,
)
def test_what_ejects(
    rules: Rules, curl: Inside, bad: str, errors: dict[str, object], how: str, ejected: bool
) -> None:
    """Half of the replicas is too few where ``minHealthPercent`` is more: then all are asked."""
    assert (
        ejects(rules, curl, FLAKY, FLAKY_URL, errors, **{"x-host": bad, "x-with": how}) == ejected
    )


def ejects(
    rules: Rules, curl: Inside, host: str, url: str, errors: dict[str, object], **headers: str
) -> bool:
    """Whether the one of two hosts that always fails is left out after six times."""
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
    before = curl.requests(url, count=12, headers=headers)
    assert {answer.status for answer in before} > {200}, "the other one answers"
    time.sleep(0.5)
    after = curl.requests(url, count=12, headers=headers)
    return {answer.status for answer in after} == {200}


@pytest.mark.covers(
    "DestinationRule.trafficPolicy.outlierDetection.splitExternalLocalOriginErrors",
    "DestinationRule.trafficPolicy.outlierDetection.consecutiveLocalOriginFailures",
)
def test_refused_connections_count_apart(meshed: Mesh, rules: Rules, curl: Inside) -> None:
    """Otherwise they count as a 503 does."""
    (pod, _) = meshed.get("pods", "-n", "legacy", "-l", "app=flaky")
    host, url = "half.example.com", "http://half.example.com:8000/"
    entry = {
        "hosts": [host],
        "ports": [{"number": 8000, "name": "http", "protocol": "HTTP"}],
        "resolution": "STATIC",
        "endpoints": [
            {"address": pod["status"]["podIP"], "ports": {"http": number}} for number in (8080, 9)
        ],
    }
    rules.apply("half", document("networking.istio.io/v1", "ServiceEntry", "half", entry))
    eventually(lambda: curl.get(url).status == 200, "the name is known and one endpoint answers")
    split = {"splitExternalLocalOriginErrors": True}
    for errors, ejected in (
        ({"consecutive5xxErrors": 2}, True),
        ({"consecutive5xxErrors": 2, **split, "consecutiveLocalOriginFailures": 99}, False),
        ({"consecutive5xxErrors": 0, **split, "consecutiveLocalOriginFailures": 2}, True),
    ):
        assert ejects(rules, curl, host, url, errors) == ejected, errors


# Which of the hosts a retry asks.


@pytest.mark.covers("VirtualService.http[].retries.retryIgnorePreviousHosts")
def test_a_retry_asks_another_host(rules: Rules, curl: Inside, bad: str) -> None:
    """Of two hosts one fails: a quarter of the requests gets it twice, unless told not to."""
    rules.destination(FLAKY, {"loadBalancer": {"simple": "RANDOM"}})

    def failures(ignore: bool) -> int:
        retries = {"attempts": 1, "retryOn": "5xx", "retryIgnorePreviousHosts": ignore}
        rules.route(FLAKY, retries=retries)
        failing = {"x-host": bad, "x-with": "503"}
        answers = curl.requests(FLAKY_URL, count=120, headers=failing)
        return sum(answer.status == 503 for answer in answers)

    assert failures(ignore=False) >= 12
    # Envoy looks for another one five times (1 of 128 requests finds none).
    assert failures(ignore=True) <= 6


@pytest.mark.covers("VirtualService.http[].retries.retryRemoteLocalities")
def test_a_retry_asks_another_locality(meshed: Mesh, rules: Rules, curl: Inside) -> None:
    host, url = "apart.legacy.svc.cluster.local", "http://apart.legacy:8000/"
    rules.destination(host, {"outlierDetection": {"consecutive5xxErrors": 0}})
    assert {a.json["hostname"][:5] for a in curl.requests(url, count=12)} == {"near-"}
    (near,) = meshed.get("pods", "-n", "legacy", "-l", "at=near")
    failing = {"x-host": near["metadata"]["name"], "x-with": "503"}
    retries = {"attempts": 4, "retryOn": "5xx", "retryRemoteLocalities": False}
    rules.route(host, retries=retries)
    assert curl.get(url, headers=failing).status == 503
    rules.route(host, retries={**retries, "retryRemoteLocalities": True})
    assert curl.get(url, headers=failing).json["hostname"].startswith("far-")
