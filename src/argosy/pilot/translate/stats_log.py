"""Istio's standard metrics: ``envoy.access_loggers.stats``, in connection managers and TCP proxies.

Nothing here is about one proxy, so that listeners stay shared: who it is stands in its environment,
who calls in the client's certificate, who answers in the metadata of endpoint and cluster.
https://istio.io/latest/docs/reference/config/metrics/
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.data.accesslog.v3 import accesslog_pb2 as log_data_pb2
from envoy.extensions.access_loggers.stats.v3 import stats_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

from argosy.model.standard_metrics import (
    SCOPE,
    SERVICE_METADATA,
    WORKLOAD_ENVIRONMENT,
    WORKLOAD_FACTS,
    joined,
    packed,
)
from argosy.model.telemetry import Metric, MetricOverride, Metrics, Mode
from argosy.pilot.translate.endpoint import ISTIO_METADATA

STATS_ACCESS_LOG = "envoy.access_loggers.stats"

MAX_COUNTERS = 8000
MAX_HISTOGRAMS = 1500
"""What one proxy keeps, about 0.7 and 5 KB each. Beyond, new sets of labels are not counted."""

USUAL_HTTP = (Metric.REQUEST_COUNT, Metric.REQUEST_DURATION)
"""What is there unless it is disabled.

Sizes are there only where a Telemetry names them: each histogram costs some KB, and twenty lines
of every scrape, for each set of labels.
"""

CONNECTION_METRICS = (
    Metric.TCP_OPENED_CONNECTIONS,
    Metric.TCP_CLOSED_CONNECTIONS,
    Metric.TCP_SENT_BYTES,
    Metric.TCP_RECEIVED_BYTES,
)

_NEVER_CONNECTED = ("UF", "UH", "UO", "NC", "NR", "DF")
"""Response flags of connections that end without having reached anybody."""

_Histogram = stats_pb2.Config.Histogram


@dataclass(frozen=True, slots=True)
class _Segment:
    """A part of a packed tag: ``format`` gives one value for each label."""

    labels: tuple[str, ...]
    format: str


_Tag = tuple[_Segment, ...]


def _workload(side: str) -> tuple[str, ...]:
    return tuple(f"{side}_{fact}" for fact in WORKLOAD_FACTS)


_SERVICE: _Tag = (
    _Segment(
        ("destination_service", "destination_service_name", "destination_service_namespace"),
        f"%CLUSTER_METADATA({SERVICE_METADATA[0]}:{SERVICE_METADATA[1]})%",
    ),
)
_OWN = f"%ENVIRONMENT({WORKLOAD_ENVIRONMENT})%"

_CLIENT: tuple[_Tag, ...] = (
    (_Segment(("reporter",), "source"), _Segment(_workload("source"), _OWN)),
    (_Segment(_workload("destination"), f"%UPSTREAM_METADATA({ISTIO_METADATA}:workload)%"),),
    _SERVICE,
    (
        _Segment(("source_principal",), "%UPSTREAM_LOCAL_URI_SAN%"),
        _Segment(("destination_principal",), "%UPSTREAM_PEER_URI_SAN%"),
        _Segment(("connection_security_policy",), "unknown"),
    ),
)
_SERVER: tuple[_Tag, ...] = (
    (_Segment(("reporter",), "destination"), _Segment(_workload("destination"), _OWN)),
    # Of the client's certificate: a header could be anything.
    (_Segment(_workload("source"), "%DOWNSTREAM_PEER_OTHERNAME_SAN%"),),
    _SERVICE,
    (
        _Segment(("source_principal",), "%DOWNSTREAM_PEER_URI_SAN%"),
        _Segment(("destination_principal",), "%DOWNSTREAM_LOCAL_URI_SAN%"),
        _Segment(("connection_security_policy",), "%DOWNSTREAM_PEER_URI_SAN%"),
    ),
)
_REQUEST: _Tag = (
    _Segment(("response_code",), "%RESPONSE_CODE%"),
    _Segment(("grpc_response_status",), "%GRPC_STATUS_NUMBER%"),
    # Only gRPC has such a status.
    _Segment(("request_protocol",), "%GRPC_STATUS_NUMBER%"),
    _Segment(("response_flags",), "%RESPONSE_FLAGS%"),
)
_CONNECTION: _Tag = (
    _Segment(("request_protocol",), "tcp"),
    _Segment(("response_flags",), "%RESPONSE_FLAGS%"),
)


@lru_cache(maxsize=256)
def request_stats(metrics: Metrics, mode: Mode) -> tuple[accesslog_pb2.AccessLog, ...]:
    """For connection managers: each request is counted when it ends."""
    tags = (*_sides(mode), _REQUEST)
    config = stats_pb2.Config()
    for metric, override in _wanted(
        metrics, (*USUAL_HTTP, Metric.REQUEST_SIZE, Metric.RESPONSE_SIZE)
    ):
        match metric:
            case Metric.REQUEST_COUNT:
                _counter(config, metric, tags, override).value_fixed.value = 1
            case Metric.REQUEST_DURATION:
                _histogram(config, metric, tags, override, "%DURATION%", _Histogram.Milliseconds)
            case Metric.REQUEST_SIZE:
                _histogram(config, metric, tags, override, "%BYTES_RECEIVED%", _Histogram.Bytes)
            case Metric.RESPONSE_SIZE:
                _histogram(config, metric, tags, override, "%BYTES_SENT%", _Histogram.Bytes)
    return _logs(config)


@lru_cache(maxsize=256)
def connection_stats(metrics: Metrics, mode: Mode) -> tuple[accesslog_pb2.AccessLog, ...]:
    """For TCP proxies, which must log when they have connected, and at the end.

    Bytes are counted at the end: what Envoy tells in between are sums, not differences.
    """
    tags = (*_sides(mode), _CONNECTION)
    wanted = dict(_wanted(metrics, CONNECTION_METRICS))
    opened, refused, ended = stats_pb2.Config(), stats_pb2.Config(), stats_pb2.Config()
    if (metric := Metric.TCP_OPENED_CONNECTIONS) in wanted:
        for config in (opened, refused):
            _counter(config, metric, tags, wanted[metric]).value_fixed.value = 1
    if (metric := Metric.TCP_CLOSED_CONNECTIONS) in wanted:
        _counter(ended, metric, tags, wanted[metric]).value_fixed.value = 1
    for metric, value in (
        (Metric.TCP_SENT_BYTES, "%BYTES_SENT%"),
        (Metric.TCP_RECEIVED_BYTES, "%BYTES_RECEIVED%"),
    ):
        if metric in wanted:
            _counter(ended, metric, tags, wanted[metric]).value_format = value
    at_the_end = accesslog_pb2.AccessLogFilter()
    at_the_end.log_type_filter.types.append(log_data_pb2.TcpConnectionEnd)
    connected = accesslog_pb2.AccessLogFilter()
    connected.log_type_filter.types.append(log_data_pb2.TcpUpstreamConnected)
    never = accesslog_pb2.AccessLogFilter()
    never.and_filter.filters.add().CopyFrom(at_the_end)
    never.and_filter.filters.add().response_flag_filter.flags.extend(_NEVER_CONNECTED)
    return (*_logs(opened, connected), *_logs(refused, never), *_logs(ended, at_the_end))


def _sides(mode: Mode) -> tuple[_Tag, ...]:
    return _CLIENT if mode is Mode.CLIENT else _SERVER


def _wanted(metrics: Metrics, among: Iterable[Metric]) -> Iterator[tuple[Metric, MetricOverride]]:
    overrides = {override.metric: override for override in metrics.overrides}
    for metric in among:
        override = overrides.get(metric, MetricOverride(metric))
        usual = metric in (*USUAL_HTTP, *CONNECTION_METRICS)
        if override.disabled is False or (override.disabled is None and usual):
            yield metric, override


def _counter(
    config: stats_pb2.Config, metric: Metric, tags: tuple[_Tag, ...], override: MetricOverride
) -> stats_pb2.Config.Counter:
    counter = config.counters.add()
    _stat(counter.stat, metric, tags, override)
    return counter


def _histogram(
    config: stats_pb2.Config,
    metric: Metric,
    tags: tuple[_Tag, ...],
    override: MetricOverride,
    value: str,
    unit: stats_pb2.Config.Histogram.Unit,
) -> None:
    histogram = config.histograms.add(unit=unit, value_format=value)
    _stat(histogram.stat, metric, tags, override)


def _stat(
    proto: stats_pb2.Config.Stat, metric: Metric, tags: tuple[_Tag, ...], override: MetricOverride
) -> None:
    """The standard labels but for those that the override removes or has values for."""
    proto.name = metric.value
    own = {changed.name for changed in override.tags}
    for tag in tags:
        kept = [segment for segment in tag if not own.issuperset(segment.labels)]
        names = ["" if label in own else label for segment in kept for label in segment.labels]
        if names:
            value = joined(segment.format for segment in kept)
            proto.tags.add(name=packed(names), value_format=value)
    for changed in override.tags:
        if changed.value is not None:
            proto.tags.add(name=changed.name, value_format=f"%CEL({changed.value})%")


def _logs(
    config: stats_pb2.Config, when: accesslog_pb2.AccessLogFilter | None = None
) -> tuple[accesslog_pb2.AccessLog, ...]:
    if not config.counters and not config.histograms:
        return ()
    log = accesslog_pb2.AccessLog(name=STATS_ACCESS_LOG)
    if when is not None:
        log.filter.CopyFrom(when)
    config.MergeFromString(_SCOPE)
    log.typed_config.Pack(config, deterministic=True)
    return (log,)


def _scope() -> bytes:
    """``Config.stats_scope`` of Envoy 1.39, which the messages of xds-protos do not have yet.

    One scope for all loggers of a proxy, by ``sharing_name``, so that the limits hold for all of
    them together. https://www.envoyproxy.io/docs/envoy/latest/api-v3/type/v3/scope.proto
    """
    field = descriptor_pb2.FieldDescriptorProto
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name="argosy/stats_scope.proto",
        package="argosy",
        syntax="proto3",
        dependency=["google/protobuf/wrappers.proto"],
    )
    scope = file.message_type.add(name="Scope").field
    number, optional = ".google.protobuf.UInt32Value", field.LABEL_OPTIONAL
    for name, index in (("max_counters", 1), ("max_histograms", 3)):
        scope.add(
            name=name, number=index, type=field.TYPE_MESSAGE, type_name=number, label=optional
        )
    for name, index in (("prefix", 5), ("sharing_name", 6)):
        scope.add(name=name, number=index, type=field.TYPE_STRING, label=optional)
    file.message_type.add(name="Config").field.add(
        name="stats_scope",
        number=6,
        type=field.TYPE_MESSAGE,
        type_name=".argosy.Scope",
        label=optional,
    )
    pool.AddSerializedFile(file.SerializeToString())
    config: Any = message_factory.GetMessageClassesForFiles([file.name], pool)["argosy.Config"]()
    config.stats_scope.prefix = SCOPE
    config.stats_scope.sharing_name = SCOPE
    config.stats_scope.max_counters.value = MAX_COUNTERS
    config.stats_scope.max_histograms.value = MAX_HISTOGRAMS
    encoded: bytes = config.SerializeToString(deterministic=True)
    return encoded


_SCOPE = _scope()
