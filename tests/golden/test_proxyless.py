"""What gRPC libraries without proxy get. gRPC itself accepts it in tests/e2e/test_proxyless.py.

A case is ``proxyless/<name>.yaml``: objects besides those of ``mesh.yml``. Its golden file holds
the listener of the target ``greeter:50051`` and all that it leads to, and that of a server.
"""

from pathlib import Path

import pytest
import yaml
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from google.protobuf.message import Message

from argosy.api.decode import decode_yaml
from argosy.base.names import Namespace
from argosy.model.proxy import ProxyType, Role
from argosy.testing.difference import plain
from argosy.testing.golden import Golden
from argosy.testing.graph import Graph
from argosy.xds import type_urls

FOLDER = Path(__file__).parent / "proxyless"
SUFFIX = ".resources.yaml"
CASES = sorted(p.stem for p in FOLDER.glob("*.yaml") if not p.name.endswith(SUFFIX))
MESSAGES: dict[str, type[Message]] = {
    type_urls.LISTENER: listener_pb2.Listener,
    type_urls.ROUTE: route_pb2.RouteConfiguration,
    type_urls.CLUSTER: cluster_pb2.Cluster,
    type_urls.ENDPOINT: endpoint_pb2.ClusterLoadAssignment,
}
ROLE = Role(ProxyType.GRPC, Namespace("default"), (("app", "greeter"),), "default")
SERVER = "xds.istio.io/grpc/lds/inbound/0.0.0.0:50051"


def resources(graph: Graph) -> list[Message]:
    """In the order in which a client asks for them."""
    found: list[Message] = []

    def ask(type_url: str, name: str) -> Message | None:
        encoded = graph.resource(ROLE, type_url, name)
        if encoded is None:
            return None
        found.append(MESSAGES[type_url].FromString(encoded.body))
        return found[-1]

    assert ask(type_urls.LISTENER, SERVER) is not None
    listener = ask(type_urls.LISTENER, "greeter:50051")
    assert isinstance(listener, listener_pb2.Listener)
    manager = hcm_pb2.HttpConnectionManager()
    assert listener.api_listener.api_listener.Unpack(manager)
    table = ask(type_urls.ROUTE, manager.rds.route_config_name)
    assert isinstance(table, route_pb2.RouteConfiguration)
    for cluster in sorted(set(clusters(table))):
        if ask(type_urls.CLUSTER, cluster) is not None:
            assert ask(type_urls.ENDPOINT, cluster) is not None
    return found


def clusters(table: route_pb2.RouteConfiguration) -> list[str]:
    actions = [route.route for host in table.virtual_hosts for route in host.routes]
    weighted = [w.name for action in actions for w in action.weighted_clusters.clusters]
    return [*weighted, *(action.cluster for action in actions if action.cluster)]


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str, golden: Golden) -> None:
    graph = Graph()
    for path in (FOLDER.parent / "mesh.yml", FOLDER / f"{name}.yaml"):
        decoded = decode_yaml(path.read_text(), path.name)
        assert not decoded.problems, decoded.problems
        graph.put(decoded.objects)
    documents = [plain(message) for message in resources(graph)]
    golden.check(FOLDER / f"{name}{SUFFIX}", yaml.safe_dump_all(documents, width=100))
