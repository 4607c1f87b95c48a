"""Endpoints: what clients are told, and that the order they come in does not matter."""

import random

from envoy.config.core.v3 import health_check_pb2
from hypothesis import given
from hypothesis import strategies as st

from argosy.model.workload import Endpoint, Health, Locality
from argosy.pilot.compile.localities import groups
from argosy.pilot.translate.endpoint import cluster_load_assignment

HERE = Locality("eu", "eu-1")
THERE = Locality("us", "us-1", "rack")


def an_endpoint(
    number: int, health: Health = Health.HEALTHY, locality: Locality = HERE, *, mtls: bool = True
) -> Endpoint:
    return Endpoint(
        address=f"10.244.0.{number}",
        port=9080,
        labels=(),
        identity="spiffe://cluster.local/ns/default/sa/reviews",
        mtls=mtls,
        health=health,
        locality=locality,
        workload="reviews-v1;default;reviews;v1;Kubernetes",
    )


def test_metadata_chooses_mesh_tls() -> None:
    proto = cluster_load_assignment("c", groups([an_endpoint(1), an_endpoint(2, mtls=False)]))
    meshed, legacy = proto.endpoints[0].lb_endpoints
    socket_match = meshed.metadata.filter_metadata["envoy.transport_socket_match"]
    assert dict(socket_match) == {"tlsMode": "istio"}
    assert "envoy.transport_socket_match" not in legacy.metadata.filter_metadata
    istio = legacy.metadata.filter_metadata["istio"]
    assert istio["workload"] == "reviews-v1;default;reviews;v1;Kubernetes"


def test_health() -> None:
    proto = cluster_load_assignment("c", groups([an_endpoint(1), an_endpoint(2, Health.DRAINING)]))
    statuses = [endpoint.health_status for endpoint in proto.endpoints[0].lb_endpoints]
    assert statuses == [health_check_pb2.HEALTHY, health_check_pb2.DRAINING]


def test_localities_are_grouped_and_weigh_their_endpoints() -> None:
    endpoints = [
        an_endpoint(1),
        an_endpoint(2, locality=THERE),
        an_endpoint(3),
    ]
    proto = cluster_load_assignment("c", groups(endpoints))
    here, there = proto.endpoints
    assert (here.locality.region, here.locality.zone, here.locality.sub_zone) == ("eu", "eu-1", "")
    assert (there.locality.region, there.locality.sub_zone) == ("us", "rack")
    assert (here.load_balancing_weight.value, there.load_balancing_weight.value) == (2, 1)


def test_no_endpoints_is_an_answer_too() -> None:
    proto = cluster_load_assignment("c", groups([]))
    assert proto.cluster_name == "c"
    assert not proto.endpoints


@given(
    st.lists(
        st.builds(
            an_endpoint,
            st.integers(1, 250),
            st.sampled_from([Health.HEALTHY, Health.DRAINING]),
            st.sampled_from([HERE, THERE]),
            mtls=st.booleans(),
        ),
        max_size=12,
        unique_by=lambda endpoint: endpoint.address,
    ),
    st.randoms(use_true_random=False),
)
def test_order_does_not_matter(endpoints: list[Endpoint], shuffler: random.Random) -> None:
    expected = cluster_load_assignment("c", groups(endpoints)).SerializeToString(deterministic=True)
    shuffler.shuffle(endpoints)
    again = cluster_load_assignment("c", groups(endpoints)).SerializeToString(deterministic=True)
    assert again == expected
