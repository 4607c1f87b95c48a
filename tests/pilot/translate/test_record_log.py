"""What is logged for Mixer, and what is never: the filter and the headers."""

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.extensions.access_loggers.grpc.v3 import als_pb2

from argosy.model.telemetry import NO_TELEMETRY, Mode, Telemetry
from argosy.pilot.translate.access_log import (
    http_access_logs,
    listener_access_logs,
    tcp_access_logs,
)
from argosy.pilot.translate.record_log import (
    REQUEST_HEADERS,
    RESPONSE_HEADERS,
    RESPONSE_TRAILERS,
)

SERVER = Telemetry(mode=Mode.SERVER, records=True)
CREDENTIALS = {"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"}


def http_config(log: accesslog_pb2.AccessLog) -> als_pb2.HttpGrpcAccessLogConfig:
    config = als_pb2.HttpGrpcAccessLogConfig()
    assert log.typed_config.Unpack(config)
    return config


def test_nothing_without_mixer() -> None:
    for logs in (http_access_logs, tcp_access_logs, listener_access_logs):
        assert logs(NO_TELEMETRY) == []


def test_failures_always_and_all_else_by_a_share_that_is_zero() -> None:
    (log,) = http_access_logs(SERVER)
    failed, tapped = log.filter.or_filter.filters
    kinds, share = failed.and_filter.filters
    flagged, error, grpc = kinds.or_filter.filters
    assert flagged.HasField("response_flag_filter")
    assert not flagged.response_flag_filter.flags
    assert error.status_code_filter.comparison.value.default_value == 400
    assert grpc.and_filter.filters[1].grpc_status_filter.exclude
    assert share.runtime_filter.percent_sampled.numerator == 10_000
    assert tapped.runtime_filter.runtime_key == "argosy.tap"
    assert tapped.runtime_filter.percent_sampled.numerator == 0
    denominators = {one.runtime_filter.percent_sampled.denominator for one in (share, tapped)}
    assert denominators == {1}  # TEN_THOUSAND


def test_no_credentials_are_among_the_headers() -> None:
    (log,) = http_access_logs(SERVER)
    config = http_config(log)
    assert tuple(config.additional_request_headers_to_log) == REQUEST_HEADERS
    assert tuple(config.additional_response_headers_to_log) == RESPONSE_HEADERS
    assert tuple(config.additional_response_trailers_to_log) == RESPONSE_TRAILERS
    assert not CREDENTIALS & {*REQUEST_HEADERS, *RESPONSE_HEADERS, *RESPONSE_TRAILERS}
    assert not any(tag.HasField("request_header") for tag in config.common_config.custom_tags)


def test_the_stream_says_which_side_it_is_of_and_is_bounded() -> None:
    (server,) = http_access_logs(SERVER)
    (client,) = http_access_logs(Telemetry(mode=Mode.CLIENT, records=True))
    assert http_config(server).common_config.log_name == "inbound"
    assert http_config(client).common_config.log_name == "outbound"
    common = http_config(server).common_config
    assert common.grpc_service.envoy_grpc.cluster_name == "mixer"
    assert 0 < common.buffer_size_bytes.value <= 64 * 1024
    assert common.buffer_flush_interval.ToSeconds() == 1


def test_connections_that_no_chain_takes() -> None:
    (log,) = listener_access_logs(SERVER)
    flags, _ = log.filter.and_filter.filters
    assert list(flags.response_flag_filter.flags) == ["NR"]
    (tcp,) = tcp_access_logs(SERVER)
    assert len(tcp.filter.or_filter.filters) == 2
