"""Access loggers of users: files, ``envoy.service.accesslog.v3`` and OTLP.

https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage
"""

import json
from collections.abc import Iterable
from typing import assert_never

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import config_source_pb2, extension_pb2
from envoy.extensions.access_loggers.file.v3 import file_pb2
from envoy.extensions.access_loggers.filters.cel.v3 import cel_pb2
from envoy.extensions.access_loggers.grpc.v3 import als_pb2
from envoy.extensions.access_loggers.open_telemetry.v3 import logs_service_pb2
from envoy.extensions.formatter.req_without_query.v3 import req_without_query_pb2
from google.protobuf.message import Message
from opentelemetry.proto.common.v1 import common_pb2

from argosy.model.proxy import ClusterKey
from argosy.model.telemetry import (
    AccessLog,
    FileSink,
    HttpGrpcSink,
    JsonFormat,
    OtelSink,
    TcpGrpcSink,
    TextFormat,
)
from argosy.pilot.translate import names

FILE_ACCESS_LOG = "envoy.access_loggers.file"
HTTP_GRPC_ACCESS_LOG = "envoy.access_loggers.http_grpc"
TCP_GRPC_ACCESS_LOG = "envoy.access_loggers.tcp_grpc"
OTEL_ACCESS_LOG = "envoy.access_loggers.open_telemetry"
CEL_FILTER = "envoy.access_loggers.extension_filters.cel"
REQ_WITHOUT_QUERY = "envoy.formatter.req_without_query"

DEFAULT_FIELDS = {
    "authority": "%REQ(:AUTHORITY)%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "duration": "%DURATION%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "response_code": "%RESPONSE_CODE%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "response_flags": "%RESPONSE_FLAGS%",
    "route_name": "%ROUTE_NAME%",
    "start_time": "%START_TIME%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "user_agent": "%REQ(USER-AGENT)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
}
"""https://istio.io/latest/docs/tasks/observability/logs/access-log/#default-access-log-format"""

DEFAULT_TEXT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" '
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% "
    '%CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" '
    "%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "
    '"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" '
    '"%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% '
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% "
    "%ROUTE_NAME%\n"
)
"""https://istio.io/latest/docs/tasks/observability/logs/access-log/#default-access-log-format"""


def http_logs(logs: Iterable[AccessLog]) -> list[accesslog_pb2.AccessLog]:
    """Of requests. ``TcpGrpcSink`` is for connections alone."""
    return [_access_log(log) for log in logs if not isinstance(log.sink, TcpGrpcSink)]


def tcp_logs(logs: Iterable[AccessLog]) -> list[accesslog_pb2.AccessLog]:
    """Of connections. ``HttpGrpcSink`` is for requests alone."""
    return [_access_log(log) for log in logs if not isinstance(log.sink, HttpGrpcSink)]


def listener_logs(logs: Iterable[AccessLog]) -> list[accesslog_pb2.AccessLog]:
    """As ``tcp_logs``, of connections that no filter chain took."""
    protos = []
    for log in logs:
        if not isinstance(log.sink, HttpGrpcSink):
            proto = _access_log(log)
            no_route = accesslog_pb2.AccessLogFilter()
            no_route.response_flag_filter.flags.append("NR")
            narrow(proto, no_route)
            protos.append(proto)
    return protos


def narrow(log: accesslog_pb2.AccessLog, condition: accesslog_pb2.AccessLogFilter) -> None:
    """Only what meets the condition is logged, of what the log's own filter lets through."""
    if log.HasField("filter"):
        both = accesslog_pb2.AndFilter(filters=[condition, log.filter])
        log.filter.and_filter.CopyFrom(both)
    else:
        log.filter.CopyFrom(condition)


def _access_log(log: AccessLog) -> accesslog_pb2.AccessLog:
    name, config = _logger(log)
    proto = accesslog_pb2.AccessLog(name=name)
    proto.typed_config.Pack(config, deterministic=True)
    if log.expression:
        cel = proto.filter.extension_filter
        cel.name = CEL_FILTER
        cel.typed_config.Pack(cel_pb2.ExpressionFilter(expression=log.expression))
    return proto


def _logger(log: AccessLog) -> tuple[str, Message]:
    match log.sink:
        case FileSink():
            return FILE_ACCESS_LOG, _file(log.sink)
        case HttpGrpcSink() as http:
            proto = als_pb2.HttpGrpcAccessLogConfig(
                additional_request_headers_to_log=http.request_headers,
                additional_response_headers_to_log=http.response_headers,
                additional_response_trailers_to_log=http.response_trailers,
            )
            _grpc(proto.common_config, http.cluster, http.log_name, http.filter_state)
            return HTTP_GRPC_ACCESS_LOG, proto
        case TcpGrpcSink() as tcp:
            connections = als_pb2.TcpGrpcAccessLogConfig()
            _grpc(connections.common_config, tcp.cluster, tcp.log_name, tcp.filter_state)
            return TCP_GRPC_ACCESS_LOG, connections
        case OtelSink():
            return OTEL_ACCESS_LOG, _otel(log.sink)
        case _:
            assert_never(log.sink)


def _file(sink: FileSink) -> file_pb2.FileAccessLog:
    proto = file_pb2.FileAccessLog(path=sink.path)
    written = proto.log_format
    written.omit_empty_values = sink.omit_empty
    match sink.format:
        case TextFormat(text):
            written.text_format_source.inline_string = text or DEFAULT_TEXT
            _formatters(written.formatters, text)
        case JsonFormat(text):
            written.json_format.update(json.loads(text) if text else DEFAULT_FIELDS)
            _formatters(written.formatters, text)
        case _:
            assert_never(sink.format)
    return proto


def _otel(sink: OtelSink) -> logs_service_pb2.OpenTelemetryAccessLogConfig:
    """Envoy's own attributes of the resource stay: they tell which proxy writes, and ``log_name``."""
    proto = logs_service_pb2.OpenTelemetryAccessLogConfig()
    _grpc(proto.common_config, sink.cluster, sink.log_name, ())
    proto.body.string_value = sink.body.text or DEFAULT_TEXT
    for key, value in sink.attributes:
        proto.attributes.values.append(
            common_pb2.KeyValue(key=key, value=common_pb2.AnyValue(string_value=value))
        )
    _formatters(proto.formatters, " ".join((sink.body.text, *(v for _, v in sink.attributes))))
    return proto


def _grpc(
    proto: als_pb2.CommonGrpcAccessLogConfig,
    key: ClusterKey,
    log_name: str,
    filter_state: Iterable[str],
) -> None:
    proto.log_name = log_name
    proto.transport_api_version = config_source_pb2.V3
    proto.filter_state_objects_to_log.extend(filter_state)
    service = proto.grpc_service.envoy_grpc
    service.cluster_name = names.cluster_name(key)
    service.authority = key.host


def _formatters(into, text: str) -> None:  # type: ignore[no-untyped-def]
    """Command operators that Envoy has not got by itself."""
    if "%REQ_WITHOUT_QUERY" in text:
        formatter = extension_pb2.TypedExtensionConfig(name=REQ_WITHOUT_QUERY)
        formatter.typed_config.Pack(req_without_query_pb2.ReqWithoutQuery())
        into.append(formatter)
