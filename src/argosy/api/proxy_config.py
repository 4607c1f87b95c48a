"""ProxyConfig: how a proxy runs and what it does with connections, as MeshConfig, the annotation
``proxy.istio.io/config`` and (less of it) the kind ProxyConfig say it.

Fields and defaults as in https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig;
only those that Argosy heeds are here, so any other is reported as having no effect.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

import msgspec

from argosy.api.located import child
from argosy.api.meta import Duration, Int32, KubernetesPart, UInt32
from argosy.api.typed import Mistake, checked, decode_hook
from argosy.api.yaml_document import YamlError, documents
from argosy.base.problems import Severity

ANNOTATION = "proxy.istio.io/config"

ForwardClientCert = Literal[
    "UNDEFINED",
    "SANITIZE",
    "FORWARD_ONLY",
    "APPEND_FORWARD",
    "SANITIZE_SET",
    "ALWAYS_FORWARD_ONLY",
]
UnderscoresAction = Literal["DEFAULT", "ALLOW", "REJECT_REQUEST", "DROP_HEADER"]
TracingServiceName = Literal[
    "APP_LABEL_AND_NAMESPACE", "CANONICAL_NAME_ONLY", "CANONICAL_NAME_AND_NAMESPACE"
]
EscapedSlashesAction = Literal[
    "DEFAULT", "KEEP_UNCHANGED", "REJECT_REQUEST", "UNESCAPE_AND_REDIRECT", "UNESCAPE_AND_FORWARD"
]


class ProxyStatsMatcher(KubernetesPart, frozen=True, kw_only=True):
    inclusion_prefixes: tuple[str, ...] = ()
    inclusion_suffixes: tuple[str, ...] = ()
    inclusion_regexps: tuple[str, ...] = ()


class ProxyProtocolConfiguration(KubernetesPart, frozen=True, kw_only=True):
    pass


class Topology(KubernetesPart, frozen=True, kw_only=True):
    num_trusted_proxies: UInt32 | None = None
    forward_client_cert_details: ForwardClientCert = "UNDEFINED"
    proxy_protocol: ProxyProtocolConfiguration | None = None


class DisabledHeader(KubernetesPart, frozen=True, kw_only=True):
    disabled: bool | None = None


class ServerHeader(KubernetesPart, frozen=True, kw_only=True):
    disabled: bool | None = None
    value: str = ""


class ClientCertDetails(KubernetesPart, frozen=True, kw_only=True):
    subject: bool | None = None
    cert: bool | None = None
    chain: bool | None = None
    dns: bool | None = None
    uri: bool | None = None


class ProxyHeaders(KubernetesPart, frozen=True, kw_only=True):
    server: ServerHeader | None = None
    request_id: DisabledHeader | None = None
    attempt_count: DisabledHeader | None = None
    envoy_debug_headers: DisabledHeader | None = None
    forwarded_client_cert: ForwardClientCert = "UNDEFINED"
    set_current_client_cert_details: ClientCertDetails | None = None


class RemoteService(KubernetesPart, frozen=True, kw_only=True):
    """``address`` is a host and a port."""

    address: str = ""


class ConnectionSettings(KubernetesPart, frozen=True, kw_only=True):
    """None is what ``profile`` has; SIDECAR has Envoy's and Istio's defaults.

    https://istio.io/latest/docs/ops/configuration/traffic-management/edge-proxy/
    """

    profile: Literal["", "SIDECAR", "EDGE"] = ""
    listener_per_connection_buffer_limit_bytes: UInt32 | None = None
    cluster_per_connection_buffer_limit_bytes: UInt32 | None = None
    http_idle_timeout: Duration | None = None
    http_max_connection_duration: Duration | None = None
    http_drain_timeout: Duration | None = None
    http_request_timeout: Duration | None = None
    http_request_headers_timeout: Duration | None = None
    http_stream_idle_timeout: Duration | None = None
    http_max_stream_duration: Duration | None = None
    http_max_concurrent_streams: UInt32 | None = None
    http2_initial_stream_window_size: UInt32 | None = None
    http2_initial_connection_window_size: UInt32 | None = None
    http_headers_with_underscores_action: UnderscoresAction = "DEFAULT"
    http_merge_slashes: bool | None = None
    http_path_with_escaped_slashes_action: EscapedSlashesAction = "DEFAULT"
    listener_connection_limit: UInt32 | None = None
    global_downstream_connection_limit: UInt32 | None = None


class LiteralTag(KubernetesPart, frozen=True, kw_only=True):
    value: str = ""


class EnvironmentTag(KubernetesPart, frozen=True, kw_only=True):
    name: str = ""
    default_value: str = ""


class HeaderTag(KubernetesPart, frozen=True, kw_only=True):
    name: str = ""
    default_value: str = ""


class TracingTag(KubernetesPart, frozen=True, kw_only=True):
    """One of them."""

    literal: LiteralTag | None = None
    environment: EnvironmentTag | None = None
    header: HeaderTag | None = None


class Tracing(KubernetesPart, frozen=True, kw_only=True):
    """For what no Telemetry says. ``sampling`` is in per cent; 0 is as if it were not written."""

    sampling: float = 0.0
    max_path_tag_length: UInt32 = 0
    custom_tags: Mapping[str, TracingTag] = {}


class ProxyConfig(KubernetesPart, frozen=True, kw_only=True):
    """``concurrency`` is the number of Envoy's worker threads; 0 is all cores."""

    concurrency: Int32 | None = None
    service_cluster: str = ""
    tracing_service_name: TracingServiceName = "APP_LABEL_AND_NAMESPACE"
    tracing: Tracing | None = None
    drain_duration: Duration | None = None
    termination_drain_duration: Duration | None = None
    hold_application_until_proxy_starts: bool | None = None
    statsd_udp_address: str = ""
    envoy_access_log_service: RemoteService | None = None
    proxy_stats_matcher: ProxyStatsMatcher | None = None
    proxy_metadata: Mapping[str, str] = {}
    runtime_values: Mapping[str, str] = {}
    gateway_topology: Topology | None = None
    proxy_headers: ProxyHeaders | None = None
    file_flush_interval: Duration | None = None
    file_flush_min_size_kb: UInt32 | None = None
    connection_settings: ConnectionSettings | None = None


NO_PROXY_CONFIG = ProxyConfig()


def proxy_config(text: str, path: str) -> tuple[ProxyConfig, tuple[Mistake, ...]]:
    """What an annotation says; nothing of it when it has errors. ``path`` is where it stands."""
    mistakes: list[Mistake] = []
    data: object = {}
    for document in documents(text):
        errors = [document] if isinstance(document, YamlError) else document.problems
        for error in errors:
            message = f"it is not YAML, line {error.line} of it: {error.message}"
            mistakes.append(Mistake(path, error.code, message, error.hint))
        data = {} if isinstance(document, YamlError) else document.data or {}
    if not isinstance(data, dict):
        return NO_PROXY_CONFIG, (Mistake(path, "InvalidType", "it is not a map"),)
    cleaned, found = checked(data, ProxyConfig, path)
    mistakes += found
    if any(m.severity is Severity.ERROR for m in mistakes):
        return NO_PROXY_CONFIG, tuple(mistakes)
    config = msgspec.convert(cleaned, ProxyConfig, dec_hook=decode_hook)
    if config.tracing is not None:
        unused = tracing_mistakes(config.tracing, child(path, "tracing"))
        mistakes += (replace(mistake, severity=Severity.WARNING) for mistake in unused)
    return config, tuple(mistakes)


def tracing_mistakes(written: Tracing, path: str) -> Iterator[Mistake]:
    """What of it proxies do without, for Envoy would refuse a listener with it."""
    if not 0.0 <= written.sampling <= 100.0:
        message = f"{written.sampling:g} per cent are no part of all requests: 1 is taken"
        yield Mistake(f"{path}.sampling", "OutOfRange", message, "write 0 to 100")
    for name, tag in sorted(written.custom_tags.items()):
        where = child(f"{path}.customTags", name)
        if why := _why_no_tag(name, tag):
            yield Mistake(where, "InvalidTag", f"{why}; the tag is left out", "correct it")


def _why_no_tag(name: str, tag: TracingTag) -> str:
    if not name:
        return "a tag has no name"
    match tag:
        case TracingTag(literal=LiteralTag(value=text), environment=None, header=None):
            return "" if text else "its value is empty"
        case TracingTag(literal=None, environment=EnvironmentTag(name=text), header=None):
            return "" if text else "the variable has no name"
        case TracingTag(literal=None, environment=None, header=HeaderTag(name=text)):
            return "" if text else "the header has no name"
        case _:
            return "it is not exactly one of literal, environment and header"


def merged(base: ProxyConfig, over: ProxyConfig) -> ProxyConfig:
    """What ``over`` says, else what ``base`` says; maps and parts are joined, lists are not."""
    found = _merged(base, over)
    assert isinstance(found, ProxyConfig), "merging keeps the type"
    return found


def _merged(base: msgspec.Struct, over: msgspec.Struct) -> msgspec.Struct:
    bare = type(over)()
    changes: dict[str, object] = {}
    for name in over.__struct_fields__:
        below, above = getattr(base, name), getattr(over, name)
        if above == getattr(bare, name):
            continue
        if isinstance(above, msgspec.Struct) and isinstance(below, msgspec.Struct):
            changes[name] = _merged(below, above)
        elif isinstance(above, Mapping) and isinstance(below, Mapping):
            changes[name] = {**below, **above}
        else:
            changes[name] = above
    return msgspec.structs.replace(base, **changes) if changes else base
