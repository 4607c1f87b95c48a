"""Records in the graph: whom a wish reaches, and that it touches nothing but the runtime."""

import pytest
from envoy.service.runtime.v3 import rtds_pb2
from google.protobuf import json_format

from argosy.model.proxy import ProxyType, Role
from argosy.model.records import NOTHING_WANTED, RUNTIME_LAYER, Wanted, Wish
from argosy.pilot.graph import layers
from argosy.pilot.graph.cells import HasMixer
from argosy.pilot.graph.records import RecordsWanted
from argosy.testing.graph import Graph, a_pod, a_service, gateway, sidecar
from argosy.xds import type_urls

WEB = sidecar(app="web", version="v1")
OTHER = sidecar(app="other")
ELSEWHERE = sidecar("shop", app="web", version="v1")


def a_graph(*, mixer: bool = True) -> Graph:
    graph = Graph(a_service("web", 80, app="web"), a_pod("web-1", "10.0.0.1", app="web"))
    if mixer:
        graph.engine.set({HasMixer(): True})
    return graph


def runtime(graph: Graph, role: Role) -> dict[str, float]:
    found = graph.resource(role, type_urls.RUNTIME, RUNTIME_LAYER)
    assert found is not None
    proto = rtds_pb2.Runtime.FromString(found.body)
    assert proto.name == RUNTIME_LAYER
    values: dict[str, float] = json_format.MessageToDict(proto.layer)
    return values


def test_without_mixer_the_runtime_is_empty_and_nothing_is_logged() -> None:
    graph = a_graph(mixer=False)
    assert runtime(graph, WEB) == {}
    assert b"mixer" not in b"".join(one.body for one in graph.resources(WEB).values())


def test_wishes_reach_the_workloads_that_they_are_for() -> None:
    graph = a_graph()
    usual = {"argosy.tap": 0, "argosy.failures": 10_000}
    assert runtime(graph, WEB) == usual
    wish = Wish("default", (("app", "web"),), 2500)
    graph.engine.set({RecordsWanted(): Wanted((wish,), 5000)})
    assert runtime(graph, WEB) == {"argosy.tap": 2500, "argosy.failures": 5000}
    assert runtime(graph, OTHER)["argosy.tap"] == 0
    assert runtime(graph, ELSEWHERE)["argosy.tap"] == 0
    assert runtime(graph, gateway(istio="ingressgateway"))["argosy.tap"] == 0
    graph.engine.set({RecordsWanted(): NOTHING_WANTED})
    assert runtime(graph, WEB) == usual


@pytest.mark.parametrize("role", [WEB, gateway(istio="ingressgateway")])
def test_a_wish_touches_nothing_but_the_runtime(role: Role) -> None:
    graph = a_graph()
    graph.observe(role)
    found = graph.engine.value(layers.layers, role)
    layer = layers.owner(found, type_urls.RUNTIME, RUNTIME_LAYER)  # type: ignore[arg-type]
    graph.engine.observe(layers.layer_resource, layer, type_urls.RUNTIME, RUNTIME_LAYER)
    changed = graph.engine.set({RecordsWanted(): Wanted((Wish("", ()),))})
    assert [change.args for change in changed] == [(layer, type_urls.RUNTIME, RUNTIME_LAYER)]


def test_listeners_log_on_both_sides_when_there_is_a_mixer() -> None:
    graph = a_graph()
    listeners = {
        name: one.body for (kind, name), one in graph.resources(WEB).items() if kind == "LDS"
    }
    assert b"inbound" in listeners["virtualInbound"]
    assert all(b"envoy.access_loggers." in body for body in listeners.values())
    grpc = Role(ProxyType.GRPC, WEB.namespace, WEB.labels, "default")
    assert not [one for one in graph.resources(grpc).values() if b"access_loggers" in one.body]
