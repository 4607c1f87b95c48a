"""ProxyConfigs → what holds for one proxy.

The annotation goes before the workload's object, that before its namespace's, the root
namespace's and MeshConfig. https://istio.io/latest/docs/reference/config/networking/proxy-config/
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

from argosy.api import networking_proxy_config as kind
from argosy.api import proxy_config as api
from argosy.api.meta import Duration
from argosy.base.names import Namespace
from argosy.base.problems import Problem
from argosy.model.listener import ListenerSettings
from argosy.model.proxy import ProxyType
from argosy.model.proxy_traffic import CapturePorts, CertDetails, Connections, ProxyTraffic
from argosy.model.span_tags import (
    DEFAULT_SAMPLING,
    NO_PROXY_TRACING,
    CustomTag,
    EnvironmentTag,
    HeaderTag,
    LiteralTag,
    ProxyTracing,
)
from argosy.model.workload import Labels
from argosy.pilot.compile.report import Report
from argosy.pilot.compile.span_tags import usable

HTTP10 = "ISTIO_META_HTTP10"
"""Metadata by which a proxy asks to serve HTTP/1.0."""

KEEP_ENVOY_HEADERS = "ARGOSY_KEEP_ENVOY_HEADERS"
"""By ``true`` here a gateway trusts its clients with ``x-envoy-*``: another Envoy is before it."""

CERT_SIGNER = "ISTIO_META_CERT_SIGNER"
"""Who signs the workload's certificate: the name of a signer, without its domain or with it."""

EDGE = api.ConnectionSettings(
    listener_per_connection_buffer_limit_bytes=32 * 1024,
    cluster_per_connection_buffer_limit_bytes=32 * 1024,
    http_idle_timeout=Duration(3_600_000),
    http_request_timeout=Duration(300_000),
    http_request_headers_timeout=Duration(60_000),
    http_stream_idle_timeout=Duration(300_000),
    http_max_concurrent_streams=100,
    http2_initial_stream_window_size=64 * 1024,
    http2_initial_connection_window_size=1024 * 1024,
    http_headers_with_underscores_action="REJECT_REQUEST",
    http_merge_slashes=True,
    http_path_with_escaped_slashes_action="UNESCAPE_AND_REDIRECT",
)
"""https://istio.io/latest/docs/ops/configuration/traffic-management/edge-proxy/"""


def effective(
    mesh: api.ProxyConfig, objects: Iterable[kind.ProxyConfig], annotation: str
) -> api.ProxyConfig:
    """``objects`` are those of ``ruling``, the widest first."""
    found = mesh
    for item in objects:
        own = api.ProxyConfig(
            concurrency=item.spec.concurrency, proxy_metadata=item.spec.environment_variables
        )
        found = api.merged(found, own)
    return with_annotation(found, annotation)


def with_annotation(below: api.ProxyConfig, annotation: str) -> api.ProxyConfig:
    """What a pod's own ``proxy.istio.io/config`` says goes before all else."""
    if not annotation:
        return below
    return api.merged(below, api.proxy_config(annotation, api.ANNOTATION)[0])


def ruling(
    objects: Iterable[kind.ProxyConfig], root: Namespace, namespace: Namespace, labels: Labels
) -> tuple[kind.ProxyConfig, ...]:
    """Those for a workload: the mesh's, its namespace's, its own; of several the oldest."""
    known = sorted(objects, key=_age)
    wide = [item for item in known if not _selector(item)]
    levels = (
        (item for item in wide if item.metadata.namespace == root),
        (item for item in wide if item.metadata.namespace == namespace != root),
        (
            item
            for item in known
            if item.metadata.namespace == namespace
            and _selector(item)
            and _selector(item) <= set(labels)
        ),
    )
    firsts = (next(level, None) for level in levels)
    return tuple(item for item in firsts if item is not None)


def conflicts(objects: Iterable[kind.ProxyConfig]) -> tuple[Problem, ...]:
    """Of the objects of one namespace, those that an older one for the same workloads hides."""
    problems: list[Problem] = []
    winners: dict[frozenset[tuple[str, str]], kind.ProxyConfig] = {}
    for item in sorted(objects, key=_age):
        winner = winners.setdefault(frozenset(_selector(item)), item)
        if winner is not item:
            Report(item.key, "spec.selector", problems).warning(
                "ProxyConfigConflict",
                f"{winner.key} is older and for the same workloads, so this one has no effect",
                "merge the two, or delete one",
            )
    return tuple(problems)


def _age(item: kind.ProxyConfig) -> tuple[str, str]:
    return (item.metadata.creation_timestamp, item.metadata.name)


def _selector(item: kind.ProxyConfig) -> set[tuple[str, str]]:
    selector = item.spec.selector
    return set(selector.match_labels.items()) if selector is not None else set()


def traffic(config: api.ProxyConfig, kind: ProxyType, capture: CapturePorts) -> ProxyTraffic:
    """The part of it that a proxy's listeners and clusters depend on."""
    headers = config.proxy_headers or api.ProxyHeaders()
    topology = config.gateway_topology or api.Topology()
    server = headers.server or api.ServerHeader()
    details = headers.set_current_client_cert_details
    return ProxyTraffic(
        connections=_connections(config.connection_settings, kind),
        server="" if server.disabled else server.value or None,
        request_id=not _is_disabled(headers.request_id),
        attempt_count=not _is_disabled(headers.attempt_count),
        debug_headers=not _is_disabled(headers.envoy_debug_headers),
        forward_client_cert=_unless_default(headers.forwarded_client_cert),
        gateway_client_cert=_unless_default(topology.forward_client_cert_details),
        cert_details=None
        if details is None
        else CertDetails(details.subject, details.cert, details.chain, details.dns, details.uri),
        trusted_proxies=topology.num_trusted_proxies or 0,
        proxy_protocol=topology.proxy_protocol is not None,
        http10=config.proxy_metadata.get(HTTP10) == "1",
        capture=capture,
        tracing=tracing(config.tracing),
        keep_envoy_headers=config.proxy_metadata.get(KEEP_ENVOY_HEADERS, "").lower() == "true",
    )


def tracing(written: api.Tracing | None) -> ProxyTracing:
    """What cannot be a part of all requests is as Istio has it then: 1 %. Unusable tags are left out."""
    if written is None:
        return NO_PROXY_TRACING
    sampling = written.sampling if 0.0 <= written.sampling <= 100.0 else DEFAULT_SAMPLING
    return ProxyTracing(
        sampling=sampling or None,
        custom_tags=usable(_tags(written)),
        max_path_tag_length=written.max_path_tag_length,
    )


def _tags(written: api.Tracing) -> tuple[CustomTag, ...]:
    """Those of one sort, sorted by name."""
    found = (_tag(name, written.custom_tags[name]) for name in sorted(written.custom_tags))
    return tuple(tag for tag in found if tag is not None)


def _tag(name: str, written: api.TracingTag) -> CustomTag | None:
    match written:
        case api.TracingTag(literal=api.LiteralTag() as literal, environment=None, header=None):
            return LiteralTag(name, literal.value)
        case api.TracingTag(
            literal=None, environment=api.EnvironmentTag() as variable, header=None
        ):
            return EnvironmentTag(name, variable.name, variable.default_value)
        case api.TracingTag(literal=None, environment=None, header=api.HeaderTag() as header):
            return HeaderTag(name, header.name, header.default_value)
        case _:
            return None


def signer(config: api.ProxyConfig) -> str:
    """Empty: whoever signs for all."""
    return config.proxy_metadata.get(CERT_SIGNER, "")


def personal(settings: ListenerSettings, proxy: ProxyTraffic) -> ListenerSettings:
    """The mesh's settings as they hold for one proxy."""
    return replace(
        settings,
        proxy=proxy,
        http10=settings.http10 or proxy.http10,
        trusted_proxies=proxy.trusted_proxies or settings.trusted_proxies,
    )


def _is_disabled(header: api.DisabledHeader | None) -> bool:
    return header is not None and bool(header.disabled)


def _connections(written: api.ConnectionSettings | None, kind: ProxyType) -> Connections:
    """The profile EDGE is for gateways, wherever it is written."""
    if written is None:
        return Connections()
    own = written
    if written.profile == "EDGE" and kind is ProxyType.ROUTER:
        base = api.ProxyConfig(connection_settings=EDGE)
        joined = api.merged(base, api.ProxyConfig(connection_settings=written))
        own = joined.connection_settings or EDGE
    return Connections(
        buffer_limit=own.listener_per_connection_buffer_limit_bytes,
        cluster_buffer_limit=own.cluster_per_connection_buffer_limit_bytes,
        listener_limit=own.listener_connection_limit,
        idle_timeout=_span(own.http_idle_timeout),
        max_connection_duration=_span(own.http_max_connection_duration),
        drain_timeout=_span(own.http_drain_timeout),
        request_timeout=_span(own.http_request_timeout),
        headers_timeout=_span(own.http_request_headers_timeout),
        stream_idle_timeout=_span(own.http_stream_idle_timeout),
        max_stream_duration=_span(own.http_max_stream_duration),
        max_concurrent_streams=own.http_max_concurrent_streams,
        stream_window=own.http2_initial_stream_window_size,
        connection_window=own.http2_initial_connection_window_size,
        underscores=_unless_default(own.http_headers_with_underscores_action),
        merge_slashes=own.http_merge_slashes,
        escaped_slashes=_unless_default(own.http_path_with_escaped_slashes_action),
    )


def _span(duration: Duration | None) -> timedelta | None:
    return None if duration is None else timedelta(milliseconds=duration)


def _unless_default(action: str) -> str:
    return "" if action in ("DEFAULT", "UNDEFINED") else action
