"""Localities with real Envoys: Istio's task, and what a client experiences while settings change.

https://istio.io/latest/docs/tasks/traffic-management/locality-load-balancing/
"""

import json
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import manifests
import pytest
from inside import Inside, inside
from mesh import ARGOSY, SAMPLES, Mesh, eventually
from rules import Rules

pytestmark = pytest.mark.e2e

HOST = "helloworld"
URL = "http://helloworld:5000/hello"
ZONES = ("region1.zone1", "region1.zone2", "region2.zone3", "region3.zone4")
SOON = "{readiness.status.sidecar.istio.io/periodSeconds: '1'}"
LOAD = Path(__file__).with_name("load.py")

DISCOVERY = {"proxy.istio.io/config": '{proxyMetadata: {ISTIO_META_ENABLE_SELF_DISCOVERY: "true"}}'}


def caller(name: str, locality: str) -> str:
    labels = {"app": "callers", "istio-locality": locality}
    return manifests.deployment(name, image="curlimages/curl", labels=labels, annotations=DISCOVERY)


CALLERS = (
    caller("near", "region1.zone1")
    + caller("far", "region1.zone2")
    + caller("alone", "region4.zone5")
    + manifests.service("callers", "callers", {"name": "http", "port": 80})
)
OUTLIERS = {"consecutive5xxErrors": 1, "interval": "1s", "baseEjectionTime": "1m"}
ONE_REQUEST = {"http": {"maxRequestsPerConnection": 1}}


@pytest.fixture(scope="module")
def meshed(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    text = (SAMPLES / "helloworld" / "localities.yaml").read_text()
    file = tmp_path_factory.mktemp("yaml") / "localities.yaml"
    hello = text.replace("    metadata:\n", f"    metadata:\n      annotations: {SOON}\n")
    file.write_text(f"{hello}---\n{CALLERS}")
    mesh.up(file)
    return mesh


def policy(setting: dict[str, Any] | None, **blocks: Any) -> dict[str, Any]:
    """A traffic policy as Istio's task has it."""
    balancer: dict[str, Any] = {"simple": "ROUND_ROBIN"}
    if setting is not None:
        balancer["localityLbSetting"] = setting
    return {"loadBalancer": balancer, **blocks}


def versions(curl: Inside, count: int) -> Counter[str]:
    """Which localities answered; all did."""
    answers = curl.requests(URL, count=count)
    assert [answer.status for answer in answers] == [200] * count
    return Counter(answer.body.split(",")[0].removeprefix("Hello version: ") for answer in answers)


def test_a_proxy_knows_where_it_is(meshed: Mesh) -> None:
    info = json.loads(meshed.envoy("deploy/curl", "/server_info"))
    locality = info["node"]["locality"]
    assert (locality["region"], locality["zone"]) == ("region1", "zone1")


def test_without_rules_all_localities_answer(curl: Inside) -> None:
    assert set(versions(curl, 60)) == set(ZONES)


@pytest.mark.covers(
    "DestinationRule.trafficPolicy.loadBalancer.localityLbSetting.distribute[].from",
    "DestinationRule.trafficPolicy.loadBalancer.localityLbSetting.distribute[].to",
)
def test_requests_are_distributed_by_locality(rules: Rules, curl: Inside) -> None:
    """The task's second half: 70, 20 and 10 percent."""
    shares = {"region1/zone1/*": 70, "region1/zone2/*": 20, "region3/zone4/*": 10}
    setting = {"enabled": True, "distribute": [{"from": "region1/zone1/*", "to": shares}]}
    rules.destination(HOST, policy(setting, connectionPool=ONE_REQUEST, outlierDetection=OUTLIERS))
    found = versions(curl, 1000)
    expected = {"region1.zone1": 700, "region1.zone2": 200, "region3.zone4": 100}
    assert found.keys() == expected.keys()
    # More than five standard deviations of a binomial distribution.
    assert all(abs(found[zone] - count) <= 75 for zone, count in expected.items()), found


@pytest.mark.covers("MeshConfig.localityLbSetting")
def test_the_mesh_distributes_unless_a_rule_says_otherwise(rules: Rules, curl: Inside) -> None:
    shares = {"region2/*": 100}
    rules.apply("mesh", mesh_config({"distribute": [{"from": "region1/*", "to": shares}]}))
    assert set(versions(curl, 20)) == {"region2.zone3"}
    own = {"distribute": [{"from": "region1", "to": {"region3": 100}}]}
    rules.destination(HOST, policy(own))
    assert set(versions(curl, 20)) == {"region3.zone4"}
    rules.destination(HOST, policy({"enabled": False}))
    assert set(versions(curl, 60)) == set(ZONES)


@pytest.mark.covers(
    "DestinationRule.trafficPolicy.loadBalancer.localityLbSetting.enabled",
    "MeshConfig.localityLbSetting",
)
def test_the_nearest_answer_only_if_outliers_are_detected(rules: Rules, curl: Inside) -> None:
    rules.destination(
        HOST, policy({"enabled": True, "failover": [{"from": "region1", "to": "region2"}]})
    )
    assert set(versions(curl, 60)) == set(ZONES)
    rules.destination(HOST, policy(None, outlierDetection={}))
    assert set(versions(curl, 20)) == {"region1.zone1"}
    rules.apply("mesh", mesh_config({"enabled": False}))
    assert set(versions(curl, 60)) == set(ZONES)
    rules.destination(HOST, policy({"enabled": True}, outlierDetection={}))
    assert set(versions(curl, 20)) == {"region1.zone1"}


@pytest.mark.covers(
    "DestinationRule.trafficPolicy.loadBalancer.localityLbSetting.failoverPriority[]"
)
def test_labels_decide_who_is_near(rules: Rules, curl: Inside) -> None:
    by_region = {"failoverPriority": ["topology.kubernetes.io/region"]}
    rules.destination(HOST, policy(by_region, outlierDetection={}))
    region = {"region1.zone1", "region1.zone2"}
    eventually(lambda: set(versions(curl, 40)) == region, "its own region")
    by_value = {"failoverPriority": ["version=region3.zone4"]}
    rules.destination(HOST, policy(by_value, outlierDetection={}))
    eventually(lambda: set(versions(curl, 20)) == {"region3.zone4"}, "those with the label")


@pytest.mark.covers(
    "DestinationRule.trafficPolicy.loadBalancer.zoneAwareLbSetting.enabled",
    "DestinationRule.trafficPolicy.loadBalancer.zoneAwareLbSetting.minClusterSize",
    "MeshConfig.zoneAwareLbSetting",
)
def test_envoy_prefers_its_own_zone_where_zones_are_equal(meshed: Mesh, rules: Rules) -> None:
    with inside(meshed, "deploy/near") as near, inside(meshed, "deploy/far") as far:
        assert set(versions(near, 60)) == set(ZONES)
        zones = {"enabled": True, "minClusterSize": 1}
        rules.destination(HOST, {"loadBalancer": {"zoneAwareLbSetting": zones}})
        eventually(lambda: set(versions(near, 20)) == {"region1.zone1"}, "its own zone")
        assert set(versions(far, 20)) == {"region1.zone2"}
        # Two endpoints in the region are too few by default; other regions are still the last.
        rules.destination(HOST, {"loadBalancer": {"zoneAwareLbSetting": {}}})
        eventually(lambda: len(versions(near, 40)) == 2, "all zones of the region")
        rules.destination(HOST, {"loadBalancer": {"zoneAwareLbSetting": {"enabled": False}}})
        assert set(versions(near, 60)) == set(ZONES)
        rules.delete(f"dr-{HOST}")
        rules.apply("mesh", manifests.mesh_config(json.dumps({"zoneAwareLbSetting": zones})))
        eventually(lambda: set(versions(near, 20)) == {"region1.zone1"}, "its own zone")


@pytest.mark.covers(
    "DestinationRule.trafficPolicy.loadBalancer.zoneAwareLbSetting.failover",
    "DestinationRule.trafficPolicy.loadBalancer.zoneAwareLbSetting.failoverPriority",
)
def test_zone_awareness_has_failover_of_its_own(meshed: Mesh, rules: Rules) -> None:
    """It orders what is outside the client's region, in which nobody serves here."""

    def zones(**setting: Any) -> None:
        written = {"enabled": True, "minClusterSize": 1, **setting}
        rules.destination(HOST, {"loadBalancer": {"zoneAwareLbSetting": written}})

    with inside(meshed, "deploy/alone") as alone, inside(meshed, "deploy/near") as near:
        zones()
        eventually(lambda: len(versions(alone, 60)) > 1, "all regions are equally far")
        zones(failover=[{"from": "region4", "to": "region2"}])
        eventually(lambda: set(versions(alone, 20)) == {"region2.zone3"}, "the region to go to")
        zones(failoverPriority=["version=region3.zone4"])
        eventually(lambda: set(versions(alone, 20)) == {"region3.zone4"}, "those with the label")
        assert set(versions(near, 20)) == {"region1.zone1"}


def test_nothing_fails_while_localities_change(meshed: Mesh, rules: Rules) -> None:
    load = subprocess.Popen(
        [
            *(str(ARGOSY), "exec", "deploy/curl", "--", sys.executable, str(LOAD)),
            *(URL, "--seconds", "8", "--rate", "150"),
        ],
        env=meshed.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        for number in range(12):
            to = f"region{number % 3 + 1}/*"
            settings: tuple[dict[str, Any] | None, ...] = (
                {"distribute": [{"from": "region1/*", "to": {to: 90, "*": 10}}]},
                {"failover": [{"from": "region1", "to": "region3"}]},
                {"failoverPriority": [f"version={ZONES[number % 4]}"]},
                None,
            )
            rules.destination(HOST, policy(settings[number % 4], outlierDetection=OUTLIERS))
            shared = {"distribute": [{"from": "region1/*", "to": {to: 100}}]}
            mesh = {"localityLbSetting": shared if number % 2 else {"enabled": False}}
            rules.apply("mesh", manifests.mesh_config(json.dumps(mesh)))
        rules.delete(f"dr-{HOST}")
        said, _ = load.communicate(timeout=60)
    finally:
        load.kill()
        load.wait()
    summary = json.loads(said)
    assert summary["requests"] > 300
    assert summary["failures"] == [], summary


@pytest.mark.covers("DestinationRule.trafficPolicy.loadBalancer.localityLbSetting.failover[]")
def test_failover_goes_the_documented_way(meshed: Mesh, rules: Rules, curl: Inside) -> None:
    """The task's first half. It closes listeners for good, so it comes last."""
    setting = {"enabled": True, "failover": [{"from": "region1", "to": "region2"}]}
    rules.destination(HOST, policy(setting, connectionPool=ONE_REQUEST, outlierDetection=OUTLIERS))
    for zone, following in pairwise(ZONES):
        assert set(versions(curl, 20)) == {zone}
        drain(meshed, f"deploy/helloworld-{zone}")

        def moved(to: str = following) -> bool:
            answer = curl.get(URL)
            return answer.status == 200 and f"version: {to}," in answer.body

        # The first is ejected at once. Of few endpoints Envoy ejects only one at a time: those
        # after it are found when their pods are no longer ready.
        eventually(moved, f"{zone} fails over to {following}", 60)
    assert set(versions(curl, 20)) == {"region3.zone4"}


def drain(mesh: Mesh, target: str) -> None:
    code = (
        "import urllib.request as r;"
        "r.urlopen(r.Request('http://127.0.0.1:15000/drain_listeners',method='POST')).read()"
    )
    mesh.exec(target, sys.executable, "-c", code)


def mesh_config(setting: dict[str, Any]) -> str:
    return manifests.mesh_config(json.dumps({"localityLbSetting": setting}))
