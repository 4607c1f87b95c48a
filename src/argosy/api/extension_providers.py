"""MeshConfig's ``extensionProviders``: external authorizers, and what takes telemetry.

https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-ExtensionProvider
"""

from collections.abc import Iterator, Mapping

from msgspec.structs import fields

from argosy.api import telemetry_providers as telemetry
from argosy.api import tracing_providers as tracing
from argosy.api.meta import Duration, KubernetesPart, UInt32
from argosy.api.typed import Mistake, short
from argosy.api.validate_values import (
    check_duration,
    check_header_name,
    check_header_value,
    check_one_of,
    check_port,
)


class CheckedRequestBody(KubernetesPart, frozen=True, kw_only=True):
    """``max_request_bytes`` are sent at most."""

    max_request_bytes: UInt32 = 0
    allow_partial_message: bool = False
    pack_as_bytes: bool = False


class ExternalAuthorizerHttp(KubernetesPart, frozen=True, kw_only=True):
    """``EnvoyExternalAuthorizationHttpProvider``. ``service`` is ``[<namespace>/]<host>``.

    ``timeout`` is in ms; 0: ten minutes, as in Istio. Headers are exact, ``prefix*`` or
    ``*suffix``. ``include_headers_in_check`` is the older name of
    ``include_request_headers_in_check``.
    """

    service: str = ""
    port: UInt32 = 0
    timeout: Duration = Duration(0)
    path_prefix: str = ""
    fail_open: bool = False
    clear_route_cache: bool = False
    status_on_error: str = ""
    include_headers_in_check: tuple[str, ...] = ()
    include_request_headers_in_check: tuple[str, ...] = ()
    include_additional_headers_in_check: Mapping[str, str] = {}
    include_request_body_in_check: CheckedRequestBody | None = None
    headers_to_upstream_on_allow: tuple[str, ...] = ()
    headers_to_downstream_on_deny: tuple[str, ...] = ()
    headers_to_downstream_on_allow: tuple[str, ...] = ()


class ExternalAuthorizerGrpc(KubernetesPart, frozen=True, kw_only=True):
    """``EnvoyExternalAuthorizationGrpcProvider``."""

    service: str = ""
    port: UInt32 = 0
    timeout: Duration = Duration(0)
    fail_open: bool = False
    clear_route_cache: bool = False
    status_on_error: str = ""
    include_request_body_in_check: CheckedRequestBody | None = None


class ExtensionProvider(KubernetesPart, frozen=True, kw_only=True):
    """Exactly one kind of provider, under a name of its own."""

    name: str = ""
    envoy_ext_authz_http: ExternalAuthorizerHttp | None = None
    envoy_ext_authz_grpc: ExternalAuthorizerGrpc | None = None
    prometheus: telemetry.Prometheus | None = None
    envoy_file_access_log: telemetry.EnvoyFileAccessLog | None = None
    envoy_http_als: telemetry.EnvoyHttpAls | None = None
    envoy_tcp_als: telemetry.EnvoyTcpAls | None = None
    envoy_otel_als: telemetry.EnvoyOtelAls | None = None
    zipkin: tracing.Zipkin | None = None
    opentelemetry: tracing.OpenTelemetry | None = None
    datadog: tracing.Datadog | None = None
    skywalking: tracing.SkyWalking | None = None
    mixer: tracing.Mixer | None = None


MIXER = "mixer"
"""Who takes spans, where no provider of tracing is named."""

BUILT_IN = (
    ExtensionProvider(name="prometheus", prometheus=telemetry.Prometheus()),
    ExtensionProvider(
        name="envoy", envoy_file_access_log=telemetry.EnvoyFileAccessLog(path="/dev/stdout")
    ),
    ExtensionProvider(name=MIXER, mixer=tracing.Mixer()),
)
"""Those that every mesh has, unless it has others of these names."""


def kinds(provider: ExtensionProvider) -> Mapping[str, KubernetesPart]:
    """What it is, by the name of the field."""
    named = ((f.encode_name, getattr(provider, f.name)) for f in fields(ExtensionProvider))
    return {name: value for name, value in named if name != "name" and value is not None}


def check_providers(providers: tuple[ExtensionProvider, ...], path: str) -> Iterator[Mistake]:
    seen: set[str] = set()
    for i, provider in enumerate(providers):
        where = f"{path}[{i}]"
        if not provider.name:
            yield Mistake(f"{where}.name", "MissingField", "the provider has no name")
        elif provider.name in seen:
            message = f"two providers are named {short(provider.name)}"
            yield Mistake(f"{where}.name", "DuplicateName", message, "Rename one of them")
        seen.add(provider.name)
        yield from check_one_of(kinds(provider), where, required=False)
        if provider.envoy_ext_authz_http is not None:
            yield from _check_http(provider.envoy_ext_authz_http, f"{where}.envoyExtAuthzHttp")
        if provider.envoy_ext_authz_grpc is not None:
            yield from _check(provider.envoy_ext_authz_grpc, f"{where}.envoyExtAuthzGrpc")
        yield from _check_telemetry(provider, where)


def _check_telemetry(provider: ExtensionProvider, where: str) -> Iterator[Mistake]:
    for name, kind in kinds(provider).items():
        path = f"{where}.{name}"
        match kind:
            case telemetry.EnvoyFileAccessLog():
                yield from telemetry.check_file_log(kind, path)
            case telemetry.EnvoyHttpAls() | telemetry.EnvoyTcpAls() | telemetry.EnvoyOtelAls():
                yield from telemetry.check_log_service(kind, path)
            case tracing.Zipkin() | tracing.OpenTelemetry():
                yield from telemetry.check_service(kind.service, kind.port, path)
                yield from tracing.check(kind, path)
            case tracing.Datadog() | tracing.SkyWalking():
                yield from telemetry.check_service(kind.service, kind.port, path)


def _check_http(http: ExternalAuthorizerHttp, path: str) -> Iterator[Mistake]:
    yield from _check(http, path)
    if http.path_prefix and not http.path_prefix.startswith("/"):
        message = f"{short(http.path_prefix)} does not begin with /"
        yield Mistake(f"{path}.pathPrefix", "InvalidValue", message)
    for name, value in http.include_additional_headers_in_check.items():
        where = f"{path}.includeAdditionalHeadersInCheck"
        yield from check_header_name(name, where)
        yield from check_header_value(value, where)
    for name, headers in (
        ("includeHeadersInCheck", http.include_headers_in_check),
        ("includeRequestHeadersInCheck", http.include_request_headers_in_check),
        ("headersToUpstreamOnAllow", http.headers_to_upstream_on_allow),
        ("headersToDownstreamOnDeny", http.headers_to_downstream_on_deny),
        ("headersToDownstreamOnAllow", http.headers_to_downstream_on_allow),
    ):
        for i, header in enumerate(headers):
            if header != "*":
                yield from check_header_name(header.strip("*"), f"{path}.{name}[{i}]")


def _check(
    provider: ExternalAuthorizerHttp | ExternalAuthorizerGrpc, path: str
) -> Iterator[Mistake]:
    if not provider.service:
        message = "it is not said which service to ask"
        yield Mistake(f"{path}.service", "MissingField", message, "Write [<namespace>/]<host>")
    yield from check_port(provider.port, f"{path}.port")
    yield from check_duration(provider.timeout, f"{path}.timeout", zero=True)
    status = provider.status_on_error
    if status and not (status.isascii() and status.isdecimal() and 200 <= int(status) <= 599):
        message = f"{short(status)} is not the status of a response"
        yield Mistake(f"{path}.statusOnError", "InvalidValue", message, 'Write "403" or "503"')
    body = provider.include_request_body_in_check
    if body is not None and not body.max_request_bytes:
        message = "it is not said how much of the body to send"
        where = f"{path}.includeRequestBodyInCheck.maxRequestBytes"
        yield Mistake(where, "MissingField", message, "Write a number of bytes")
