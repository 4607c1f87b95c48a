"""Connection pools and outlier detection, which DestinationRule and MeshConfig share."""

from collections.abc import Iterator

from argosy.api.networking_destination_rule import ConnectionPoolSettings, OutlierDetection
from argosy.api.typed import Mistake
from argosy.api.validate_values import (
    check_duration,
    check_not_negative,
    check_percent,
    warning,
)


def check_connection_pool(pool: ConnectionPoolSettings | None, path: str) -> Iterator[Mistake]:
    if pool is None:
        return
    if pool.http is None and pool.tcp is None:
        yield Mistake(path, "MissingField", "the connection pool is empty", "Write tcp or http")
    if (http := pool.http) is not None:
        where = f"{path}.http"
        limits = {
            "http1MaxPendingRequests": http.http1_max_pending_requests,
            "http2MaxRequests": http.http2_max_requests,
            "maxRequestsPerConnection": http.max_requests_per_connection,
            "maxRetries": http.max_retries,
            "maxConcurrentStreams": http.max_concurrent_streams,
        }
        for field, limit in limits.items():
            yield from check_not_negative(limit, f"{where}.{field}")
        yield from check_duration(http.idle_timeout, f"{where}.idleTimeout", zero=True)
        if http.h2_upgrade_policy == "UPGRADE" and http.use_client_protocol:
            message = "useClientProtocol contradicts h2UpgradePolicy UPGRADE"
            yield Mistake(f"{where}.useClientProtocol", "ConflictingFields", message)
        if (keepalive := http.http2_keep_alive) is not None:
            yield from check_duration(keepalive.interval, f"{where}.http2KeepAlive.interval")
            yield from check_duration(keepalive.timeout, f"{where}.http2KeepAlive.timeout")
    if (tcp := pool.tcp) is not None:
        where = f"{path}.tcp"
        yield from check_not_negative(tcp.max_connections, f"{where}.maxConnections")
        yield from check_duration(tcp.connect_timeout, f"{where}.connectTimeout")
        yield from check_duration(tcp.max_connection_duration, f"{where}.maxConnectionDuration")
        yield from check_duration(tcp.idle_timeout, f"{where}.idleTimeout", zero=True)
        if tcp.tcp_keepalive is not None:
            yield from check_duration(tcp.tcp_keepalive.time, f"{where}.tcpKeepalive.time")
            yield from check_duration(tcp.tcp_keepalive.interval, f"{where}.tcpKeepalive.interval")


def check_outlier_detection(outlier: OutlierDetection | None, path: str) -> Iterator[Mistake]:
    if outlier is None:
        return
    yield from check_duration(outlier.interval, f"{path}.interval")
    yield from check_duration(outlier.base_ejection_time, f"{path}.baseEjectionTime")
    yield from check_percent(outlier.max_ejection_percent, f"{path}.maxEjectionPercent")
    yield from check_percent(outlier.min_health_percent, f"{path}.minHealthPercent")
    if outlier.consecutive_errors:
        yield warning(
            f"{path}.consecutiveErrors",
            "Deprecated",
            "consecutiveErrors is deprecated",
            "Write consecutive5xxErrors or consecutiveGatewayErrors",
        )
    if outlier.consecutive_local_origin_failures and not outlier.split_external_local_origin_errors:
        message = "consecutiveLocalOriginFailures needs splitExternalLocalOriginErrors: true"
        field = f"{path}.consecutiveLocalOriginFailures"
        yield Mistake(field, "ConflictingFields", message)
    for i, code in enumerate(outlier.outlier_detection_http_error_codes):
        if not 100 <= code <= 599:
            field = f"{path}.outlierDetectionHttpErrorCodes[{i}]"
            yield Mistake(field, "OutOfRange", f"{code} is not an HTTP status")
