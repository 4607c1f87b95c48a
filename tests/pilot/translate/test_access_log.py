"""Access logs: none by default; otherwise Istio's."""

from collections.abc import Callable

import pytest
from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.extensions.access_loggers.file.v3 import file_pb2
from envoy.extensions.access_loggers.filters.cel.v3 import cel_pb2
from envoy.extensions.access_loggers.grpc.v3 import als_pb2
from envoy.extensions.access_loggers.open_telemetry.v3 import logs_service_pb2

from argosy.model.proxy import ClusterKey
from argosy.model.telemetry import (
    NO_TELEMETRY,
    AccessLog,
    FileSink,
    HttpGrpcSink,
    JsonFormat,
    LogSink,
    OtelSink,
    TcpGrpcSink,
    Telemetry,
    TextFormat,
)
from argosy.pilot.translate.access_log import (
    http_access_logs,
    listener_access_logs,
    tcp_access_logs,
)

COLLECTOR = ClusterKey(4317, "", "collector.test")


def telemetry(sink: LogSink, expression: str = "") -> Telemetry:
    return Telemetry(access_logs=(AccessLog(sink, expression),))


def file_log(sink: FileSink) -> file_pb2.FileAccessLog:
    (proto,) = http_access_logs(telemetry(sink))
    config = file_pb2.FileAccessLog()
    assert proto.typed_config.Unpack(config)
    return config


def test_off_by_default() -> None:
    for logs in (http_access_logs, tcp_access_logs, listener_access_logs):
        assert logs(NO_TELEMETRY) == []


def test_default_text_is_one_line_that_ends_with_the_route() -> None:
    config = file_log(FileSink("/dev/stdout"))
    text = config.log_format.text_format_source.inline_string
    assert config.path == "/dev/stdout"
    assert text.startswith('[%START_TIME%] "%REQ(:METHOD)% ')
    assert text.endswith(" %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n")
    assert text.count("\n") == 1


def test_formats_of_the_users_own() -> None:
    text = file_log(FileSink("/x", TextFormat("%PROTOCOL%\n"), omit_empty=True)).log_format
    assert text.text_format_source.inline_string == "%PROTOCOL%\n"
    assert text.omit_empty_values
    written = '{"method": "%REQ(:METHOD)%", "of": {"list": ["%PROTOCOL%", 2]}}'
    json = file_log(FileSink("/x", JsonFormat(written))).log_format.json_format
    assert json["method"] == "%REQ(:METHOD)%"
    assert list(json["of"]["list"]) == ["%PROTOCOL%", 2]
    default = file_log(FileSink("/x", JsonFormat())).log_format.json_format
    assert default["route_name"] == "%ROUTE_NAME%"
    assert len(default) == 24


def test_operators_that_need_an_extension_bring_it() -> None:
    formatters = file_log(FileSink("/x", TextFormat("%REQ_WITHOUT_QUERY(:PATH)%\n"))).log_format
    assert [one.name for one in formatters.formatters] == ["envoy.formatter.req_without_query"]


def expression(found: accesslog_pb2.AccessLogFilter) -> str:
    config = cel_pb2.ExpressionFilter()
    assert found.extension_filter.typed_config.Unpack(config)
    return config.expression


def test_listeners_log_only_connections_that_nothing_took() -> None:
    (proto,) = listener_access_logs(telemetry(FileSink("/x")))
    assert list(proto.filter.response_flag_filter.flags) == ["NR"]
    (proto,) = listener_access_logs(telemetry(FileSink("/x"), "connection.mtls"))
    nothing_took, own = proto.filter.and_filter.filters
    assert list(nothing_took.response_flag_filter.flags) == ["NR"]
    assert expression(own) == "connection.mtls"
    off = Telemetry(access_logs=(AccessLog(FileSink("/x")),), listener_logs=False)
    assert listener_access_logs(off) == []


def test_filters() -> None:
    for logs in (http_access_logs, tcp_access_logs):
        (proto,) = logs(telemetry(FileSink("/x"), "response.code >= 400"))
        assert expression(proto.filter) == "response.code >= 400"


def test_services_for_requests_and_for_connections() -> None:
    http = telemetry(HttpGrpcSink(COLLECTOR, "a", ("b",), ("c",), ("d",), ("e",)))
    assert tcp_access_logs(http) == listener_access_logs(http) == []
    (proto,) = http_access_logs(http)
    requests = als_pb2.HttpGrpcAccessLogConfig()
    assert proto.typed_config.Unpack(requests)
    common = requests.common_config
    assert common.grpc_service.envoy_grpc.cluster_name == "outbound|4317||collector.test"
    assert common.grpc_service.envoy_grpc.authority == "collector.test"
    assert (common.log_name, list(common.filter_state_objects_to_log)) == ("a", ["b"])
    assert list(requests.additional_request_headers_to_log) == ["c"]
    assert list(requests.additional_response_headers_to_log) == ["d"]
    assert list(requests.additional_response_trailers_to_log) == ["e"]

    tcp = telemetry(TcpGrpcSink(COLLECTOR, "a"))
    assert http_access_logs(tcp) == []
    (proto,) = tcp_access_logs(tcp)
    assert proto.name == "envoy.access_loggers.tcp_grpc"
    assert len(listener_access_logs(tcp)) == 1


@pytest.mark.parametrize("logs", [http_access_logs, tcp_access_logs])
def test_otlp(logs: Callable[[Telemetry], list[accesslog_pb2.AccessLog]]) -> None:
    sink = OtelSink(COLLECTOR, "a", TextFormat("%PROTOCOL%"), (("code", "%RESPONSE_CODE%"),))
    (proto,) = logs(telemetry(sink))
    config = logs_service_pb2.OpenTelemetryAccessLogConfig()
    assert proto.typed_config.Unpack(config)
    assert config.body.string_value == "%PROTOCOL%"
    (attribute,) = config.attributes.values
    assert (attribute.key, attribute.value.string_value) == ("code", "%RESPONSE_CODE%")
    assert not config.disable_builtin_labels
