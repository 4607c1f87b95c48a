"""MeshConfig's providers → where access logs go.

https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-ExtensionProvider
"""

from collections.abc import Callable

from argosy.api import telemetry_providers as api
from argosy.api.extension_providers import ExtensionProvider
from argosy.model.proxy import ClusterKey
from argosy.model.telemetry import (
    FileSink,
    HttpGrpcSink,
    JsonFormat,
    LogFormat,
    LogSink,
    OtelSink,
    TcpGrpcSink,
    TextFormat,
)
from argosy.pilot.compile.telemetry_defaults import STDOUT, TelemetryDefaults, canonical, ended

BUILT_IN_LOG = "envoy"

HTTP_LOG_NAME = "http_envoy_accesslog"
TCP_LOG_NAME = "tcp_envoy_accesslog"
OTEL_LOG_NAME = "otel_envoy_accesslog"

ClusterOf = Callable[[str, int], ClusterKey | None]
"""The cluster of a provider's service, by ``[<namespace>/]<host>`` and port; None: there is none."""


def service_of(provider: ExtensionProvider) -> tuple[str, int] | None:
    """The service that takes the telemetry, ``[<namespace>/]<host>`` and port; None: there is none."""
    written = (
        provider.envoy_http_als
        or provider.envoy_tcp_als
        or provider.envoy_otel_als
        or provider.zipkin
        or provider.opentelemetry
        or provider.datadog
        or provider.skywalking
    )
    return None if written is None else (written.service, written.port)


def takes_logs(provider: ExtensionProvider) -> bool:
    kinds = (
        provider.envoy_file_access_log,
        provider.envoy_http_als,
        provider.envoy_tcp_als,
        provider.envoy_otel_als,
    )
    return any(kind is not None for kind in kinds)


def log_sink(
    provider: ExtensionProvider, defaults: TelemetryDefaults, cluster_of: ClusterOf
) -> LogSink | None:
    """None: it takes no access logs, or its service is not there."""
    if provider.envoy_file_access_log is not None:
        return _file(provider.name, provider.envoy_file_access_log, defaults)
    service = service_of(provider)
    cluster = None if service is None else cluster_of(*service)
    if cluster is None:
        return None
    if provider.envoy_http_als is not None:
        http = provider.envoy_http_als
        return HttpGrpcSink(
            cluster,
            http.log_name or HTTP_LOG_NAME,
            http.filter_state_objects_to_log,
            http.additional_request_headers_to_log,
            http.additional_response_headers_to_log,
            http.additional_response_trailers_to_log,
        )
    if provider.envoy_tcp_als is not None:
        tcp = provider.envoy_tcp_als
        return TcpGrpcSink(cluster, tcp.log_name or TCP_LOG_NAME, tcp.filter_state_objects_to_log)
    if provider.envoy_otel_als is not None:
        otel = provider.envoy_otel_als
        written = otel.log_format or api.OtelLogFormat()
        return OtelSink(
            cluster,
            otel.log_name or OTEL_LOG_NAME,
            TextFormat(written.text),
            tuple(sorted(written.labels.items())),
        )
    return None


def _file(name: str, log: api.EnvoyFileAccessLog, defaults: TelemetryDefaults) -> FileSink:
    written = log.log_format
    own: LogFormat
    if written is None:
        bare = name == BUILT_IN_LOG and not log.omit_empty_values
        own = defaults.log_format if bare else TextFormat()
    elif written.labels is None:
        own = TextFormat(ended(written.text))
    else:
        own = JsonFormat(canonical(written.labels) if written.labels else "")
    return FileSink(log.path or STDOUT, own, log.omit_empty_values)
