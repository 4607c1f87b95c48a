"""Which other resources a resource names: every EDS of a CDS, every RDS of an LDS."""

from collections.abc import Iterator

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,
)

from argosy.xds import type_urls

_MANAGER = "envoy.filters.network.http_connection_manager"


def cluster_references(body: bytes) -> Iterator[tuple[str, str]]:
    """The endpoints that a cluster discovers, as type URL and name."""
    cluster = cluster_pb2.Cluster.FromString(body)
    if cluster.type == cluster_pb2.Cluster.EDS:
        yield type_urls.ENDPOINT, cluster.eds_cluster_config.service_name or cluster.name


def listener_references(body: bytes) -> Iterator[tuple[str, str]]:
    """The route tables that a listener discovers."""
    listener = listener_pb2.Listener.FromString(body)
    chains = [*listener.filter_chains]
    if listener.HasField("default_filter_chain"):
        chains.append(listener.default_filter_chain)
    for chain in chains:
        for network_filter in chain.filters:
            if network_filter.name == _MANAGER:
                manager = http_connection_manager_pb2.HttpConnectionManager.FromString(
                    network_filter.typed_config.value
                )
                if manager.HasField("rds"):
                    yield type_urls.ROUTE, manager.rds.route_config_name
