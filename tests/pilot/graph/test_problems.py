"""What is wrong with an object, as only the whole mesh can tell; it vanishes when it is mended."""

from argosy.base.problems import Severity
from argosy.testing.graph import Graph, a_pod, a_service

ROUTE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: NAME, namespace: default}
spec:
  hosts: [reviews]
  http: [{route: [{destination: {host: HOST, subset: SUBSET}}]}]
"""

RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: default}
spec:
  host: reviews
  subsets: [{name: v1, labels: {version: v1}}]
"""


def route(name: str = "reviews", host: str = "reviews", subset: str = "v1") -> str:
    return ROUTE.replace("NAME", name).replace("HOST", host).replace("SUBSET", subset)


def codes(graph: Graph, kind: str, name: str) -> list[tuple[str, str]]:
    return [(p.field, p.code) for p in graph.problems(kind, "default", name)]


def test_a_missing_subset_until_somebody_defines_it() -> None:
    graph = Graph(a_service("reviews", 9080), route())
    assert codes(graph, "VirtualService", "reviews") == [
        ("spec.http[0].route[0].destination.subset", "SubsetNotFound")
    ]
    graph.apply(RULE)
    assert codes(graph, "VirtualService", "reviews") == []


def test_a_missing_host_until_the_service_comes() -> None:
    graph = Graph(
        a_service("reviews", 9080), RULE, route(host="reviewz", subset="").replace(", subset: ", "")
    )
    assert codes(graph, "VirtualService", "reviews") == [
        ("spec.http[0].route[0].destination.host", "HostNotFound")
    ]
    graph.apply(a_service("reviewz", 9080))
    assert codes(graph, "VirtualService", "reviews") == []


def test_two_rules_for_one_host_name_the_winner() -> None:
    graph = Graph(a_service("reviews", 9080), RULE, route())
    graph.apply(route("second"))
    assert codes(graph, "VirtualService", "reviews") == []
    (problem,) = graph.problems("VirtualService", "default", "second")
    assert (problem.code, problem.severity) == ("HostConflict", Severity.ERROR)
    assert "VirtualService default/reviews" in problem.message
    graph.delete("VirtualService", "default", "reviews")
    assert codes(graph, "VirtualService", "second") == []


def test_a_subset_without_workloads_is_a_warning_until_one_runs() -> None:
    graph = Graph(a_service("reviews", 9080), RULE)
    (problem,) = graph.problems("DestinationRule", "default", "reviews")
    assert (problem.code, problem.severity) == ("SubsetSelectsNothing", Severity.WARNING)
    graph.apply(a_pod("reviews-1", "10.244.0.2", app="reviews", version="v1"))
    assert codes(graph, "DestinationRule", "reviews") == []


def test_a_delegates_mistakes_are_shown_on_the_delegate() -> None:
    root = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: root, namespace: default}
spec:
  hosts: [reviews]
  http: [{match: [{uri: {prefix: /a}}], delegate: {name: part}}]
"""
    part = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: part, namespace: default}
spec:
  http: [{route: [{destination: {host: nowhere}}]}]
"""
    graph = Graph(a_service("reviews", 9080), root, part)
    assert codes(graph, "VirtualService", "root") == []
    assert codes(graph, "VirtualService", "part") == [
        ("spec.http[0].route[0].destination.host", "HostNotFound")
    ]


def test_a_gateway_that_nobody_opens_and_a_rule_bound_to_none() -> None:
    gateway = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  selector: {istio: nobody}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
"""
    bound = route("bound").replace("hosts: [reviews]", "hosts: [reviews]\n  gateways: [missing]")
    graph = Graph(a_service("reviews", 9080), RULE, gateway, bound)
    assert codes(graph, "Gateway", "edge") == [("spec.selector", "NoMatchingWorkloads")]
    assert ("spec.gateways[0]", "GatewayNotFound") in codes(graph, "VirtualService", "bound")
