"""What is published is enough: who re-reads only that, has what the formulas say."""

from collections import defaultdict
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from argosy import derive
from argosy.model.proxy import Role
from argosy.pilot.graph import destinations, layers
from argosy.server.delivery import Delivery, Publisher
from argosy.testing.graph import Graph, a_pod, a_service, gateway, objects, sidecar
from argosy.testing.xds.names import route_names
from argosy.xds import Change, Resource
from argosy.xds.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, short_name
from argosy.xds.warming import awaited_endpoints

ROLES = (
    sidecar("a", app="client"),
    sidecar("a", app="other"),
    sidecar("b", app="client"),
    gateway(istio="ingressgateway"),
)
TWO = "two.b.svc.cluster.local"


def rule(kind: str, namespace: str, name: str, spec: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: {kind}
metadata: {{name: {name}, namespace: {namespace}}}
spec: {spec}
"""


def envoy_filter(namespace: str, name: str, spec: str) -> str:
    return rule("EnvoyFilter", namespace, name, spec).replace("io/v1", "io/v1alpha3")


WORLD = (
    a_service("one", 80, "a"),
    a_service("two", 80, "b"),
    a_pod("one-1", "10.1.0.1", "a", app="one", version="v1"),
    a_pod("two-1", "10.1.0.2", "b", app="two", version="v1"),
    a_pod("two-2", "10.1.0.3", "b", app="two", version="v2"),
)
V1 = "subsets: [{name: v1, labels: {version: v1}}]"
V1_MEANS_V2 = "subsets: [{name: v1, labels: {version: v2}}]"
PIECES = (
    rule("DestinationRule", "b", "public", f"{{host: two, {V1}}}"),
    rule("DestinationRule", "b", "private", f"{{host: two, exportTo: [a], {V1_MEANS_V2}}}"),
    rule("DestinationRule", "a", "of-client", f"{{host: {TWO}, {V1_MEANS_V2}}}"),
    rule("DestinationRule", "a", "wide", '{host: "*.b.svc.cluster.local", ' + V1 + "}"),
    rule(
        "DestinationRule",
        "a",
        "some-clients",
        f"{{host: {TWO}, workloadSelector: {{matchLabels: {{app: client}}}}, {V1}}}",
    ),
    rule(
        "VirtualService",
        "b",
        "rules",
        "{hosts: [two], http: [{match: [{sourceLabels: {app: client}}],"
        " route: [{destination: {host: two, subset: v1}}]}, {route: [{destination: {host: two}}]}]}",
    ),
    envoy_filter(
        "istio-system",
        "everywhere",
        """{configPatches: [
          {applyTo: CLUSTER, match: {cluster: {service: two.b.svc.cluster.local}},
           patch: {operation: MERGE, value: {connect_timeout: 7s}}},
          {applyTo: VIRTUAL_HOST, patch: {operation: MERGE, value: {request_headers_to_remove: [x]}}},
          {applyTo: CLUSTER, patch: {operation: ADD, value: {name: added, connect_timeout: 1s}}}]}""",
    ),
    envoy_filter(
        "a",
        "of-clients",
        """{workloadSelector: {labels: {app: client}}, configPatches: [
          {applyTo: CLUSTER, match: {cluster: {service: one.a.svc.cluster.local}},
           patch: {operation: REMOVE}},
          {applyTo: LISTENER, match: {context: SIDECAR_OUTBOUND},
           patch: {operation: MERGE, value: {per_connection_buffer_limit_bytes: 1}}}]}""",
    ),
    a_service("three", 80, "b"),
    a_pod("two-3", "10.1.0.4", "b", app="two", version="v2"),
    a_service("two", 80, "b").replace(
        "namespace: b}", "namespace: b, annotations: {networking.istio.io/exportTo: .}}"
    ),
)


class Reader:
    """Has of each role's resources what it read when they were published last."""

    def __init__(self) -> None:
        self.graph = Graph(*WORLD)
        self.graph.detach()
        self.delivery = Delivery(self.graph.engine)
        publisher = Publisher(self.graph.engine, self.delivery, self)  # type: ignore[arg-type]  # all that it calls is publish
        self.have: dict[tuple[Role, str], dict[str, Resource | None]] = defaultdict(dict)
        publisher.receive(self.graph.store.snapshot(), 1)
        self.graph.store.subscribe(publisher.receive)
        for role in ROLES:
            self.follow(role)

    def publish(self, changes: list[Change], _revision: int, rescoped: list[Role]) -> None:
        for role in rescoped:
            for type_url in (CLUSTER, ENDPOINT, LISTENER, ROUTE):
                for name in self.have[role, type_url]:
                    self.read(role, type_url, name)
        for change in changes:
            for role in ROLES:
                if change.layer in self.delivery.layers(role, change.type_url):
                    known = self.have[role, change.type_url]
                    for name in change.changed | change.appeared | change.vanished:
                        if name in known:
                            self.read(role, change.type_url, name)

    def read(self, role: Role, type_url: str, name: str) -> Resource | None:
        self.delivery.layers(role, type_url)
        found = self.delivery.resource(role, type_url, name)
        self.have[role, type_url][name] = found
        return found

    def known(self, role: Role, type_url: str, name: str) -> Resource | None:
        known = self.have[role, type_url]
        return known[name] if name in known else self.read(role, type_url, name)

    def follow(self, role: Role) -> dict[tuple[str, str], bytes]:
        """Everything that the role has, as a proxy comes by it."""
        found: dict[tuple[str, str], bytes] = {}
        for type_url, referred in ((CLUSTER, ENDPOINT), (LISTENER, ROUTE)):
            for layer in self.delivery.layers(role, type_url):
                for name in self.delivery.names(layer, type_url):
                    resource = self.known(role, type_url, name)
                    assert resource is not None, f"{name} is promised and not there"
                    found[short_name(type_url), name] = resource.body
                    for other in _referred(type_url, resource.body):
                        more = self.known(role, referred, other)
                        assert more is not None, f"{other} is named and not there"
                        found[short_name(referred), other] = more.body
        return found


def _referred(type_url: str, body: bytes) -> set[str]:
    if type_url == LISTENER:
        return route_names(body)
    awaited = awaited_endpoints(body)
    return {awaited} if awaited else set()


def put_or_delete(graph: Graph, text: str) -> None:
    """Turn a piece over: there if it was not, else gone (or, for a service, as it was)."""
    (value,) = objects(text)
    if graph.store.get(value.key) is None or value.key.name == "two":
        graph.apply(text)
    else:
        graph.delete(*value.key)


@example([1, 0, 1])  # the public rule counts again when the private one is gone
@example([0, 2, 2])
@example([8, 2])
@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, len(PIECES) - 1), min_size=1, max_size=8))
def test_what_is_published_is_enough(steps: list[int]) -> None:
    reader = Reader()
    for step in steps:
        put_or_delete(reader.graph, PIECES[step])
        for role in ROLES:
            expected = {key: encoded.body for key, encoded in reader.graph.resources(role).items()}
            assert reader.follow(role) == expected


def test_everything_is_let_go() -> None:
    reader = Reader()
    for piece in PIECES:
        put_or_delete(reader.graph, piece)
        for role in ROLES:
            reader.follow(role)
    assert len(reader.graph.engine)
    for role in ROLES:
        reader.delivery.forget(role)
    assert len(reader.graph.engine) == 0
    reader.delivery.forget(ROLES[0])


def test_namespaces_share_what_is_observed() -> None:
    reader = Reader()
    observed = [
        node.args
        for node in reader.graph.engine._nodes[layers.layer_resource].values()
        if node.watch is not None and node.args[2] == f"outbound|80||{TWO}"
    ]
    # Clusters and endpoints: of sidecars and of gateways.
    assert len(observed) == 4


def test_a_failing_formula_takes_nothing_away() -> None:
    reader = Reader()
    before = {role: reader.follow(role) for role in ROLES}
    with mock.patch.object(destinations.cluster_translation, "cluster", side_effect=RuntimeError):
        put_or_delete(reader.graph, PIECES[0])
        name = f"outbound|80||{TWO}"
        failed = reader.graph.engine.value(
            layers.layer_resource, reader.delivery.layers(ROLES[2], CLUSTER)[0], CLUSTER, name
        )
        assert isinstance(failed, derive.Failed)
        for role in ROLES:
            kept = reader.delivery.resource(role, CLUSTER, name)
            assert kept is not None
            assert kept.body == before[role]["CDS", name]


@pytest.mark.parametrize("role", ROLES, ids=lambda role: f"{role.type.value}.{role.namespace}")
def test_suspects_are_the_rules_in_force(role: Role) -> None:
    reader = Reader()
    reader.graph.apply(PIECES[0], PIECES[2])
    name = "of-client" if role.namespace == "a" else "public"
    found = reader.delivery.suspects(role, CLUSTER, f"outbound|80|v1|{TWO}")
    assert name in {key.name for key in found}
