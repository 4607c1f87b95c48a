"""The loggers of standard metrics as Envoy gets them; a real Envoy accepts each."""

from pathlib import Path

import pytest
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from argosy.model.telemetry import Metric, MetricOverride, Metrics, Mode, TagOverride
from argosy.pilot.translate.stats_log import connection_stats, request_stats
from argosy.testing.golden import Golden, envoy_yaml
from argosy.testing.running_envoy import static_cluster, validate

FOLDER = Path(__file__).parent / "metrics"
CHANGED = Metrics(
    (
        MetricOverride(
            Metric.REQUEST_COUNT,
            tags=(
                TagOverride("grpc_response_status", None),
                TagOverride("request_host", "request.host"),
                TagOverride("response_code", "response.code >= 500 ? '5xx' : 'other'"),
                TagOverride("source_workload", None),
            ),
        ),
        MetricOverride(Metric.REQUEST_DURATION, disabled=True),
        MetricOverride(Metric.REQUEST_SIZE, disabled=False),
        MetricOverride(Metric.TCP_CLOSED_CONNECTIONS, disabled=True),
    )
)
CASES = {"usual": Metrics(), "changed": CHANGED}
NAMES = [(name, mode) for name in CASES for mode in Mode]


@pytest.mark.parametrize(("name", "mode"), NAMES)
def test_case(name: str, mode: Mode, golden: Golden) -> None:
    metrics = CASES[name]
    text = envoy_yaml(*request_stats(metrics, mode), *connection_stats(metrics, mode))
    golden.check(FOLDER / f"{name}_{mode.value.lower()}.yaml", text)


@pytest.mark.envoy
@pytest.mark.parametrize(("name", "mode"), NAMES)
def test_envoy_accepts(name: str, mode: Mode, tmp_path: Path) -> None:
    manager = http_connection_manager_pb2.HttpConnectionManager(stat_prefix="x")
    manager.route_config.SetInParent()
    manager.access_log.extend(request_stats(CASES[name], mode))
    proxy = tcp_proxy_pb2.TcpProxy(stat_prefix="y", cluster="c")
    proxy.access_log.extend(connection_stats(CASES[name], mode))
    listener = listener_pb2.Listener(name="l")
    listener.address.socket_address.address = "127.0.0.1"
    listener.address.socket_address.port_value = 0
    for config, kind in ((manager, "http_connection_manager"), (proxy, "tcp_proxy")):
        chain = listener.filter_chains.add()
        chain.filter_chain_match.destination_port.value = len(listener.filter_chains)
        chain.filters.add(name=f"envoy.filters.network.{kind}").typed_config.Pack(config)
    validate(tmp_path, listeners=[listener], clusters=[static_cluster("c", 1)])


def test_nothing_is_left_of_metrics_that_are_all_off() -> None:
    off = Metrics(tuple(MetricOverride(metric, disabled=True) for metric in Metric))
    assert request_stats(off, Mode.CLIENT) == connection_stats(off, Mode.SERVER) == ()
