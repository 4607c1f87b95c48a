"""What a proxy reports of the traffic on one side of it: access logs, metrics, traces.

Telemetry objects and MeshConfig decide; a listener has the value of its own side. Gateways count
as clients, as in Istio.
"""

from dataclasses import dataclass
from enum import Enum

from argosy.model.proxy import ClusterKey
from argosy.model.tracing import Tracing


class Mode(Enum):
    """Which side of the traffic a proxy is on."""

    CLIENT = "CLIENT"
    SERVER = "SERVER"


# Access logs.


@dataclass(frozen=True, slots=True)
class TextFormat:
    """A line, with its end, in Envoy's command operators. Empty: Istio's default format."""

    text: str = ""


@dataclass(frozen=True, slots=True)
class JsonFormat:
    """``json`` is an object whose texts are command operators, nested at will; keys are sorted.

    Empty: Istio's default fields.
    """

    json: str = ""


LogFormat = TextFormat | JsonFormat
DEFAULT_FORMAT = TextFormat()


@dataclass(frozen=True, slots=True)
class FileSink:
    """``omit_empty``: what has no value is left out, instead of ``-``."""

    path: str
    format: LogFormat = DEFAULT_FORMAT
    omit_empty: bool = False


@dataclass(frozen=True, slots=True)
class HttpGrpcSink:
    """Requests go to ``envoy.service.accesslog.v3.AccessLogService``; headers by name."""

    cluster: ClusterKey
    log_name: str
    filter_state: tuple[str, ...] = ()
    request_headers: tuple[str, ...] = ()
    response_headers: tuple[str, ...] = ()
    response_trailers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TcpGrpcSink:
    """As ``HttpGrpcSink``, of connections."""

    cluster: ClusterKey
    log_name: str
    filter_state: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OtelSink:
    """OTLP log records by gRPC. ``body`` and the values of ``attributes`` are command operators."""

    cluster: ClusterKey
    log_name: str
    body: TextFormat = DEFAULT_FORMAT
    attributes: tuple[tuple[str, str], ...] = ()


LogSink = FileSink | HttpGrpcSink | TcpGrpcSink | OtelSink


@dataclass(frozen=True, slots=True)
class AccessLog:
    """``expression`` is CEL, and only what it holds for is logged; empty: everything."""

    sink: LogSink
    expression: str = ""


# Metrics.


class Metric(Enum):
    """Istio's own: the value is the name without ``istio_``.

    https://istio.io/latest/docs/reference/config/metrics/
    """

    REQUEST_COUNT = "requests_total"
    REQUEST_DURATION = "request_duration_milliseconds"
    REQUEST_SIZE = "request_bytes"
    RESPONSE_SIZE = "response_bytes"
    TCP_OPENED_CONNECTIONS = "tcp_connections_opened_total"
    TCP_CLOSED_CONNECTIONS = "tcp_connections_closed_total"
    TCP_SENT_BYTES = "tcp_sent_bytes_total"
    TCP_RECEIVED_BYTES = "tcp_received_bytes_total"
    GRPC_REQUEST_MESSAGES = "request_messages_total"
    GRPC_RESPONSE_MESSAGES = "response_messages_total"


MESSAGE_METRICS = (Metric.GRPC_REQUEST_MESSAGES, Metric.GRPC_RESPONSE_MESSAGES)
"""Counted by cluster, not by request."""


@dataclass(frozen=True, slots=True)
class TagOverride:
    """``value`` is a CEL expression; None: the tag is removed."""

    name: str
    value: str | None


@dataclass(frozen=True, slots=True)
class MetricOverride:
    """What holds for one metric. ``metric`` is one of Istio's, or the name of another.

    ``disabled`` None: it is there if it usually is. ``tags`` are sorted by name.
    """

    metric: Metric | str
    disabled: bool | None = None
    tags: tuple[TagOverride, ...] = ()


@dataclass(frozen=True, slots=True)
class Metrics:
    """``overrides`` are sorted by name, no metric twice; those that are not there are as usual."""

    overrides: tuple[MetricOverride, ...] = ()


# All of it.


@dataclass(frozen=True, slots=True)
class Telemetry:
    """``metrics`` and ``tracing`` None: there are none. ``access_logs`` are in order of providers.

    ``listener_logs``: connections that no filter chain takes are logged too. ``records``: Mixer is
    told of failures, and of other requests while somebody looks.
    """

    mode: Mode = Mode.CLIENT
    access_logs: tuple[AccessLog, ...] = ()
    listener_logs: bool = True
    records: bool = False
    metrics: Metrics | None = None
    tracing: Tracing | None = None


NO_TELEMETRY = Telemetry()
