"""Telemetry in the graph: who shares listeners, and what a change of an object touches."""

import json
from typing import Any

import pytest

from argosy.base.names import Namespace
from argosy.model.proxy import ProxyType, Role, Sight
from argosy.model.span_tags import FormatterTag
from argosy.model.telemetry import Mode
from argosy.pilot.graph.cells import HasMixer
from argosy.pilot.graph.scopes import scope_of
from argosy.pilot.graph.telemetry import telemetry
from argosy.testing.graph import Graph
from argosy.xds import type_urls

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default}
spec:
  clusterIP: 10.96.0.3
  selector: {app: reviews}
  ports: [{name: http, port: 9080}]
"""
COLLECTOR = """
apiVersion: v1
kind: Service
metadata: {name: collector, namespace: telemetry}
spec:
  clusterIP: 10.96.0.4
  selector: {app: collector}
  ports: [{name: grpc, port: 4317}]
"""
OTEL = {"service": "collector.telemetry.svc.cluster.local", "port": 4317}


def config(**mesh: Any) -> str:
    head = {"apiVersion": "v1", "kind": "ConfigMap"}
    metadata = {"name": "istio", "namespace": "istio-system"}
    return json.dumps({**head, "metadata": metadata, "data": {"mesh": json.dumps(mesh)}})


def written(name: str, spec: dict[str, Any], namespace: str = "default", **labels: str) -> str:
    head = {"apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry"}
    selector = {"selector": {"matchLabels": labels}} if labels else {}
    metadata = {"name": name, "namespace": namespace}
    return json.dumps({**head, "metadata": metadata, "spec": {**selector, **spec}})


def log(*providers: str) -> dict[str, Any]:
    return {"accessLogging": [{"providers": [{"name": name} for name in providers]}]}


def sidecar(app: str, namespace: str = "default") -> Role:
    return Role(ProxyType.SIDECAR, Namespace(namespace), (("app", app),), "default")


def outbound(graph: Graph, role: Role) -> dict[tuple[str, str], bytes]:
    return {
        key: encoded.body
        for key, encoded in graph.resources(role).items()
        if key[1] not in ("virtualInbound",)
    }


def paths(graph: Graph, role: Role, mode: Mode = Mode.CLIENT) -> list[str]:
    scope = graph.engine.value(scope_of, role)
    found = graph.engine.value(telemetry, scope.sight, scope.telemetry, mode)
    return [getattr(one.sink, "path", "?") for one in found.access_logs]


def test_proxies_of_a_namespace_share_unless_an_object_selects_one_of_them() -> None:
    graph = Graph(SERVICE, written("mesh", log("envoy"), "istio-system"))
    one, two = sidecar("one"), sidecar("two")
    assert graph.engine.value(scope_of, one) == graph.engine.value(scope_of, two)
    assert paths(graph, one) == ["/dev/stdout"]

    graph.apply(written("one", {"accessLogging": [{"disabled": True}]}, app="one"))
    scopes = [graph.engine.value(scope_of, role) for role in (one, two)]
    assert scopes[0] != scopes[1]
    assert scopes[0].routing == scopes[1].routing == scopes[1]
    assert (paths(graph, one), paths(graph, two)) == ([], ["/dev/stdout"])
    differing = outbound(graph, one).items() ^ outbound(graph, two).items()
    assert {kind for (kind, _), _ in differing} == {type_urls.short_name(type_urls.LISTENER)}


def test_an_object_of_a_namespace_changes_no_other_one() -> None:
    graph = Graph(SERVICE)
    near, far = sidecar("one"), sidecar("one", "far")
    before = {role: graph.resources(role) for role in (near, far)}
    graph.apply(written("here", log("envoy")))
    after = {role: graph.resources(role) for role in (near, far)}
    assert after[far] == before[far]
    assert after[near] != before[near]
    graph.delete("Telemetry", "default", "here")
    assert graph.resources(near) == before[near]


def test_one_with_a_selector_in_the_root_namespace_is_for_its_own_workloads() -> None:
    graph = Graph(SERVICE, written("here", log("envoy"), "istio-system", app="one"))
    assert paths(graph, sidecar("one")) == []
    assert paths(graph, sidecar("one", "istio-system")) == ["/dev/stdout"]


@pytest.mark.parametrize("service", ["", "telemetry/"])
def test_a_collector_is_found_as_soon_as_it_is_there(service: str) -> None:
    provider = {"name": "otel", "envoyOtelAls": {**OTEL, "service": service + OTEL["service"]}}
    graph = Graph(config(extensionProviders=[provider]), written("here", log("otel")))
    assert paths(graph, sidecar("one")) == []
    graph.apply(COLLECTOR)
    assert paths(graph, sidecar("one")) == ["?"]


def problems(graph: Graph, name: str) -> list[tuple[str, str]]:
    return [(p.field, p.code) for p in graph.problems("Telemetry", "default", name)]


POD = """
apiVersion: v1
kind: Pod
metadata: {name: one, namespace: default, labels: {app: one}}
spec: {containers: [{name: app, image: app}]}
"""


def test_problems() -> None:
    otel = {"name": "otel", "envoyOtelAls": OTEL}
    graph = Graph(config(extensionProviders=[otel]), POD)
    graph.apply(written("a", log("envoy", "missing", "prometheus", "otel")))
    where = "spec.accessLogging[0].providers"
    not_found = [(f"{where}[{index}].name", "ProviderNotFound") for index in (1, 2, 3)]
    assert problems(graph, "a") == not_found
    graph.apply(COLLECTOR)
    assert problems(graph, "a") == not_found[:2]
    graph.apply(written("b", {"tracing": [{"randomSamplingPercentage": 5}]}))
    assert problems(graph, "b") == [
        ("spec.selector", "MultipleTelemetriesWithoutWorkloadSelectors"),
        ("spec.tracing[0]", "InvalidTelemetryProvider"),
    ]


def test_a_wider_object_may_name_the_provider() -> None:
    graph = Graph(POD, written("own", {"accessLogging": [{"disabled": False}]}, app="one"))
    missing = [("spec.accessLogging[0]", "InvalidTelemetryProvider")]
    assert problems(graph, "own") == missing
    for namespace in ("default", "istio-system"):
        graph.apply(written("wide", log("envoy"), namespace))
        assert problems(graph, "own") == []
        graph.delete("Telemetry", namespace, "wide")
    assert problems(graph, "own") == missing


def test_a_tag_that_envoy_would_refuse_is_left_out_and_told() -> None:
    tags = {"good": {"formatter": {"value": "%PROTOCOL%"}}, "bad": {"formatter": {"value": "%X%"}}}
    graph = Graph(POD, written("tags", {"tracing": [{"customTags": tags}]}))
    graph.engine.set({HasMixer(): True})
    assert problems(graph, "tags") == [("spec.tracing[0].customTags.bad", "InvalidTag")]
    found = graph.engine.value(telemetry, Sight(Namespace("default")), (), Mode.CLIENT).tracing
    assert found is not None
    assert found.custom_tags == (FormatterTag("good", "%PROTOCOL%"),)
