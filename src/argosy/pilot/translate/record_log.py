"""Records for Mixer: the gRPC access log of requests and connections, off unless it concerns somebody.

An entry is sent for every failure, and for the share of everything else that the runtime says,
which the control plane sets while somebody looks: no listener changes for it. Only headers of a
short list are sent, so that credentials never leave the proxy.
"""

from datetime import timedelta
from typing import TypeAlias

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import config_source_pb2
from envoy.extensions.access_loggers.grpc.v3 import als_pb2
from envoy.type.tracing.v3 import custom_tag_pb2
from envoy.type.v3 import percent_pb2

from argosy.model.mixer import MIXER_CLUSTER
from argosy.model.records import (
    ALL,
    CLUSTER_TAG,
    DETAILS_TAG,
    ERROR_STATUS_KEY,
    FAILURES_KEY,
    PRINCIPAL_TAG,
    ROUTE_TAG,
    TAP_KEY,
    WORKLOAD_TAG,
    Direction,
)
from argosy.model.telemetry import Mode, Telemetry
from argosy.pilot.translate.log_sinks import HTTP_GRPC_ACCESS_LOG, TCP_GRPC_ACCESS_LOG

REQUEST_HEADERS = ("content-type", "traceparent")
RESPONSE_HEADERS = ("content-type", "grpc-status", "retry-after")
RESPONSE_TRAILERS = ("grpc-status",)
"""What is sent of the headers; the request's id and host and the path are always."""

FLUSH = timedelta(seconds=1)
BUFFER_BYTES = 16 * 1024
"""Held until they are sent; what is more, because Mixer is away or slow, is dropped."""

_ERROR = 400
_GRPC = "application/grpc"
_Filter: TypeAlias = accesslog_pb2.AccessLogFilter
_DIRECTIONS = {Mode.CLIENT: Direction.OUTBOUND, Mode.SERVER: Direction.INBOUND}


def http_logs(telemetry: Telemetry) -> list[accesslog_pb2.AccessLog]:
    """Of requests. Empty where there is no Mixer, as are all of these."""
    return [_http_log(_DIRECTIONS[telemetry.mode])] if telemetry.records else []


def tcp_logs(telemetry: Telemetry) -> list[accesslog_pb2.AccessLog]:
    """Of connections of opaque bytes."""
    return [_tcp_log(_DIRECTIONS[telemetry.mode])] if telemetry.records else []


def listener_logs(telemetry: Telemetry) -> list[accesslog_pb2.AccessLog]:
    """Of connections that no filter chain took, such as plaintext under STRICT mTLS."""
    return [_listener_log(_DIRECTIONS[telemetry.mode])] if telemetry.records else []


def _http_log(direction: Direction) -> accesslog_pb2.AccessLog:
    config = als_pb2.HttpGrpcAccessLogConfig(
        additional_request_headers_to_log=REQUEST_HEADERS,
        additional_response_headers_to_log=RESPONSE_HEADERS,
        additional_response_trailers_to_log=RESPONSE_TRAILERS,
    )
    _common(config.common_config, direction)
    proto = accesslog_pb2.AccessLog(name=HTTP_GRPC_ACCESS_LOG)
    proto.filter.CopyFrom(_any(_failed(_flagged(), _error(), _grpc_error()), _tapped()))
    proto.typed_config.Pack(config, deterministic=True)
    return proto


def _tcp_log(direction: Direction) -> accesslog_pb2.AccessLog:
    config = als_pb2.TcpGrpcAccessLogConfig()
    _common(config.common_config, direction)
    _value(config.common_config, DETAILS_TAG, "%RESPONSE_CODE_DETAILS%")
    proto = accesslog_pb2.AccessLog(name=TCP_GRPC_ACCESS_LOG)
    proto.filter.CopyFrom(_any(_failed(_flagged()), _tapped()))
    proto.typed_config.Pack(config, deterministic=True)
    return proto


def _listener_log(direction: Direction) -> accesslog_pb2.AccessLog:
    config = als_pb2.TcpGrpcAccessLogConfig()
    _common(config.common_config, direction)
    proto = accesslog_pb2.AccessLog(name=TCP_GRPC_ACCESS_LOG)
    refused = _Filter()
    refused.response_flag_filter.flags.append("NR")
    proto.filter.CopyFrom(_failed(refused))
    proto.typed_config.Pack(config, deterministic=True)
    return proto


def _common(config: als_pb2.CommonGrpcAccessLogConfig, direction: Direction) -> None:
    config.log_name = direction.value
    config.grpc_service.envoy_grpc.cluster_name = MIXER_CLUSTER
    config.transport_api_version = config_source_pb2.V3
    config.buffer_flush_interval.FromTimedelta(FLUSH)
    config.buffer_size_bytes.value = BUFFER_BYTES
    route = config.custom_tags.add(tag=ROUTE_TAG).metadata
    route.kind.route.SetInParent()
    cluster = config.custom_tags.add(tag=CLUSTER_TAG).metadata
    cluster.kind.cluster.SetInParent()
    workload = config.custom_tags.add(tag=WORKLOAD_TAG).metadata
    workload.kind.host.SetInParent()
    _istio(route, "config")
    _istio(cluster, "config")
    _istio(workload, "workload")
    _value(config, PRINCIPAL_TAG, "%UPSTREAM_PEER_URI_SAN%")


def _istio(metadata: custom_tag_pb2.CustomTag.Metadata, key: str) -> None:
    metadata.metadata_key.key = "istio"
    metadata.metadata_key.path.add().key = key


def _value(config: als_pb2.CommonGrpcAccessLogConfig, tag: str, operator: str) -> None:
    config.custom_tags.add(tag=tag).value = operator


def _failed(*kinds: _Filter) -> _Filter:
    """A failure of one of the kinds; fewer than all of them when Mixer cannot keep up."""
    proto = _Filter()
    proto.and_filter.filters.extend([_any(*kinds), _share(FAILURES_KEY, ALL)])
    return proto


def _tapped() -> _Filter:
    return _share(TAP_KEY, 0)


def _flagged() -> _Filter:
    proto = _Filter()
    proto.response_flag_filter.SetInParent()
    return proto


def _error() -> _Filter:
    """Also those without a flag, such as what RBAC and JWT filters refuse."""
    proto = _Filter()
    comparison = proto.status_code_filter.comparison
    comparison.op = accesslog_pb2.ComparisonFilter.GE
    comparison.value.default_value = _ERROR
    comparison.value.runtime_key = ERROR_STATUS_KEY
    return proto


def _grpc_error() -> _Filter:
    is_grpc, is_error = _Filter(), _Filter()
    header = is_grpc.header_filter.header
    header.name = "content-type"
    header.string_match.prefix = _GRPC
    is_error.grpc_status_filter.statuses.append(accesslog_pb2.GrpcStatusFilter.OK)
    is_error.grpc_status_filter.exclude = True
    proto = _Filter()
    proto.and_filter.filters.extend([is_grpc, is_error])
    return proto


def _share(key: str, default: int) -> _Filter:
    """The same requests at every hop, by their x-request-id."""
    proto = _Filter()
    proto.runtime_filter.runtime_key = key
    proto.runtime_filter.percent_sampled.numerator = default
    proto.runtime_filter.percent_sampled.denominator = percent_pb2.FractionalPercent.TEN_THOUSAND
    return proto


def _any(*filters: _Filter) -> _Filter:
    if len(filters) == 1:
        return filters[0]
    proto = _Filter()
    proto.or_filter.filters.extend(filters)
    return proto
