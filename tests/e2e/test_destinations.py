"""DestinationRules and retries at work in real Envoys, and what Envoy refuses of them.

https://istio.io/latest/docs/reference/config/networking/destination-rule/
"""

import itertools
import time
from collections import Counter
from pathlib import Path

import pytest
from inside import Answer, Inside, inside
from manifests import deployment, server, service
from mesh import Mesh, eventually
from rules import Rules, document

pytestmark = pytest.mark.e2e

FLAKY = server("flaky", 8080)
OF_FLAKY = {"name": "http", "port": 8000, "targetPort": 8080}
V2 = {"app": "replica", "version": "v2"}

WORKLOADS = (
    deployment("curl", image="curlimages/curl")
    + deployment("flaky", *FLAKY, port=8080)
    + service("flaky", "flaky", OF_FLAKY)
    + deployment("replica", *FLAKY, port=8080, replicas=3, labels={"version": "v1"})
    + deployment("replica-v2", *FLAKY, port=8080, labels=V2)
    + service("replica", "replica", OF_FLAKY)
)

_cases = itertools.count()


@pytest.fixture(scope="module")
def v1(meshed: Mesh) -> list[str]:
    """The host names of the three replicas of v1."""
    pods = meshed.get("pods", "-l", "app=replica,version=v1")
    return sorted(pod["metadata"]["name"] for pod in pods)


def hostnames(curl: Inside, count: int, **headers: str) -> Counter[str]:
    answers = curl.requests("http://replica:8000/", count=count, headers=headers)
    assert [answer.status for answer in answers] == [200] * count
    return Counter(answer.json["hostname"] for answer in answers)


# Load balancing.


@pytest.mark.covers("DestinationRule.trafficPolicy.loadBalancer.simple")
def test_round_robin_and_least_request_spread(rules: Rules, curl: Inside, v1: list[str]) -> None:
    subset = {"name": "v1", "labels": {"version": "v1"}}
    rules.destination("replica", {"loadBalancer": {"simple": "ROUND_ROBIN"}}, subset)
    rules.route("replica", route=[{"destination": {"host": "replica", "subset": "v1"}}])
    assert hostnames(curl, 30) == dict.fromkeys(v1, 10)
    rules.destination("replica", {"loadBalancer": {"simple": "LEAST_REQUEST"}}, subset)
    assert set(hostnames(curl, 60)) == set(v1)


@pytest.mark.covers("DestinationRule.trafficPolicy.loadBalancer.consistentHash.httpHeaderName")
def test_a_header_sticks_to_a_replica(rules: Rules, curl: Inside, v1: list[str]) -> None:
    hashed = {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}}}
    rules.destination("replica", hashed)
    found = {f"user-{i}": hostnames(curl, 6, **{"x-user": f"user-{i}"}) for i in range(12)}
    assert all(len(counts) == 1 for counts in found.values()), found
    assert len({next(iter(counts)) for counts in found.values()}) > 1, found


@pytest.mark.covers("DestinationRule.host", "DestinationRule.subsets[].labels")
def test_subsets_are_chosen_by_labels(rules: Rules, curl: Inside, v1: list[str]) -> None:
    subsets = [{"name": name, "labels": {"version": name}} for name in ("v1", "v2")]
    rules.destination("replica", None, *subsets)
    rules.route("replica", route=[{"destination": {"host": "replica", "subset": "v2"}}])
    (only,) = hostnames(curl, 10)
    assert only.startswith("replica-v2-")
    rules.route("replica", route=[{"destination": {"host": "replica", "subset": "v1"}}])
    assert set(hostnames(curl, 60)) == set(v1)


@pytest.mark.covers("DestinationRule.trafficPolicy.outlierDetection.consecutive5xxErrors")
def test_a_failing_replica_is_ejected(rules: Rules, curl: Inside, v1: list[str]) -> None:
    rules.route("replica", retries={"attempts": 0})
    outliers = {
        "consecutive5xxErrors": 2,
        "interval": "0.1s",
        "baseEjectionTime": "60s",
        "maxEjectionPercent": 100,
    }
    simple = {"simple": "ROUND_ROBIN"}
    rules.destination("replica", {"loadBalancer": simple, "outlierDetection": outliers})
    bad = {"x-host": v1[0], "x-with": "503"}
    answers = curl.requests("http://replica:8000/", count=12, headers=bad)
    failed = [answer for answer in answers if answer.status == 503]
    assert len(failed) == 2, Counter(answer.status for answer in answers)
    assert {answer.json["hostname"] for answer in failed} == {v1[0]}
    after = hostnames(curl, 12, **bad)
    assert v1[0] not in after
    assert len(after) == 3


@pytest.mark.covers(
    "DestinationRule.trafficPolicy.outlierDetection.interval",
    "DestinationRule.trafficPolicy.outlierDetection.baseEjectionTime",
    "DestinationRule.trafficPolicy.outlierDetection.maxEjectionPercent",
)
def test_how_many_are_ejected_and_for_how_long(rules: Rules, curl: Inside, v1: list[str]) -> None:
    """A host comes back at the first interval after its time; of four, one is a quarter."""
    rules.route("replica", retries={"attempts": 0})

    def eject(hosts: list[str], **outliers: object) -> Counter[str]:
        """Who still answers when each of these has failed three times."""
        settings = {"consecutive5xxErrors": 2, "maxEjectionPercent": 100, **outliers}
        simple = {"simple": "ROUND_ROBIN"}
        rules.destination("replica", {"loadBalancer": simple, "outlierDetection": settings})
        for host in hosts:
            curl.requests(
                "http://replica:8000/", count=12, headers={"x-host": host, "x-with": "503"}
            )
        time.sleep(1.5)  # changes of health within a second reach Envoy's threads together
        return hostnames(curl, 12)

    long, short = "600s", "0.2s"
    assert len(eject(v1[:2], interval=long, baseEjectionTime=long)) == 2
    found = eject(v1[:2], interval=long, baseEjectionTime=long, maxEjectionPercent=25)
    assert (len(found), found[v1[0]]) == (3, 0)
    for times in (
        {"interval": long, "baseEjectionTime": short},
        {"interval": short, "baseEjectionTime": long},
    ):
        assert v1[0] not in eject(v1[:1], **times)
        time.sleep(1)
        assert v1[0] not in hostnames(curl, 12), times
    eject(v1[:1], interval=short, baseEjectionTime=short)
    eventually(lambda: v1[0] in hostnames(curl, 12), "it is back")


# Retries.


def asked_to_fail(curl: Inside, times: int, how: str, after: float = 0.0) -> tuple[Answer, int]:
    """The answer, and how many times the server was tried."""
    case = f"case-{next(_cases)}"
    headers = {"x-case": case, "x-fail": str(times), "x-with": how, "x-after": str(after)}
    answer = curl.get("http://flaky:8000/", headers=headers)
    tries: int = curl.get(f"http://flaky:8000/tries/{case}").json["tries"]
    return answer, tries


def test_retries_are_as_many_as_the_rule_says(rules: Rules, curl: Inside) -> None:
    answer, tries = asked_to_fail(curl, 9, "500")
    assert (answer.status, tries) == (500, 1), "by default no status of the server is retried"
    answer, tries = asked_to_fail(curl, 9, "503")
    assert (answer.status, tries) == (503, 1)

    rules.route("flaky", retries={"attempts": 3, "retryOn": "5xx"})
    answer, tries = asked_to_fail(curl, 9, "500")
    assert (answer.status, tries) == (500, 4)
    answer, tries = asked_to_fail(curl, 2, "503")
    assert (answer.status, tries, answer.json["tries"]) == (200, 3, 3)

    rules.route("flaky", retries={"attempts": 2, "retryOn": "503"})
    answer, tries = asked_to_fail(curl, 9, "503")
    assert (answer.status, tries) == (503, 3)
    answer, tries = asked_to_fail(curl, 9, "500")
    assert (answer.status, tries) == (500, 1)

    rules.route("flaky", retries={"attempts": 0})
    answer, tries = asked_to_fail(curl, 9, "503")
    assert (answer.status, tries) == (503, 1)


def test_a_try_has_its_own_timeout(rules: Rules, curl: Inside) -> None:
    retries = {"attempts": 2, "perTryTimeout": "1s", "retryOn": "gateway-error"}
    rules.route("flaky", retries=retries)
    answer, tries = asked_to_fail(curl, 1, "500", after=9.0)
    assert (answer.status, tries) == (200, 2)
    rules.route("flaky", retries=retries, timeout="1.5s")
    answer, tries = asked_to_fail(curl, 9, "500", after=9.0)
    assert (answer.status, tries) == (504, 2), "the route's timeout includes all tries"


# Security.


@pytest.mark.covers(
    "DestinationRule.trafficPolicy.tls.mode",
    "PeerAuthentication.selector",
    "PeerAuthentication.mtls",
)
def test_plaintext_to_a_strict_workload_fails(rules: Rules, curl: Inside) -> None:
    strict = {"selector": {"matchLabels": {"app": "flaky"}}, "mtls": {"mode": "STRICT"}}
    policy = document("security.istio.io/v1", "PeerAuthentication", "flaky", strict)
    rules.apply("strict", policy)
    assert curl.get("http://flaky:8000/").status == 200
    rules.destination("flaky", {"tls": {"mode": "DISABLE"}})
    assert curl.get("http://flaky:8000/").status == 503
    rules.destination("flaky", {"tls": {"mode": "ISTIO_MUTUAL"}})
    assert curl.get("http://flaky:8000/").status == 200


# What our validation cannot see, and Envoy refuses.


REFUSED = """\
# A file that is nowhere.
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: replica
  namespace: default
spec:
  host: replica
  trafficPolicy:
    tls:
      mode: SIMPLE
      caCertificates: /nowhere/ca.pem
"""


def test_a_refused_rule_is_told_and_harms_nothing(
    meshed: Mesh, rules: Rules, curl: Inside, tmp_path: Path
) -> None:
    rules.destination("replica", {"connectionPool": {"tcp": {"maxConnections": 77}}})
    bad = tmp_path / "bad.yaml"
    bad.write_text(REFUSED)
    done = meshed.argosy("apply", "--wait", "-f", str(bad), check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "0 of 7 proxies acknowledged" in done.stdout, said
    for pod in meshed.get("pods", "-A"):
        assert f"rejected: {pod['metadata']['name']}.{pod['metadata']['namespace']} (CDS)" in said
    assert "Invalid path: /nowhere/ca.pem" in said, "Envoy's words"
    assert f"caused by DestinationRule default/replica at {bad}:2" in said

    assert hostnames(curl, 4), "the cluster is what it was"
    assert {kind.split()[1] for kind, state in rules.states().items() if state == "NACK"} == {"CDS"}
    (shown,) = meshed.get("dr/replica")
    (message,) = shown["status"]["validationMessages"]
    assert "/nowhere/ca.pem" in message["message"]

    rules.route("flaky", retries={"attempts": 1, "retryOn": "5xx"})
    _, tries = asked_to_fail(curl, 9, "500")
    assert tries == 2, "rules that come later are in force"
    rules.apply("later", service("later", "flaky", OF_FLAKY))
    assert curl.get("http://later:8000/").status == 200

    # A proxy that starts now has no older cluster to keep, and everything else.
    rules.apply("newcomer", deployment("newcomer", image="curlimages/curl"))
    meshed.argosy("wait", "deploy/newcomer", "--for", "available")
    with inside(meshed, "deploy/newcomer") as newcomer:
        assert newcomer.get("http://flaky:8000/").status == 200
        assert newcomer.get("http://replica:8000/").status == 503
        rules.destination("replica", {"tls": {"mode": "ISTIO_MUTUAL"}})
        assert newcomer.get("http://replica:8000/").status == 200
    assert set(rules.states().values()) == {"SYNCED"}, "corrected"

    again = meshed.argosy("apply", "--wait", "-f", str(bad), check=False)
    assert again.returncode == 1
    assert "NACK" in meshed.argosy("status").stdout
    rules.delete("dr-replica")
    assert set(rules.states().values()) == {"SYNCED"}, "deleted"
    assert hostnames(curl, 4)
