"""The policy of a cluster: load balancing, limits, outlier detection, HTTP options.

Model values in, parts of one ``Cluster`` out. The rules are those of Istio's DestinationRule:
https://istio.io/latest/docs/reference/config/networking/destination-rule/
"""

from datetime import timedelta
from typing import assert_never

from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2, outlier_detection_pb2
from envoy.config.common.matcher.v3 import matcher_pb2
from envoy.config.core.v3 import protocol_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf import duration_pb2

from argosy.model.traffic import (
    ConnectionPool,
    LeastRequest,
    LoadBalancer,
    Maglev,
    OriginatedTls,
    OutlierDetection,
    Random,
    RetryBudget,
    RingHash,
    RoundRobin,
    TcpKeepalive,
    UpstreamProtocol,
    Warmup,
)

HTTP_PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

_WARMUP_KEY = "argosy.warmup.aggression"
"""A runtime key is demanded by Envoy's schema; nothing sets it."""


def apply_load_balancer(proto: cluster_pb2.Cluster, balancer: LoadBalancer) -> None:
    match balancer:
        case LeastRequest(warmup):
            proto.lb_policy = cluster_pb2.Cluster.LEAST_REQUEST
            if warmup is not None:
                _slow_start(proto.least_request_lb_config.slow_start_config, warmup)
        case RoundRobin(warmup):
            proto.lb_policy = cluster_pb2.Cluster.ROUND_ROBIN
            if warmup is not None:
                _slow_start(proto.round_robin_lb_config.slow_start_config, warmup)
        case Random():
            proto.lb_policy = cluster_pb2.Cluster.RANDOM
        case RingHash(_, minimum_size):
            proto.lb_policy = cluster_pb2.Cluster.RING_HASH
            if minimum_size is not None:
                proto.ring_hash_lb_config.minimum_ring_size.value = minimum_size
        case Maglev(_, table_size):
            proto.lb_policy = cluster_pb2.Cluster.MAGLEV
            if table_size is not None:
                proto.maglev_lb_config.table_size.value = table_size
        case _:
            assert_never(balancer)


def apply_connection_pool(
    proto: cluster_pb2.Cluster, pool: ConnectionPool, budget: RetryBudget | None
) -> None:
    """Circuit breakers, connect timeout and keepalive; the HTTP part is ``http_options``."""
    proto.connect_timeout.FromTimedelta(pool.connect_timeout)
    threshold = proto.circuit_breakers.thresholds.add()
    threshold.max_connections.value = pool.max_connections
    threshold.max_pending_requests.value = pool.max_pending_requests
    threshold.max_requests.value = pool.max_requests
    threshold.max_retries.value = pool.max_retries
    threshold.track_remaining = True
    if budget is not None:
        threshold.retry_budget.CopyFrom(_retry_budget(budget))
    if pool.tcp_keepalive is not None:
        _keepalive(proto, pool.tcp_keepalive)


def outlier_detection(outlier: OutlierDetection) -> outlier_detection_pb2.OutlierDetection:
    """Ejection by success rate is always off, as in Istio; the panic threshold is the cluster's."""
    proto = outlier_detection_pb2.OutlierDetection()
    proto.enforcing_success_rate.value = 0
    if outlier.consecutive_5xx is not None:
        proto.consecutive_5xx.value = outlier.consecutive_5xx
        proto.enforcing_consecutive_5xx.value = 100 if outlier.consecutive_5xx else 0
    if outlier.consecutive_gateway is not None:
        proto.consecutive_gateway_failure.value = outlier.consecutive_gateway
        proto.enforcing_consecutive_gateway_failure.value = (
            100 if outlier.consecutive_gateway else 0
        )
    if outlier.interval is not None:
        proto.interval.FromTimedelta(outlier.interval)
    if outlier.base_ejection is not None:
        proto.base_ejection_time.FromTimedelta(outlier.base_ejection)
    if outlier.max_ejection_percent is not None:
        proto.max_ejection_percent.value = outlier.max_ejection_percent
    if outlier.always_one:
        proto.always_eject_one_host.value = True
    if outlier.split_local_origin:
        proto.split_external_local_origin_errors = True
        if outlier.consecutive_local_origin:
            proto.consecutive_local_origin_failure.value = outlier.consecutive_local_origin
            proto.enforcing_consecutive_local_origin_failure.value = 100
        proto.enforcing_local_origin_success_rate.value = 0
    return proto


def http_options(
    protocol: UpstreamProtocol,
    pool: ConnectionPool,
    outlier: OutlierDetection | None = None,
    originated: OriginatedTls | None = None,
) -> http_protocol_options_pb2.HttpProtocolOptions | None:
    """How the cluster speaks HTTP; None for opaque ones, which Envoy serves by HTTP/1.1."""
    proto = http_protocol_options_pb2.HttpProtocolOptions()
    auto_sni = originated is not None and not originated.sni
    match protocol:
        case UpstreamProtocol.TCP:
            if not auto_sni:
                return None
            proto.explicit_http_config.http_protocol_options.SetInParent()
        case UpstreamProtocol.HTTP1:
            proto.explicit_http_config.http_protocol_options.SetInParent()
        case UpstreamProtocol.HTTP2:
            _http2(proto.explicit_http_config.http2_protocol_options, pool)
        case UpstreamProtocol.DOWNSTREAM:
            proto.use_downstream_protocol_config.http_protocol_options.SetInParent()
            _http2(proto.use_downstream_protocol_config.http2_protocol_options, pool)
        case _:
            assert_never(protocol)
    common = proto.common_http_protocol_options
    idle = pool.http_idle_timeout or pool.tcp_idle_timeout
    if idle is not None:
        common.idle_timeout.FromTimedelta(idle)
    if pool.max_requests_per_connection is not None:
        common.max_requests_per_connection.value = pool.max_requests_per_connection
    if pool.max_connection_duration is not None:
        common.max_connection_duration.FromTimedelta(pool.max_connection_duration)
    if auto_sni and originated is not None:
        proto.upstream_http_protocol_options.auto_sni = True
        if not originated.peers and not originated.skip_verify:
            proto.upstream_http_protocol_options.auto_san_validation = True
    if outlier is not None and outlier.error_statuses:
        _error_statuses(proto.outlier_detection.error_matcher, outlier.error_statuses)
    return proto


def _http2(proto: protocol_pb2.Http2ProtocolOptions, pool: ConnectionPool) -> None:
    proto.allow_connect = True
    if pool.max_concurrent_streams is not None:
        proto.max_concurrent_streams.value = pool.max_concurrent_streams
    if pool.http2_keepalive is not None:
        proto.connection_keepalive.interval.FromTimedelta(pool.http2_keepalive.interval)
        proto.connection_keepalive.timeout.FromTimedelta(pool.http2_keepalive.timeout)


def _error_statuses(proto: matcher_pb2.MatchPredicate, statuses: tuple[int, ...]) -> None:
    if len(statuses) == 1:
        _status(proto, statuses[0])
        return
    for status in statuses:
        _status(proto.or_match.rules.add(), status)


def _status(proto: matcher_pb2.MatchPredicate, status: int) -> None:
    header = proto.http_response_headers_match.headers.add(name=":status")
    header.string_match.exact = str(status)


def _slow_start(proto: cluster_pb2.Cluster.SlowStartConfig, warmup: Warmup) -> None:
    proto.slow_start_window.FromTimedelta(warmup.window)
    proto.min_weight_percent.value = warmup.minimum_percent
    proto.aggression.default_value = warmup.aggression
    proto.aggression.runtime_key = _WARMUP_KEY


def _keepalive(proto: cluster_pb2.Cluster, keepalive: TcpKeepalive) -> None:
    settings = proto.upstream_connection_options.tcp_keepalive
    settings.SetInParent()
    if keepalive.probes is not None:
        settings.keepalive_probes.value = keepalive.probes
    if keepalive.time is not None:
        settings.keepalive_time.value = _whole_seconds(keepalive.time)
    if keepalive.interval is not None:
        settings.keepalive_interval.value = _whole_seconds(keepalive.interval)


def _whole_seconds(duration: timedelta) -> int:
    return max(1, int(duration.total_seconds()))


def _retry_budget(
    budget: RetryBudget,
) -> circuit_breaker_pb2.CircuitBreakers.Thresholds.RetryBudget:
    proto = circuit_breaker_pb2.CircuitBreakers.Thresholds.RetryBudget()
    proto.budget_percent.value = budget.percent
    proto.min_retry_concurrency.value = budget.minimum
    if budget.interval is not None:
        interval = duration_pb2.Duration()
        interval.FromTimedelta(budget.interval)
        encoded = interval.SerializeToString(deterministic=True)
        # The field is younger than the published protos; Envoy 1.39 knows it. Unknown fields
        # survive the message, and a Duration is always shorter than 128 bytes.
        proto.MergeFromString(bytes((_BUDGET_INTERVAL_TAG, len(encoded))) + encoded)
    return proto


_BUDGET_INTERVAL_TAG = 3 << 3 | 2
"""``RetryBudget.budget_interval``: field 3, length-delimited."""
