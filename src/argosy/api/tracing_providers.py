"""MeshConfig's ``extensionProviders`` that take spans.

https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-ExtensionProvider
"""

from collections.abc import Iterator
from typing import Literal

from argosy.api.meta import Duration, Int32, KubernetesPart, UInt32
from argosy.api.typed import Mistake, short
from argosy.api.validate_values import (
    check_duration,
    check_header_name,
    check_header_value,
    check_port,
)
from argosy.base.problems import Severity


class CollectorHeader(KubernetesPart, frozen=True, kw_only=True):
    """One of ``value`` and ``env_name``, which is a variable of the proxy's environment."""

    name: str = ""
    value: str = ""
    env_name: str = ""


class Zipkin(KubernetesPart, frozen=True, kw_only=True):
    """``service`` is ``[<namespace>/]<host>``, here and below."""

    service: str = ""
    port: UInt32 = 0
    max_tag_length: UInt32 = 0
    enable64bit_trace_id: bool = False
    path: str = ""
    trace_context_option: Literal["USE_B3", "USE_B3_WITH_W3C_PROPAGATION"] = "USE_B3"
    timeout: Duration | None = None
    headers: tuple[CollectorHeader, ...] = ()


class OtlpHttp(KubernetesPart, frozen=True, kw_only=True):
    path: str = ""
    timeout: Duration | None = None
    headers: tuple[CollectorHeader, ...] = ()


class OtlpGrpc(KubernetesPart, frozen=True, kw_only=True):
    timeout: Duration | None = None
    initial_metadata: tuple[CollectorHeader, ...] = ()


class Detector(KubernetesPart, frozen=True, kw_only=True):
    """It has no fields."""


class ResourceDetectors(KubernetesPart, frozen=True, kw_only=True):
    environment: Detector | None = None
    dynatrace: Detector | None = None


class DynatraceApi(KubernetesPart, frozen=True, kw_only=True):
    service: str = ""
    port: UInt32 = 0
    http: OtlpHttp | None = None


class DynatraceSampler(KubernetesPart, frozen=True, kw_only=True):
    """Without ``http_service`` the collector's own service is asked."""

    tenant: str = ""
    cluster_id: Int32 = 0
    root_spans_per_minute: UInt32 = 0
    http_service: DynatraceApi | None = None


class OpenTelemetry(KubernetesPart, frozen=True, kw_only=True):
    """By gRPC, unless ``http`` is written."""

    service: str = ""
    port: UInt32 = 0
    max_tag_length: UInt32 = 0
    http: OtlpHttp | None = None
    grpc: OtlpGrpc | None = None
    resource_detectors: ResourceDetectors | None = None
    dynatrace_sampler: DynatraceSampler | None = None
    service_attribute_enrichment: Literal["ISTIO_CANONICAL", "OTEL_SEMANTIC_CONVENTIONS"] = (
        "ISTIO_CANONICAL"
    )


class Datadog(KubernetesPart, frozen=True, kw_only=True):
    service: str = ""
    port: UInt32 = 0
    max_tag_length: UInt32 = 0


class SkyWalking(KubernetesPart, frozen=True, kw_only=True):
    service: str = ""
    port: UInt32 = 0
    access_token: str = ""


class Mixer(KubernetesPart, frozen=True, kw_only=True):
    """The mesh's own store; Argosy's own kind of provider. One named ``mixer`` is built in."""


def check(provider: Zipkin | OpenTelemetry, path: str) -> Iterator[Mistake]:
    """What is wrong with it besides its service."""
    if isinstance(provider, Zipkin):
        yield from _check_zipkin(provider, path)
    else:
        yield from _check_opentelemetry(provider, path)


def _check_zipkin(provider: Zipkin, path: str) -> Iterator[Mistake]:
    if provider.path and not provider.path.startswith("/"):
        yield Mistake(f"{path}.path", "InvalidValue", f"{short(provider.path)} has no / first")
    yield from _check_timeout(provider.timeout, f"{path}.timeout")
    yield from _check_headers(provider.headers, f"{path}.headers")


def _check_opentelemetry(provider: OpenTelemetry, path: str) -> Iterator[Mistake]:
    if provider.http is not None and provider.grpc is not None:
        message = "http and grpc exclude each other"
        yield Mistake(path, "ConflictingFields", message, "Keep one of them")
    if provider.http is not None:
        yield from _check_http(provider.http, f"{path}.http")
    if provider.grpc is not None:
        yield from _check_timeout(provider.grpc.timeout, f"{path}.grpc.timeout")
        metadata = f"{path}.grpc.initialMetadata"
        yield from _check_headers(provider.grpc.initial_metadata, metadata)
    if provider.service_attribute_enrichment == "OTEL_SEMANTIC_CONVENTIONS":
        yield Mistake(
            f"{path}.serviceAttributeEnrichment",
            "FieldNotSupported",
            "service.name stays as tracingServiceName says; service.namespace, service.version and "
            "service.instance.id are told in any case",
            "Write tracingServiceName: CANONICAL_NAME_ONLY in defaultConfig to leave out the namespace",
            Severity.WARNING,
        )
    sampler = provider.dynatrace_sampler
    if sampler is None:
        return
    where = f"{path}.dynatraceSampler"
    if not sampler.tenant:
        yield Mistake(f"{where}.tenant", "MissingField", "the sampler has no tenant")
    if sampler.http_service is None and provider.http is None:
        message = "it is not said whom the sampler asks"
        hint = "Write httpService, or let the provider send by http"
        yield Mistake(f"{where}.httpService", "MissingField", message, hint)
    if sampler.http_service is not None:
        api = sampler.http_service
        if not api.service:
            yield Mistake(f"{where}.httpService.service", "MissingField", "it names no service")
        yield from check_port(api.port, f"{where}.httpService.port")
        if api.http is not None:
            yield from _check_http(api.http, f"{where}.httpService.http")


def _check_http(http: OtlpHttp, path: str) -> Iterator[Mistake]:
    yield from _check_timeout(http.timeout, f"{path}.timeout")
    yield from _check_headers(http.headers, f"{path}.headers")


def _check_timeout(timeout: Duration | None, path: str) -> Iterator[Mistake]:
    if timeout is not None:
        yield from check_duration(timeout, path)


def _check_headers(headers: tuple[CollectorHeader, ...], path: str) -> Iterator[Mistake]:
    for i, header in enumerate(headers):
        where = f"{path}[{i}]"
        yield from check_header_name(header.name, f"{where}.name")
        if bool(header.value) == bool(header.env_name):
            message = "a header has one of value and envName"
            yield Mistake(where, "ConflictingFields", message, "Keep one of them")
        yield from check_header_value(header.value, f"{where}.value")
