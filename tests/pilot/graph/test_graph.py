"""The formulas together: what a change recomputes, and that order does not matter."""

from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.api.meta import Object
from argosy.pilot.graph import destinations, localities, outbound, rules
from argosy.pilot.graph.encode import Encoded
from argosy.testing.graph import Graph, a_pod, a_service, gateway, objects, sidecar
from argosy.xds import type_urls

REVIEWS_RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: default}
spec:
  host: reviews
  subsets:
    - {name: v1, labels: {version: v1}}
    - {name: v2, labels: {version: v2}}
"""

REVIEWS_ROUTES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews]
  http:
    - match: [{headers: {end-user: {exact: jason}}}]
      route: [{destination: {host: reviews, subset: v2}}]
    - route: [{destination: {host: reviews, subset: v1}}]
"""

GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers:
    - port: {number: 8080, name: http, protocol: HTTP}
      hosts: ["*"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge, namespace: default}
spec:
  hosts: ["*"]
  gateways: [edge]
  http:
    - match: [{uri: {prefix: /reviews}}]
      route: [{destination: {host: reviews}}]
"""

STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: STRICT}}
"""

WORLD = (
    a_service("reviews", 9080),
    a_service("ratings", 9080),
    a_service("mongo", 27017, port_name="mongo"),
    a_service("other", 8000, namespace="elsewhere", port_name="web"),
    a_pod("reviews-v1", "10.244.0.2", app="reviews", version="v1"),
    a_pod("reviews-v2", "10.244.0.3", app="reviews", version="v2"),
    a_pod("ratings-v1", "10.244.0.4", app="ratings", version="v1"),
    REVIEWS_RULE,
    REVIEWS_ROUTES,
    GATEWAY,
    STRICT,
)

PRODUCTPAGE = sidecar(app="productpage")
EDGE = gateway(istio="ingressgateway")


def everything(graph: Graph) -> dict[tuple[str, str, str], Encoded]:
    roles = {"sidecar": PRODUCTPAGE, "reviews": sidecar(app="reviews"), "gateway": EDGE}
    return {
        (who, *name): encoded
        for who, role in roles.items()
        for name, encoded in graph.resources(role).items()
    }


def test_names_are_istios() -> None:
    found = set(Graph(*WORLD).resources(PRODUCTPAGE))
    assert {
        ("CDS", "outbound|9080||reviews.default.svc.cluster.local"),
        ("CDS", "outbound|9080|v2|reviews.default.svc.cluster.local"),
        ("CDS", "PassthroughCluster"),
        ("CDS", "BlackHoleCluster"),
        ("CDS", "InboundPassthroughCluster"),
        ("EDS", "outbound|9080|v1|reviews.default.svc.cluster.local"),
        ("LDS", "virtualOutbound"),
        ("LDS", "virtualInbound"),
        ("LDS", "0.0.0.0_9080"),
        ("RDS", "9080"),
        ("RDS", "other.elsewhere.svc.cluster.local:8000"),
    } <= found
    assert {name for kind, name in Graph(*WORLD).resources(EDGE) if kind in ("LDS", "RDS")} == {
        "0.0.0.0_8080",
        "http.8080",
    }


def test_an_endpoint_that_becomes_unready_changes_its_assignments_only() -> None:
    graph = Graph(*WORLD)
    before = graph.resources(PRODUCTPAGE)
    graph.apply(a_pod("reviews-v2", "10.244.0.3", ready=False, app="reviews", version="v2"))
    after = graph.resources(PRODUCTPAGE)
    assert before.keys() == after.keys()
    assert {key for key in before if before[key] != after[key]} == {
        ("EDS", "outbound|9080||reviews.default.svc.cluster.local"),
        ("EDS", "outbound|9080|v2|reviews.default.svc.cluster.local"),
    }


def test_a_rule_recomputes_what_read_it_and_nothing_else() -> None:
    graph = Graph(*WORLD)
    graph.observe(PRODUCTPAGE)
    graph.engine.runs.clear()
    changes = graph.apply(REVIEWS_ROUTES.replace("jason", "anna"))
    assert [change.args[1:] for change in changes] == [(type_urls.ROUTE, "9080")]
    assert graph.engine.runs[outbound.service_virtual_host] == 1
    assert graph.engine.runs[outbound.port_table] == 1
    assert graph.engine.runs[destinations.cluster] == 0
    assert graph.engine.runs[localities.load_assignment] == 0


def test_a_change_without_meaning_stops_where_it_has_none() -> None:
    graph = Graph(*WORLD)
    graph.observe(PRODUCTPAGE)
    graph.engine.runs.clear()
    labelled = REVIEWS_ROUTES.replace("namespace: default}", "namespace: default, labels: {a: b}}")
    assert graph.apply(labelled) == ()
    assert graph.engine.runs[rules.compiled_rules] == 1
    assert graph.engine.runs[outbound.service_virtual_host] == 0


def test_every_reference_leads_somewhere_while_services_go() -> None:
    graph = Graph(*WORLD)
    for name in ("ratings", "reviews", "mongo"):
        graph.delete("Service", "default", name)
        assert everything(graph)


OBJECTS = objects(*WORLD)


def _created_in_order(values: list[Object]) -> dict[tuple[str, str, str], Encoded]:
    graph = Graph()
    for value in values:
        graph.put([value])
    return everything(graph)


@settings(max_examples=25, deadline=None)
@given(st.permutations(OBJECTS), st.data())
def test_any_order_and_incremental_equal_from_scratch(
    order: list[Object], data: st.DataObject
) -> None:
    """Looked at in between or not, changed and changed back: in the end the same bytes."""
    expected = everything(Graph(*WORLD))
    graph = Graph()
    for value in order:
        graph.put([value])
        if data.draw(st.booleans(), label="look in between"):
            graph.resources(PRODUCTPAGE)
    gone = data.draw(st.sampled_from(order), label="deleted and made again")
    graph.delete(*gone.key)
    graph.resources(EDGE)
    graph.put([gone])
    assert everything(graph) == expected


def test_rules_for_opaque_bytes_need_no_http_rule_beside_them() -> None:
    """A VirtualService with ``tcp`` alone, and an older one with ``http`` for the same host."""
    tcp = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: mongo, namespace: default}
spec:
  hosts: [mongo]
  tcp: [{route: [{destination: {host: ratings, port: {number: 9080}}}]}]
"""
    http = tcp.replace("name: mongo", "name: older").replace("tcp:", "http:")
    graph = Graph(*WORLD, http, tcp)
    (name,) = [n for k, n in graph.resources(PRODUCTPAGE) if k == "LDS" and n.endswith("_27017")]
    found = graph.resource(PRODUCTPAGE, type_urls.LISTENER, name)
    assert found is not None
    assert b"outbound|9080||ratings.default" in found.body
    assert graph.problems("VirtualService", "default", "mongo") == ()


def test_rules_by_server_name_name_what_there_is() -> None:
    tls = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: tls, namespace: default}
spec:
  hosts: [mongo]
  tls: [{match: [{sniHosts: [mongo]}], route: [{destination: {host: mango}}]}]
"""
    (problem,) = Graph(*WORLD, tls).problems("VirtualService", "default", "tls")
    assert (problem.field, problem.code) == (
        "spec.tls[0].route[0].destination.host",
        "HostNotFound",
    )
