"""MeshConfig → the mesh-wide settings, one value for each room that has some.

MeshConfig is the key ``mesh`` of the ConfigMap ``istio`` in the root namespace.
https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/
"""

from dataclasses import dataclass, field, replace
from datetime import timedelta

from argosy.api import meshconfig as api
from argosy.api.argosy_config import ARGOSY_CONFIG_KEY
from argosy.api.core import ConfigMap
from argosy.api.extension_providers import ExtensionProvider
from argosy.api.meta import LabelSelector
from argosy.api.networking_virtual_service import HTTPRetry
from argosy.api.proxy_config import NO_PROXY_CONFIG, ProxyConfig, tracing_mistakes
from argosy.base.names import Namespace
from argosy.base.problems import Compiled
from argosy.model.ingress import DEFAULT_INGRESS, IngressMode, IngressSettings
from argosy.model.listener import (
    INBOUND_RETRIES,
    ListenerSettings,
    OutboundTrafficPolicy,
    PathNormalization,
)
from argosy.model.locality import LocalityPolicy
from argosy.model.proxy_traffic import USUAL_CAPTURE, CapturePorts
from argosy.model.route import DEFAULT_RETRIES, RetryPolicy
from argosy.model.secret import TrustAnchor
from argosy.model.signing import ExternalAuthority
from argosy.model.traffic import (
    NO_PARAMETERS,
    POST_QUANTUM,
    ClientTls,
    OriginatedTls,
    Plaintext,
    TlsParameters,
    TrafficDefaults,
    TrafficPolicy,
)
from argosy.pilot.compile.actions import retries
from argosy.pilot.compile.capture_ports import capture_ports
from argosy.pilot.compile.hostnames import CLUSTER_DOMAIN
from argosy.pilot.compile.localities import locality_policy, zone_policy
from argosy.pilot.compile.rate_limits import limit_counters
from argosy.pilot.compile.report import Report
from argosy.pilot.compile.telemetry_defaults import (
    NO_DEFAULTS,
    TelemetryDefaults,
    telemetry_defaults,
)
from argosy.pilot.compile.traffic_policy import (
    client_tls,
    connection_pool,
    keepalive,
    outlier_detection,
)
from argosy.pilot.compile.trust import (
    DOMAIN_HINT,
    TRUST_DOMAIN,
    external_authority,
    trust_anchors,
)

PUBLIC = "*"
"""In an exportTo list: every namespace."""


@dataclass(frozen=True, slots=True)
class Mesh:
    """Istio's defaults, where MeshConfig says nothing.

    The ``export_to`` are as written, with ``.`` and ``~``: they hold for objects that have none.
    ``http_retry`` holds for HTTP rules that say nothing of retries, ``retries`` is the same where
    there are no rules. ``discovery`` selects the namespaces that the mesh looks at; empty: all.
    ``owned_hosts``: rules for another namespace's hosts hold at home only.
    ``capture`` is for pods that are made now. ``limit_counters`` is the URL of a Redis, or empty.
    ``authority`` None: the mesh signs itself.
    ``merged_metrics``: proxies show their applications' metrics too.
    """

    domain: str = CLUSTER_DOMAIN
    ingress: IngressSettings = DEFAULT_INGRESS
    traffic: TrafficDefaults = field(default_factory=TrafficDefaults)
    listeners: ListenerSettings = field(default_factory=ListenerSettings)
    service_export_to: tuple[str, ...] = (PUBLIC,)
    virtual_service_export_to: tuple[str, ...] = (PUBLIC,)
    http_retry: HTTPRetry | None = None
    proxy: ProxyConfig = NO_PROXY_CONFIG
    retries: RetryPolicy | None = DEFAULT_RETRIES
    discovery: tuple[LabelSelector, ...] = ()
    destination_rule_export_to: tuple[str, ...] = (PUBLIC,)
    owned_hosts: bool = True
    capture: CapturePorts = USUAL_CAPTURE
    merged_metrics: bool = True
    extension_providers: tuple[ExtensionProvider, ...] = ()
    telemetry: TelemetryDefaults = NO_DEFAULTS
    anchors: tuple[TrustAnchor, ...] = ()
    limit_counters: str = ""
    authority: ExternalAuthority | None = None


DEFAULT_MESH = Mesh()


def mesh(config: ConfigMap | None) -> Compiled[Mesh]:
    """The settings, and every mistake. A MeshConfig with errors counts as none."""
    if config is None:
        return Compiled(DEFAULT_MESH)
    decoded = api.mesh_config(config)
    own = api.argosy_config(config)
    problems = [*decoded.problems, *own.problems]
    if api.has_networks(config):
        Report(config.key, f"data.{api.NETWORKS_KEY}", problems).warning(
            "FieldNotSupported",
            "networks are not supported: endpoints of all networks are called at their addresses",
            "write networks: {}",
        )
    written = decoded.value
    if written is None or own.value is None:
        return Compiled(DEFAULT_MESH, tuple(problems))
    report = Report(config.key, f"data.{api.CONFIG_MAP_KEY}", problems)
    _report_tracing(written, report)
    traffic = _traffic(written, report)
    listeners = _listeners(written, traffic, report)
    if own.value.compliance_policy == "PQC":
        traffic = replace(traffic, tls=POST_QUANTUM, mesh_curves=POST_QUANTUM.curves)
        listeners = replace(listeners, mesh_tls=POST_QUANTUM, other_tls=POST_QUANTUM)
    compiled = Mesh(
        ingress=_ingress(written),
        traffic=traffic,
        listeners=listeners,
        service_export_to=written.default_service_export_to or (PUBLIC,),
        http_retry=written.default_http_retry_policy,
        proxy=written.default_config,
        retries=retries(written.default_http_retry_policy),
        discovery=written.discovery_selectors,
        virtual_service_export_to=written.default_virtual_service_export_to or (PUBLIC,),
        destination_rule_export_to=written.default_destination_rule_export_to or (PUBLIC,),
        owned_hosts=own.value.host_ownership == "ENFORCED",
        capture=capture_ports(written, report),
        merged_metrics=written.enable_prometheus_merge,
        extension_providers=written.extension_providers,
        telemetry=telemetry_defaults(written, report),
        anchors=trust_anchors(written, report),
        limit_counters=limit_counters(
            own.value.rate_limit_counters,
            Report(config.key, f"data.{ARGOSY_CONFIG_KEY}.rateLimitCounters", problems),
        ),
        authority=external_authority(written, report),
    )
    return Compiled(compiled, tuple(report.problems))


def _traffic(written: api.MeshConfig, report: Report) -> TrafficDefaults:
    domain, aliases = _trust_domains(written, report)
    upgrade = {None: None, "DEFAULT": None, "UPGRADE": True, "DO_NOT_UPGRADE": False}
    bare = TrafficDefaults(
        connect_timeout=timedelta(milliseconds=written.connect_timeout),
        tcp_keepalive=keepalive(written.tcp_keepalive),
    )
    default = written.default_traffic_policy or api.DefaultTrafficPolicy()
    return TrafficDefaults(
        connect_timeout=bare.connect_timeout,
        tcp_keepalive=bare.tcp_keepalive,
        auto_mtls=written.enable_auto_mtls,
        h2_upgrade=upgrade[written.h2_upgrade_policy],
        policy=TrafficPolicy(
            locality=locality_policy(written.locality_lb_setting) or LocalityPolicy(),
            zones=zone_policy(written.zone_aware_lb_setting),
            connection_pool=connection_pool(default.connection_pool, bare),
            outlier_detection=outlier_detection(default.outlier_detection),
        ),
        loopback=written.inbound_traffic_policy.mode == "LOCALHOST",
        dns_refresh=timedelta(milliseconds=written.dns_refresh_rate),
        dynamic_dns_tls=_dynamic_dns_tls(written, report.at("outboundTrafficPolicy")),
        trust_domain=domain,
        trust_domain_aliases=aliases,
        root_namespace=Namespace(written.root_namespace),
        tls=_tls(written.tls_defaults),
        inbound_stat_name=written.inbound_cluster_stat_name,
        outbound_stat_name=written.outbound_cluster_stat_name,
    )


def _trust_domains(written: api.MeshConfig, report: Report) -> tuple[str, tuple[str, ...]]:
    """The mesh's own, and those that stand for it; what SPIFFE forbids is as if not written.

    https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md#21-trust-domain
    """
    own = written.trust_domain
    if not TRUST_DOMAIN.fullmatch(own):
        own = api.MeshConfig().trust_domain
        report.at("trustDomain").error("InvalidValue", DOMAIN_HINT, f"{own} is used")
    aliases = []
    for index, alias in enumerate(written.trust_domain_aliases):
        if TRUST_DOMAIN.fullmatch(alias):
            aliases.append(alias)
        else:
            report.at(f"trustDomainAliases[{index}]").error(
                "InvalidValue", DOMAIN_HINT, "correct it"
            )
    return own, tuple(aliases)


def _dynamic_dns_tls(written: api.MeshConfig, report: Report) -> ClientTls:
    """Plaintext unless it says SIMPLE or MUTUAL: the mesh's certificates mean nothing outside."""
    policy = written.outbound_traffic_policy
    if policy.tls is None:
        return Plaintext()
    if policy.mode != "ALLOW_ANY_DYNAMIC_DNS":
        report.at("tls").warning(
            "NoEffect", f"tls has no effect with mode {policy.mode}", "write ALLOW_ANY_DYNAMIC_DNS"
        )
        return Plaintext()
    found = client_tls(policy.tls, report.at("tls"))
    if isinstance(found, OriginatedTls):
        return found
    if found is not None and not isinstance(found, Plaintext):
        report.at("tls.mode").error(
            "InvalidValue",
            f"hosts outside the mesh cannot be spoken to in mode {policy.tls.mode}",
            "write SIMPLE or MUTUAL",
        )
    return Plaintext()


def _tls(written: api.TLSConfig | None) -> TlsParameters:
    if written is None:
        return NO_PARAMETERS
    return TlsParameters(written.min_protocol_version, written.cipher_suites, written.ecdh_curves)


def _mesh_tls(written: api.TLSConfig | None, curves: Report) -> TlsParameters:
    """Of curves nothing, as in Istio: both ends are proxies, and a client's are not set."""
    if written is not None and written.ecdh_curves:
        curves.warning(
            "NoEffect",
            "mesh TLS does not heed ecdhCurves",
            "write them in tlsDefaults, or remove them",
        )
    return replace(_tls(written), curves=())


def _ingress(written: api.MeshConfig) -> IngressSettings:
    """Without a selector the gateway is called as its service, but for Istio's own."""
    default, mode = DEFAULT_INGRESS, written.ingress_controller_mode
    service = written.ingress_service or default.service
    by_service = default.selector if service == default.service else service
    return IngressSettings(
        mode=IngressMode.STRICT if mode == "UNSPECIFIED" else IngressMode(mode),
        class_name=written.ingress_class or default.class_name,
        selector=written.ingress_selector or by_service,
        service=service,
    )


def _listeners(
    written: api.MeshConfig, traffic: TrafficDefaults, report: Report
) -> ListenerSettings:
    normalization = written.path_normalization.normalization
    return ListenerSettings(
        outbound=OutboundTrafficPolicy(written.outbound_traffic_policy.mode),
        path_normalization=PathNormalization.BASE
        if normalization == "DEFAULT"
        else PathNormalization(normalization),
        detection_timeout=timedelta(milliseconds=written.protocol_detection_timeout),
        trust_domains=(traffic.trust_domain, *traffic.trust_domain_aliases),
        inbound_retries=INBOUND_RETRIES
        if written.default_inbound_http_retry_policy is None
        else retries(written.default_inbound_http_retry_policy),
        http_proxy_port=written.proxy_http_port or None,
        mesh_tls=_mesh_tls(written.mesh_mtls, report.at("meshMTLS.ecdhCurves")),
        other_tls=_tls(written.tls_defaults),
    )


def _report_tracing(written: api.MeshConfig, report: Report) -> None:
    tracing = written.default_config.tracing
    for one in tracing_mistakes(tracing, "defaultConfig.tracing") if tracing is not None else ():
        report.at(one.field).error(one.code, one.message, one.hint)
