"""Where Services lead that select no pods: Endpoints, EndpointSlices, other names."""

from argosy.base.names import Hostname, Namespace
from argosy.model.workload import Endpoint
from argosy.pilot.graph.world import service_endpoints
from argosy.testing.graph import Graph, a_pod, a_service

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: db, namespace: default}
spec:
  ports: [{name: tcp, port: 5432, targetPort: 9}]
"""
ENDPOINTS = """
apiVersion: v1
kind: Endpoints
metadata: {name: db, namespace: default}
subsets:
- addresses: [{ip: 192.0.2.1}]
  notReadyAddresses: [{ip: 192.0.2.2}]
  ports: [{name: tcp, port: 6543}]
"""
SLICE = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: default, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
endpoints:
- addresses: [192.0.2.3]
- {addresses: [192.0.2.4], conditions: {ready: false}}
ports: [{name: tcp, port: 6543}]
"""
ALIAS = """
apiVersion: v1
kind: Service
metadata: {name: other, namespace: default}
spec: {type: ExternalName, externalName: NAME, ports: [{name: http, port: 80}]}
"""


def found(graph: Graph, name: str = "db", port: int = 5432) -> list[tuple[str, int, str]]:
    host = Hostname(f"{name}.default.svc.cluster.local")
    value = graph.engine.value(service_endpoints, Namespace("default"), host, port)
    assert isinstance(value, tuple)
    listed: tuple[Endpoint, ...] = value
    return sorted((e.address, e.port, e.health.value) for e in listed)


def test_endpoints_and_slices_are_listed_together() -> None:
    graph = Graph(SERVICE)
    assert found(graph) == []
    graph.apply(ENDPOINTS)
    first = [("192.0.2.1", 6543, "Healthy"), ("192.0.2.2", 6543, "Unhealthy")]
    assert found(graph) == first
    graph.apply(SLICE)
    second = [("192.0.2.3", 6543, "Healthy"), ("192.0.2.4", 6543, "Unhealthy")]
    assert found(graph) == first + second
    graph.delete("Endpoints", "default", "db")
    assert found(graph) == second


def test_an_alias_of_a_service_has_its_endpoints() -> None:
    alias = ALIAS.replace("NAME", "web.default.svc.cluster.local")
    graph = Graph(a_service("web"), a_pod("web-1", "10.244.0.9", app="web"), alias)
    assert found(graph, "other", 80) == [("10.244.0.9", 80, "Healthy")]


def test_another_name_is_for_dns_to_resolve() -> None:
    graph = Graph(ALIAS.replace("NAME", "example.com"))
    assert found(graph, "other", 80) == [("example.com", 80, "Healthy")]
