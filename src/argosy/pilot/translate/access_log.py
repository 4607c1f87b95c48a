"""Which access loggers stand where, from all who want to know of requests and connections."""

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.data.accesslog.v3 import accesslog_pb2 as log_data_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from argosy.model.telemetry import Telemetry
from argosy.pilot.translate import log_sinks, record_log
from argosy.pilot.translate.stats_log import connection_stats, request_stats


def http_access_logs(telemetry: Telemetry) -> list[accesslog_pb2.AccessLog]:
    """Of a connection manager: one entry a request."""
    metrics = telemetry.metrics
    stats = () if metrics is None else request_stats(metrics, telemetry.mode)
    logs = log_sinks.http_logs(telemetry.access_logs)
    return [*stats, *logs, *record_log.http_logs(telemetry)]


def tcp_access_logs(telemetry: Telemetry) -> list[accesslog_pb2.AccessLog]:
    """Of opaque bytes: one entry a connection, at its end; metrics count its beginning too."""
    stats = _of_connections(telemetry)
    logs = log_sinks.tcp_logs(telemetry.access_logs) + record_log.tcp_logs(telemetry)
    if stats:
        for log in logs:
            _only_at_the_end(log)
    return [*stats, *logs]


def apply_tcp_access_logs(proto: tcp_proxy_pb2.TcpProxy, telemetry: Telemetry) -> None:
    """Where metrics are counted, Envoy asks the loggers also when it has connected."""
    proto.access_log.extend(tcp_access_logs(telemetry))
    if _of_connections(telemetry):
        proto.access_log_options.flush_access_log_on_connected = True


def listener_access_logs(telemetry: Telemetry) -> list[accesslog_pb2.AccessLog]:
    """Connections that no filter chain took (``NR``), such as plaintext under STRICT mTLS."""
    logs = log_sinks.listener_logs(telemetry.access_logs) if telemetry.listener_logs else []
    return logs + record_log.listener_logs(telemetry)


def _of_connections(telemetry: Telemetry) -> tuple[accesslog_pb2.AccessLog, ...]:
    metrics = telemetry.metrics
    return () if metrics is None else connection_stats(metrics, telemetry.mode)


def _only_at_the_end(log: accesslog_pb2.AccessLog) -> None:
    at_the_end = accesslog_pb2.AccessLogFilter()
    at_the_end.log_type_filter.types.append(log_data_pb2.TcpConnectionEnd)
    log_sinks.narrow(log, at_the_end)
