"""Consistent hashes, warmup, retry budgets and unready endpoints by what clients experience.

https://istio.io/latest/docs/reference/config/networking/destination-rule/#LoadBalancerSettings
"""

import itertools
import time
from collections import Counter
from typing import Any

import pytest
from inside import Inside
from manifests import deployment, server, service, virtual_service
from mesh import Mesh, eventually
from rules import Rules

pytestmark = pytest.mark.e2e

FLAKY = server("flaky", 8080)
PORT = {"name": "http", "port": 8000, "targetPort": 8080}
URL = "http://replica:8000/"
HASH = "DestinationRule.trafficPolicy.loadBalancer.consistentHash"
LATE = deployment("late", *FLAKY, port=8080, labels={"app": "replica", "version": "late"})

WORKLOADS = (
    deployment("curl", image="curlimages/curl")
    + deployment("replica", *FLAKY, port=8080, replicas=3)
    + service("replica", "replica", PORT)
    + deployment("one", *FLAKY, port=8080)
    + service("one", "one", PORT)
)

UNREADY = (
    deployment("unready", *FLAKY, port=9)
    + service("unready", "unready", PORT)
    + service("published", "unready", PORT).replace(
        '"selector"', '"publishNotReadyAddresses": true, "selector"'
    )
)

_cases = itertools.count()


def hosts(curl: Inside, count: int = 12, query: str = "", **headers: str) -> Counter[str]:
    answers = curl.requests(URL + query, count=count, headers=headers)
    assert [answer.status for answer in answers] == [200] * count
    return Counter(answer.json["hostname"] for answer in answers)


def hashing(rules: Rules, **written: Any) -> None:
    rules.destination("replica", {"loadBalancer": {"consistentHash": written}})


def sticks(found: list[Counter[str]]) -> bool:
    """Each key has a replica of its own, and not all the same."""
    return all(len(one) == 1 for one in found) and len({next(iter(one)) for one in found}) > 1


@pytest.mark.parametrize(
    ("algorithm", "statistic", "least", "most"),
    [
        ({}, "ring_hash_lb.size", 1024, 2000),
        ({"ringHash": {"minimumRingSize": 128}}, "ring_hash_lb.size", 128, 200),
        ({"maglev": {"tableSize": 1021}}, "maglev_lb.max_entries_per_host", 341, 341),
        ({"minimumRingSize": 256}, "ring_hash_lb.size", 256, 400),
    ],
    ids=["default", "ring", "maglev", "deprecated"],
)
@pytest.mark.covers(
    f"{HASH}.httpHeaderName",
    f"{HASH}.httpQueryParameterName",
    f"{HASH}.ringHash.minimumRingSize",
    f"{HASH}.maglev.tableSize",
    f"{HASH}.minimumRingSize",
)
def test_keys_stick(
    meshed: Mesh,
    rules: Rules,
    curl: Inside,
    algorithm: dict[str, Any],
    statistic: str,
    least: int,
    most: int,
) -> None:
    """Three replicas share a ring of at least its size, or a table of exactly its size."""
    hashing(rules, httpHeaderName="x-user", **algorithm)
    assert sticks([hosts(curl, 4, **{"x-user": f"user-{i}"}) for i in range(12)])
    assert least <= meshed.stat("deploy/curl", statistic) <= most
    hashing(rules, httpQueryParameterName="user", **algorithm)
    assert sticks([hosts(curl, 4, query=f"?user=user-{i}") for i in range(12)])


@pytest.mark.covers(f"{HASH}.useSourceIp")
def test_a_client_sticks(rules: Rules, curl: Inside) -> None:
    assert len(hosts(curl, 40)) == 3
    hashing(rules, useSourceIp=True)
    assert len(hosts(curl, 20)) == 1


@pytest.mark.covers(
    f"{HASH}.httpCookie.name",
    f"{HASH}.httpCookie.path",
    f"{HASH}.httpCookie.ttl",
    f"{HASH}.httpCookie.attributes[]",
)
def test_a_cookie_is_given_and_sticks(rules: Rules, curl: Inside) -> None:
    attributes = [{"name": "SameSite", "value": "Lax"}, {"name": "Secure"}]
    cookie = {"name": "who", "path": "/", "ttl": "60s", "attributes": attributes}
    hashing(rules, httpCookie=cookie)
    found = []
    for _ in range(12):
        answer = curl.get(URL)
        given = answer.headers["set-cookie"]
        assert "Max-Age=60" in given
        assert "Path=/" in given
        assert "SameSite=Lax" in given
        assert "Secure" in given
        again = hosts(curl, 4, cookie=given.split(";")[0])
        assert set(again) == {answer.json["hostname"]}
        found.append(again)
    assert sticks(found)
    assert "set-cookie" not in curl.get(URL, headers={"cookie": "who=me"}).headers
    hashing(rules, httpCookie={**cookie, "ttl": "0s"})
    assert "Max-Age" not in curl.get(URL).headers["set-cookie"]
    hashing(rules, httpCookie={"name": "who"})
    assert "set-cookie" not in curl.get(URL).headers
    assert sticks([hosts(curl, 4, cookie=f"who=user-{i}") for i in range(12)])


def tries(curl: Inside) -> int:
    """How often the server was asked by 20 requests at once, all of which fail."""
    case = f"case-{next(_cases)}"
    failing = {"x-case": case, "x-fail": "999", "x-with": "503", "x-after": "0.5"}
    answers = curl.requests("http://one:8000/", count=20, parallel=20, headers=failing)
    assert {answer.status for answer in answers} == {503}
    found: int = curl.get(f"http://one:8000/tries/{case}").json["tries"]
    return found


@pytest.mark.covers(
    "DestinationRule.trafficPolicy.retryBudget.percent",
    "DestinationRule.trafficPolicy.retryBudget.minRetryConcurrency",
    "DestinationRule.trafficPolicy.retryBudget.budgetInterval",
)
def test_retries_have_a_budget(rules: Rules, curl: Inside) -> None:
    """A share of the requests at work, or of all that there were in the interval."""
    rules.route("one", retries={"attempts": 1, "retryOn": "5xx"})
    assert tries(curl) == 40
    rules.destination("one", {"retryBudget": {"percent": 1, "minRetryConcurrency": 2}})
    assert 20 < tries(curl) < 30
    rules.destination("one", {"retryBudget": {"percent": 1, "minRetryConcurrency": 40}})
    assert tries(curl) == 40
    budget = {"percent": 10, "minRetryConcurrency": 1}
    rules.destination("one", {"retryBudget": {**budget, "budgetInterval": "600s"}})
    assert 20 < tries(curl) < 30
    curl.requests("http://one:8000/", count=300)
    assert tries(curl) == 40
    rules.destination("one", {"retryBudget": budget})
    curl.requests("http://one:8000/", count=300)
    assert 20 < tries(curl) < 30


@pytest.mark.covers("DestinationRule.trafficPolicy.connectionPool.http.maxRetries")
def test_retries_at_once_are_limited(rules: Rules, curl: Inside) -> None:
    rules.route("one", retries={"attempts": 1, "retryOn": "5xx"})
    rules.destination("one", {"connectionPool": {"http": {"maxRetries": 2}}})
    assert 20 < tries(curl) < 30


def test_unready_endpoints_only_where_they_are_published(rules: Rules, curl: Inside) -> None:
    rules.apply("unready", UNREADY)

    def answers() -> bool:
        return curl.get("http://published:8000/").status == 200

    eventually(answers, "the unready pod answers", 30)
    assert curl.get("http://unready:8000/").status == 503


WARMUPS: dict[str, dict[str, Any]] = {
    "slow": {"warmup": {"duration": "12s", "minimumPercent": 5}},
    "deprecated": {"warmupDurationSecs": "12s"},
    "eager": {"warmup": {"duration": "12s", "minimumPercent": 5, "aggression": 100}},
    "almost": {"warmup": {"duration": "12s", "minimumPercent": 90}},
}
"""By subset, each of which is all of the replicas."""


@pytest.mark.covers(
    "DestinationRule.trafficPolicy.loadBalancer.warmup.duration",
    "DestinationRule.trafficPolicy.loadBalancer.warmup.minimumPercent",
    "DestinationRule.trafficPolicy.loadBalancer.warmup.aggression",
    "DestinationRule.trafficPolicy.loadBalancer.warmupDurationSecs",
)
def test_a_new_endpoint_warms_up(rules: Rules, curl: Inside) -> None:
    """It gets less than its quarter at first, unless it begins with almost all or grows eagerly."""
    subsets = [
        {
            "name": name,
            "labels": {"app": "replica"},
            "trafficPolicy": {"loadBalancer": {"simple": "ROUND_ROBIN", **warmup}},
        }
        for name, warmup in WARMUPS.items()
    ]
    rules.destination("replica", None, *subsets)
    routes = "".join(
        f"\n- match: [{{queryParams: {{subset: {{exact: {name}}}}}}}]"
        f"\n  route: [{{destination: {{host: replica, subset: {name}}}}}]"
        for name in WARMUPS
    )
    rules.apply("routes", virtual_service("replica", routes, "[replica]"))

    def is_known() -> bool:
        return all(len(hosts(curl, 12, f"?subset={name}")) == 3 for name in WARMUPS)

    eventually(is_known, "every subset is there")
    time.sleep(13)  # those that are there are warm
    rules.apply("late", LATE)

    def share(name: str, count: int = 80) -> float:
        found = hosts(curl, count, f"?subset={name}")
        return sum(n for host, n in found.items() if host.startswith("late-")) / count

    eventually(lambda: share("almost", 8) > 0, "the new endpoint is known", 30)
    shares = {name: share(name) for name in WARMUPS}
    assert max(shares["slow"], shares["deprecated"]) < 0.2, shares
    assert min(shares["eager"], shares["almost"]) >= 0.2, shares
    eventually(lambda: share("slow") >= 0.2, "it has its share", 40)
    eventually(lambda: share("deprecated") >= 0.2, "it has its share", 40)
