"""Tags of spans: those that are left out are those that Envoy refuses."""

from pathlib import Path

import pytest
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

from argosy.model.span_tags import (
    NO_PROXY_TRACING,
    CustomTag,
    EnvironmentTag,
    FormatterTag,
    HeaderTag,
    LiteralTag,
)
from argosy.model.tracing import MixerProvider, Tracing
from argosy.pilot.compile.span_tags import usable
from argosy.pilot.translate.http_connection_manager import HTTP_CONNECTION_MANAGER_FILTER
from argosy.pilot.translate.tracing import trace
from argosy.testing.running_envoy import EnvoyError, static_cluster, validate

GOOD = (
    LiteralTag("a", "x"),
    EnvironmentTag("b", "HOST"),
    HeaderTag("c", "x-a"),
    FormatterTag("d", "%PROTOCOL% at 100%%"),
)
BAD = (
    LiteralTag("", "x"),
    LiteralTag("a", ""),
    EnvironmentTag("b", ""),
    HeaderTag("c", ""),
    FormatterTag("d", "%NOSUCH%"),
    FormatterTag("d", "100%"),
)


def listener(*tags: CustomTag) -> listener_pb2.Listener:
    manager = http_connection_manager_pb2.HttpConnectionManager(stat_prefix="tags")
    manager.route_config.name = "none"
    manager.http_filters.add(name="router").typed_config.Pack(router_pb2.Router())
    trace(manager, Tracing(MixerProvider(), custom_tags=tags), NO_PROXY_TRACING)
    proto = listener_pb2.Listener(name="tags")
    proto.address.socket_address.address = "127.0.0.1"
    proto.address.socket_address.port_value = 1
    chain = proto.filter_chains.add()
    chain.filters.add(name=HTTP_CONNECTION_MANAGER_FILTER).typed_config.Pack(manager)
    return proto


def test_the_good_ones_are_kept() -> None:
    assert usable((*BAD, *GOOD, *BAD)) == GOOD


@pytest.mark.envoy
def test_envoy_takes_the_good_ones(tmp_path: Path) -> None:
    validate(tmp_path, listeners=[listener(*GOOD)], clusters=[static_cluster("mixer", 1)])


@pytest.mark.envoy
@pytest.mark.parametrize("tag", BAD)
def test_envoy_refuses_the_others(tag: CustomTag, tmp_path: Path) -> None:
    with pytest.raises(EnvoyError):
        validate(tmp_path, listeners=[listener(tag)], clusters=[static_cluster("mixer", 1)])
