"""MeshConfig's providers that take spans → where they go.

https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-ExtensionProvider
"""

from collections.abc import Iterable
from datetime import timedelta

from argosy.api import tracing_providers as api
from argosy.api.extension_providers import ExtensionProvider
from argosy.api.meta import Duration
from argosy.model.proxy import ClusterKey
from argosy.model.tracing import (
    CollectorHeader,
    DatadogProvider,
    DynatraceSampler,
    Headers,
    MixerProvider,
    OpenTelemetryProvider,
    OtlpGrpc,
    OtlpHttp,
    SkyWalkingProvider,
    TracingProvider,
    ZipkinProvider,
)
from argosy.pilot.compile.telemetry_providers import ClusterOf

_Kind = api.Mixer | api.Zipkin | api.OpenTelemetry | api.Datadog | api.SkyWalking

TIMEOUT = timedelta(seconds=5)
"""Istio's, where none is written and Envoy demands one."""

SAMPLING_PATH = "/api/v2/samplingConfiguration"
"""Where Dynatrace is asked how much to sample."""


def takes_spans(provider: ExtensionProvider) -> bool:
    return _kind(provider) is not None


def tracing_provider(
    provider: ExtensionProvider, cluster_of: ClusterOf, *, mixer: bool
) -> TracingProvider | None:
    """None: it takes no spans, or its service is not there. ``mixer``: the mesh has one."""
    written = _kind(provider)
    if written is None:
        return None
    if isinstance(written, api.Mixer):
        return MixerProvider() if mixer else None
    cluster = cluster_of(written.service, written.port)
    if cluster is None:
        return None
    match written:
        case api.Zipkin():
            return ZipkinProvider(
                cluster,
                path=written.path or "/api/v2/spans",
                timeout=_span(written.timeout) or TIMEOUT,
                headers=_headers(written.headers),
                max_tag_length=written.max_tag_length,
                short_trace_ids=written.enable64bit_trace_id,
                w3c=written.trace_context_option == "USE_B3_WITH_W3C_PROPAGATION",
            )
        case api.Datadog():
            return DatadogProvider(cluster, written.max_tag_length)
        case api.SkyWalking():
            return SkyWalkingProvider(cluster, written.access_token)
        case api.OpenTelemetry():
            return _opentelemetry(written, cluster, cluster_of)


def _kind(provider: ExtensionProvider) -> _Kind | None:
    return (
        provider.mixer
        or provider.zipkin
        or provider.opentelemetry
        or provider.datadog
        or provider.skywalking
    )


def _opentelemetry(
    written: api.OpenTelemetry, cluster: ClusterKey, cluster_of: ClusterOf
) -> OpenTelemetryProvider | None:
    sampler: DynatraceSampler | None = None
    if written.dynatrace_sampler is not None:
        sampler = _sampler(written, written.dynatrace_sampler, cluster, cluster_of)
        if sampler is None:
            return None
    detectors = written.resource_detectors or api.ResourceDetectors()
    return OpenTelemetryProvider(
        cluster,
        protocol=_protocol(written),
        max_tag_length=written.max_tag_length,
        dynatrace=detectors.dynatrace is not None,
        sampler=sampler,
    )


def _protocol(written: api.OpenTelemetry) -> OtlpGrpc | OtlpHttp:
    if written.http is not None:
        return _http(written.http)
    grpc = written.grpc or api.OtlpGrpc()
    return OtlpGrpc(_span(grpc.timeout), _headers(grpc.initial_metadata))


def _sampler(
    written: api.OpenTelemetry,
    sampler: api.DynatraceSampler,
    own: ClusterKey,
    cluster_of: ClusterOf,
) -> DynatraceSampler | None:
    """It asks its own service, or where the spans go, with the same headers."""
    asked = sampler.http_service
    if asked is None:
        http = written.http or api.OtlpHttp()
        cluster: ClusterKey | None = own
        question = OtlpHttp(SAMPLING_PATH, _span(http.timeout) or TIMEOUT, _headers(http.headers))
    else:
        cluster = cluster_of(asked.service, asked.port)
        question = _http(asked.http or api.OtlpHttp())
    if cluster is None:
        return None
    return DynatraceSampler(
        sampler.tenant, sampler.cluster_id, cluster, question, sampler.root_spans_per_minute
    )


def _http(written: api.OtlpHttp) -> OtlpHttp:
    return OtlpHttp(
        written.path or "/", _span(written.timeout) or TIMEOUT, _headers(written.headers)
    )


def _headers(written: Iterable[api.CollectorHeader]) -> Headers:
    return tuple(
        CollectorHeader(one.name, one.env_name or one.value, bool(one.env_name)) for one in written
    )


def _span(duration: Duration | None) -> timedelta | None:
    return None if duration is None else timedelta(milliseconds=duration)
