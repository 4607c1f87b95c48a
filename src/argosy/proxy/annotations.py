"""What a pod's annotations say of its proxy, by Istio's names.

https://istio.io/latest/docs/reference/config/annotations/
https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from argosy.api.proxy_config import ANNOTATION, NO_PROXY_CONFIG, ProxyConfig, merged, proxy_config
from argosy.proxy.bootstrap import StatsInclusion
from argosy.proxy.envoy import DRAIN_SECONDS, LISTENER_DRAIN_SECONDS
from argosy.proxy.span_names import ServiceName

PROXY_CONFIG = ANNOTATION
_LIST_ANNOTATIONS = {
    "prefixes": "sidecar.istio.io/statsInclusionPrefixes",
    "suffixes": "sidecar.istio.io/statsInclusionSuffixes",
    "regexps": "sidecar.istio.io/statsInclusionRegexps",
}
_LOG_LEVEL = "sidecar.istio.io/logLevel"
_LOG_LEVELS = frozenset({"trace", "debug", "info", "warning", "error", "critical", "off"})
_MAX_CONCURRENCY = 64
_META = "ISTIO_META_"
_DEFAULT_PERIOD, _DEFAULT_FAILURES = 5, 2
_PERIOD = "readiness.status.sidecar.istio.io/periodSeconds"
_FAILURES = "readiness.status.sidecar.istio.io/failureThreshold"


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """``concurrency`` is a number of worker threads. ``mistakes`` are texts for a person.

    ``readiness_period`` are seconds; after so many ``readiness_failures`` the pod is not ready.
    """

    concurrency: int = 1
    log_level: str = "warning"
    stats: StatsInclusion = field(default_factory=StatsInclusion)
    mistakes: tuple[str, ...] = ()
    readiness_period: int = _DEFAULT_PERIOD
    readiness_failures: int = _DEFAULT_FAILURES
    drain_seconds: int = LISTENER_DRAIN_SECONDS
    termination_seconds: float = DRAIN_SECONDS
    flush_ms: int = 1000
    flush_kb: int | None = None
    cluster: str = ""
    service_name: ServiceName = ServiceName.APP_LABEL_AND_NAMESPACE
    metadata: tuple[tuple[str, str], ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    runtime: tuple[tuple[str, str], ...] = ()
    statsd: tuple[str, int] | None = None
    connection_limit: int | None = None


def proxy_settings(
    annotations: Mapping[str, str], below: ProxyConfig = NO_PROXY_CONFIG
) -> ProxySettings:
    """The settings; what cannot be understood is left as it would be without it, and said.

    ``below`` is what holds where the annotations say nothing: MeshConfig's and ProxyConfigs'.
    """
    mistakes: list[str] = []
    written, found = proxy_config(annotations.get(PROXY_CONFIG, ""), PROXY_CONFIG)
    mistakes += (f"{mistake.field}: {mistake.message}" for mistake in found)
    config = merged(below, written)
    matcher = config.proxy_stats_matcher
    stats = {
        name: (() if matcher is None else getattr(matcher, f"inclusion_{name}"))
        + tuple(filter(None, annotations.get(annotation, "").split(",")))
        for name, annotation in _LIST_ANNOTATIONS.items()
    }
    concurrency = 1 if config.concurrency is None else config.concurrency
    if not 0 <= concurrency <= _MAX_CONCURRENCY:
        mistakes.append(f"{PROXY_CONFIG}: concurrency is a number from 0 to {_MAX_CONCURRENCY}")
        concurrency = 1
    statsd = _address(config.statsd_udp_address)
    if config.statsd_udp_address and statsd is None:
        mistakes.append(f"{PROXY_CONFIG}: statsdUdpAddress is an IP address and a port")
    own = config.proxy_metadata
    level = annotations.get(_LOG_LEVEL, "warning")
    if level not in _LOG_LEVELS:
        mistakes.append(f"{_LOG_LEVEL} is one of {', '.join(sorted(_LOG_LEVELS))}")
        level = "warning"
    return ProxySettings(
        concurrency,
        level,
        StatsInclusion(**stats),
        readiness_period=_positive(annotations, _PERIOD, _DEFAULT_PERIOD, mistakes),
        readiness_failures=_positive(annotations, _FAILURES, _DEFAULT_FAILURES, mistakes),
        mistakes=tuple(mistakes),
        drain_seconds=_seconds(config.drain_duration, LISTENER_DRAIN_SECONDS),
        termination_seconds=_seconds(config.termination_drain_duration, DRAIN_SECONDS),
        flush_ms=1000 if config.file_flush_interval is None else config.file_flush_interval,
        flush_kb=config.file_flush_min_size_kb,
        cluster=config.service_cluster,
        service_name=ServiceName(config.tracing_service_name),
        metadata=tuple(
            sorted((k.removeprefix(_META), v) for k, v in own.items() if k.startswith(_META))
        ),
        environment=tuple(sorted(own.items())),
        runtime=tuple(sorted(config.runtime_values.items())),
        statsd=statsd,
        connection_limit=_connection_limit(config),
    )


def _connection_limit(config: ProxyConfig) -> int | None:
    """Of all listeners together. The field goes before the metadata, that before the runtime key.

    https://istio.io/latest/docs/ops/configuration/traffic-management/edge-proxy/
    """
    limits = config.connection_settings
    if limits is not None and limits.global_downstream_connection_limit is not None:
        return limits.global_downstream_connection_limit
    for values, name in (
        (config.proxy_metadata, f"{_META}GLOBAL_DOWNSTREAM_MAX_CONNECTIONS"),
        (config.runtime_values, "overload.global_downstream_max_connections"),
    ):
        text = values.get(name, "")
        if text.isascii() and text.isdigit():
            return int(text)
    return None


def _positive(annotations: Mapping[str, str], name: str, default: int, mistakes: list[str]) -> int:
    text = annotations.get(name, "")
    if text.isdigit() and int(text) > 0:
        return int(text)
    if text:
        mistakes.append(f"{name} is a number from 1 on")
    return default


def _seconds(duration: int | None, default: int) -> int:
    """Of milliseconds, rounded up; at least one."""
    return default if duration is None else max(1, -(-duration // 1000))


def _address(text: str) -> tuple[str, int] | None:
    host, _, port = text.rpartition(":")
    try:
        ipaddress.ip_address(host)
        return host, int(port)
    except ValueError:
        return None
