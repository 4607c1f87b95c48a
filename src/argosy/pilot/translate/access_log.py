"""Which access loggers stand where, from all who want to know of requests and connections."""

from envoy.config.accesslog.v3 import accesslog_pb2

from argosy.model.telemetry import Telemetry
from argosy.pilot.translate import log_sinks


def http_access_logs(telemetry: Telemetry) -> list[accesslog_pb2.AccessLog]:
    """Of a connection manager: one entry a request."""
    return log_sinks.http_logs(telemetry.access_logs)


def tcp_access_logs(telemetry: Telemetry) -> list[accesslog_pb2.AccessLog]:
    """Of opaque bytes: one entry a connection."""
    return log_sinks.tcp_logs(telemetry.access_logs)


def listener_access_logs(telemetry: Telemetry) -> list[accesslog_pb2.AccessLog]:
    """Connections that no filter chain took (``NR``), such as plaintext under STRICT mTLS."""
    return log_sinks.listener_logs(telemetry.access_logs) if telemetry.listener_logs else []
