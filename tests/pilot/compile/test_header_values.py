"""The check of header values agrees with Envoy, in both directions."""

from pathlib import Path

import pytest
from envoy.config.route.v3 import route_pb2

from argosy.pilot.compile import header_values
from argosy.pilot.compile.header_values import operator_mistake
from argosy.testing.route_listener import route_listener
from argosy.testing.running_envoy import EnvoyError, validate

GOOD = (
    "plain text",
    "",
    "100%%",
    "%DOWNSTREAM_REMOTE_ADDRESS%",
    "%REQ(:path)%",
    "%REQ(:path?x-original):5%",
    "%RESP(x-a):10%",
    "a%PROTOCOL%b%%c",
    "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "%DYNAMIC_METADATA(a:b:c):5%",
    "%METADATA(ROUTE:istio:config)%",
    "%UPSTREAM_METADATA(istio:workload)%",
    "%FILTER_STATE(a:PLAIN):10%",
    "%QUERY_PARAM(a)%",
    "%PER_REQUEST_STATE(a)%",
)
BAD = (
    "100%",
    "%",
    "%%%",
    "%FOO%",
    "%REQ%",
    "%REQ(a b)%",
    "%START_TIME",
    "%START_TIME:3%",
    "%PROTOCOL(x)%",
    "%PROTOCOL:5%",
    "%request_id%",
    "% PROTOCOL%",
    "%METADATA(NOWHERE:a:b)%",
)


def _table(*values: str) -> route_pb2.RouteConfiguration:
    table = route_pb2.RouteConfiguration(name="t")
    host = table.virtual_hosts.add(name="v", domains=["*"])
    route = host.routes.add()
    route.match.prefix = "/"
    route.direct_response.status = 200
    for index, value in enumerate(values):
        header = route.request_headers_to_add.add().header
        header.key, header.value = f"x-{index}", value
    return table


@pytest.mark.parametrize("value", GOOD)
def test_good_values(value: str) -> None:
    assert operator_mistake(value) == ""


@pytest.mark.parametrize("value", BAD)
def test_bad_values(value: str) -> None:
    assert operator_mistake(value) != ""


@pytest.mark.envoy
def test_envoy_takes_every_good_value_and_operator(tmp_path: Path) -> None:
    every = tuple(f"%{name}%" for name in sorted(header_values._PLAIN))
    assert all(operator_mistake(value) == "" for value in every)
    validate(tmp_path, listeners=[route_listener("good", _table(*GOOD, *every))])


@pytest.mark.envoy
@pytest.mark.parametrize("value", BAD)
def test_envoy_refuses_every_bad_value(tmp_path: Path, value: str) -> None:
    with pytest.raises(EnvoyError):
        validate(tmp_path, listeners=[route_listener("bad", _table(value))])
