"""Which clusters wait for endpoints on the stream they came by."""

import pytest
from envoy.config.cluster.v3 import cluster_pb2

from argosy.xds.warming import awaited_endpoints


def cluster(source: str = "ads", service_name: str = "") -> cluster_pb2.Cluster:
    one = cluster_pb2.Cluster(name="c", type=cluster_pb2.Cluster.EDS)
    config = one.eds_cluster_config
    config.service_name = service_name
    if source == "path":
        config.eds_config.path_config_source.path = "/endpoints"
    else:
        getattr(config.eds_config, source).SetInParent()
    return one


@pytest.mark.parametrize("source", ["ads", "self"])
def test_endpoints_by_this_stream_are_awaited(source: str) -> None:
    assert awaited_endpoints(cluster(source).SerializeToString()) == "c"


def test_the_service_name_is_what_is_asked_for() -> None:
    assert awaited_endpoints(cluster(service_name="shared").SerializeToString()) == "shared"


def test_nothing_is_awaited_from_elsewhere_or_by_other_clusters() -> None:
    assert awaited_endpoints(cluster("path").SerializeToString()) is None
    static = cluster_pb2.Cluster(name="c", type=cluster_pb2.Cluster.STATIC)
    assert awaited_endpoints(static.SerializeToString()) is None
    assert awaited_endpoints(b"\xff not a cluster") is None
