"""Names as Istio writes them (istioctl proxy-config output of its documentation)."""

import pytest

from argosy.model.proxy import ClusterKey
from argosy.pilot.translate import names

REVIEWS = "reviews.default.svc.cluster.local"


def test_outbound() -> None:
    assert names.outbound_cluster(9080, "", REVIEWS) == f"outbound|9080||{REVIEWS}"
    assert names.cluster_name(ClusterKey(9080, "v1", REVIEWS)) == f"outbound|9080|v1|{REVIEWS}"
    assert names.outbound_sni(9080, "v1", REVIEWS) == f"outbound_.9080_.v1_.{REVIEWS}"


@pytest.mark.parametrize("subset", ["", "v1"])
def test_cluster_key_is_the_inverse(subset: str) -> None:
    key = ClusterKey(9080, subset, REVIEWS)
    assert names.get_cluster_key(names.cluster_name(key)) == key


@pytest.mark.parametrize(
    "name",
    ["PassthroughCluster", "inbound|9080||", "outbound|x||h", "outbound|9080||", "outbound|٣||h"],
)
def test_other_names_have_no_key(name: str) -> None:
    assert names.get_cluster_key(name) is None


def test_inbound() -> None:
    assert names.inbound_cluster(9080) == "inbound|9080||"
    assert names.inbound_virtual_host(9080) == "inbound|http|9080"


def test_listeners_and_routes() -> None:
    assert names.http_listener(9080) == "0.0.0.0_9080"
    assert names.address_listener("10.96.0.7", 3306) == "10.96.0.7_3306"
    assert names.http_route(9080) == "9080"
    assert names.host_route(REVIEWS, 80) == f"{REVIEWS}:80"
    assert names.gateway_http_route(8080) == "http.8080"
    assert names.gateway_https_route(8443, "https", "gw", "ns") == "https.8443.https.gw.ns"
