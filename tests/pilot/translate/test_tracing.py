"""Tracing of a connection manager, as far as the golden cases cannot show it."""

import pytest
from envoy.config.trace.v3 import opentelemetry_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

from argosy.model.span_tags import NO_PROXY_TRACING, LiteralTag, ProxyTracing
from argosy.model.tracing import MixerProvider, Tracing
from argosy.pilot.translate.tracing import trace

TRACED = Tracing(MixerProvider())


def manager(
    tracing: Tracing | None, proxy: ProxyTracing = NO_PROXY_TRACING
) -> http_connection_manager_pb2.HttpConnectionManager:
    proto = http_connection_manager_pb2.HttpConnectionManager()
    trace(proto, tracing, proxy)
    return proto


@pytest.mark.parametrize("tracing", [None, Tracing(MixerProvider(), disable_span_reporting=True)])
def test_nothing_is_said_where_nothing_is_traced(tracing: Tracing | None) -> None:
    assert not manager(tracing).HasField("tracing")


def test_mixer_is_reached_by_its_static_cluster() -> None:
    proto = manager(TRACED).tracing
    config = opentelemetry_pb2.OpenTelemetryConfig()
    assert proto.provider.typed_config.Unpack(config)
    assert config.grpc_service.envoy_grpc.cluster_name == "mixer"
    assert proto.random_sampling.value == 1.0
    assert not config.service_name, "it is of one proxy"


@pytest.mark.parametrize(
    ("telemetry", "proxy", "expected"),
    [(None, None, 1.0), (None, 20.0, 20.0), (5.0, 20.0, 5.0), (0.0, 20.0, 0.0)],
)
def test_telemetry_goes_before_the_proxys_own(
    telemetry: float | None, proxy: float | None, expected: float
) -> None:
    """https://istio.io/latest/docs/tasks/observability/distributed-tracing/sampling/"""
    found = manager(Tracing(MixerProvider(), telemetry), ProxyTracing(sampling=proxy))
    assert found.tracing.random_sampling.value == expected


def test_tags_of_a_telemetry_replace_those_of_the_proxy() -> None:
    own = ProxyTracing(custom_tags=(LiteralTag("a", "1"),))
    bare = Tracing(MixerProvider(), enable_istio_tags=False)
    tagged = Tracing(MixerProvider(), custom_tags=(LiteralTag("b", "2"),), enable_istio_tags=False)
    assert [tag.tag for tag in manager(bare, own).tracing.custom_tags] == ["a"]
    assert [tag.tag for tag in manager(tagged, own).tracing.custom_tags] == ["b"]


def test_context_is_not_propagated() -> None:
    """Envoy's field 13, which the generated code does not know: it must survive being written."""
    proto = manager(Tracing(MixerProvider(), disable_context_propagation=True))
    assert proto.tracing.SerializeToString().endswith(b"\x68\x01")
