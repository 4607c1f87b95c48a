"""MeshConfig's ``extensionProviders`` that take access logs, metrics and spans.

https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-ExtensionProvider
"""

from collections.abc import Iterator, Mapping

from argosy.api.meta import KubernetesPart, Opaque, UInt32
from argosy.api.typed import Mistake
from argosy.api.validate_values import check_header_name, check_port


class Prometheus(KubernetesPart, frozen=True, kw_only=True):
    """Metrics are served for Prometheus to fetch."""


class FileLogFormat(KubernetesPart, frozen=True, kw_only=True):
    """One of them. Values of ``labels`` are text with command operators, or again maps and lists."""

    text: str = ""
    labels: Mapping[str, Opaque] | None = None


class EnvoyFileAccessLog(KubernetesPart, frozen=True, kw_only=True):
    path: str = ""
    log_format: FileLogFormat | None = None
    omit_empty_values: bool = False


class EnvoyHttpAls(KubernetesPart, frozen=True, kw_only=True):
    """``service`` is ``[<namespace>/]<host>``, here and below."""

    service: str = ""
    port: UInt32 = 0
    log_name: str = ""
    filter_state_objects_to_log: tuple[str, ...] = ()
    additional_request_headers_to_log: tuple[str, ...] = ()
    additional_response_headers_to_log: tuple[str, ...] = ()
    additional_response_trailers_to_log: tuple[str, ...] = ()


class EnvoyTcpAls(KubernetesPart, frozen=True, kw_only=True):
    service: str = ""
    port: UInt32 = 0
    log_name: str = ""
    filter_state_objects_to_log: tuple[str, ...] = ()


class OtelLogFormat(KubernetesPart, frozen=True, kw_only=True):
    """``text`` is the body of a record, ``labels`` are its attributes."""

    text: str = ""
    labels: Mapping[str, str] = {}


class EnvoyOtelAls(KubernetesPart, frozen=True, kw_only=True):
    service: str = ""
    port: UInt32 = 0
    log_name: str = ""
    log_format: OtelLogFormat | None = None


LogService = EnvoyHttpAls | EnvoyTcpAls | EnvoyOtelAls


def check_file_log(log: EnvoyFileAccessLog, path: str) -> Iterator[Mistake]:
    written = log.log_format
    if written is None:
        return
    if written.text and written.labels is not None:
        message = "text and labels exclude each other"
        yield Mistake(f"{path}.logFormat", "ConflictingFields", message, "Keep one of them")
    if reason := unusable_fields(written.labels or {}):
        message = f"Envoy cannot write these fields: {reason}"
        yield Mistake(f"{path}.logFormat.labels", "InvalidAccessLogFormat", message)


def unusable_fields(fields: object) -> str:
    """Why Envoy refuses the fields of a JSON log, if it does.

    https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/substitution_format_string.proto
    """
    if not isinstance(fields, Mapping):
        return "it is not an object"
    waiting: list[object] = list(fields.values())
    while waiting:
        match waiting.pop():
            case bool() | None:
                return "values are texts, numbers, objects or lists"
            case Mapping() as inner:
                waiting += inner.values()
            case list() | tuple() as inner:
                waiting += inner
    return ""


def check_log_service(log: LogService, path: str) -> Iterator[Mistake]:
    yield from check_service(log.service, log.port, path)
    if isinstance(log, EnvoyHttpAls):
        for name, headers in (
            ("additionalRequestHeadersToLog", log.additional_request_headers_to_log),
            ("additionalResponseHeadersToLog", log.additional_response_headers_to_log),
            ("additionalResponseTrailersToLog", log.additional_response_trailers_to_log),
        ):
            for i, header in enumerate(headers):
                yield from check_header_name(header, f"{path}.{name}[{i}]", pseudo=True)


def check_service(service: str, port: int, path: str) -> Iterator[Mistake]:
    """Of every provider that is a service."""
    if not service:
        message = "it is not said which service to send to"
        yield Mistake(f"{path}.service", "MissingField", message, "Write [<namespace>/]<host>")
    yield from check_port(port, f"{path}.port")
