"""MeshConfig: the mesh-wide settings, as Istio keeps them.

They are the text of key ``mesh`` in ConfigMap ``istio`` of namespace ``istio-system``. Fields and
defaults as in https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/; only those that
Argosy heeds are here, so any other is reported as having no effect.
"""

from typing import Literal, TypeVar

import msgspec
from msgspec import field

from argosy.api.argosy_config import ARGOSY_CONFIG_KEY, ArgosyConfig
from argosy.api.core import ConfigMap
from argosy.api.extension_providers import ExtensionProvider, check_providers
from argosy.api.meta import Duration, KubernetesPart, LabelSelector, UInt32
from argosy.api.networking_destination_rule import (
    ClientTLSSettings,
    ConnectionPoolSettings,
    H2UpgradePolicy,
    LocalityLoadBalancerSetting,
    OutlierDetection,
    TcpKeepalive,
    ZoneAwareLoadBalancerSetting,
)
from argosy.api.networking_gateway import TLSProtocol
from argosy.api.networking_virtual_service import HTTPRetry
from argosy.api.proxy_config import ProxyConfig
from argosy.api.typed import Mistake, checked, decode_hook
from argosy.api.yaml_document import YamlError, documents
from argosy.base.problems import Compiled, Problem, Severity

CONFIG_MAP_NAMESPACE = "istio-system"
CONFIG_MAP_NAME = "istio"
CONFIG_MAP_KEY = "mesh"
NETWORKS_KEY = "meshNetworks"

_Settings = TypeVar("_Settings", bound=msgspec.Struct)

OutboundMode = Literal["REGISTRY_ONLY", "ALLOW_ANY", "ALLOW_ANY_DYNAMIC_DNS"]
InboundMode = Literal["PASSTHROUGH", "LOCALHOST"]
Normalization = Literal["DEFAULT", "NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"]
AccessLogEncoding = Literal["TEXT", "JSON"]
IngressControllerMode = Literal["UNSPECIFIED", "OFF", "DEFAULT", "STRICT"]


class OutboundTrafficPolicy(KubernetesPart, frozen=True, kw_only=True):
    """``tls`` is for hosts that ALLOW_ANY_DYNAMIC_DNS resolves."""

    mode: OutboundMode = "ALLOW_ANY"
    tls: ClientTLSSettings | None = None


class InboundTrafficPolicy(KubernetesPart, frozen=True, kw_only=True):
    mode: InboundMode = "PASSTHROUGH"


class PathNormalization(KubernetesPart, frozen=True, kw_only=True):
    """DEFAULT is BASE."""

    normalization: Normalization = "DEFAULT"


class TLSConfig(KubernetesPart, frozen=True, kw_only=True):
    min_protocol_version: TLSProtocol = "TLS_AUTO"
    cipher_suites: tuple[str, ...] = ()
    ecdh_curves: tuple[str, ...] = ()


class DefaultTrafficPolicy(KubernetesPart, frozen=True, kw_only=True):
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None


class ServiceScope(KubernetesPart, frozen=True, kw_only=True):
    cluster_local: bool = False


class ServiceSettings(KubernetesPart, frozen=True, kw_only=True):
    settings: ServiceScope = ServiceScope()
    hosts: tuple[str, ...] = ()


class CertificateData(KubernetesPart, frozen=True, kw_only=True):
    """Roots of others. Without ``trust_domains`` they are trusted for the mesh's own.

    With ``cert_signers`` only by workloads whose certificates are of one of these signers.
    """

    pem: str = ""
    spiffe_bundle_url: str = ""
    cert_signers: tuple[str, ...] = ()
    trust_domains: tuple[str, ...] = ()


class DefaultProviders(KubernetesPart, frozen=True, kw_only=True):
    """Names of providers, for what no Telemetry names any; an empty list is nobody."""

    tracing: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ("prometheus",)
    access_logging: tuple[str, ...] = ()


class CertificateAuthority(KubernetesPart, frozen=True, kw_only=True):
    """``address`` is host:port. ``istiod_side``: the control plane asks it, not the agents."""

    address: str
    tls_settings: ClientTLSSettings | None = None
    request_timeout: Duration = Duration(10_000)
    istiod_side: bool = True


class MeshConfig(KubernetesPart, frozen=True, kw_only=True):
    """Durations are in ms. Empty ``default_..._export_to`` means everywhere (``*``).

    Without ``h2_upgrade_policy`` sidecars speak HTTP/2 among themselves: Istio would not.
    """

    proxy_listen_port: UInt32 = 15001
    proxy_inbound_listen_port: UInt32 = 15006
    proxy_http_port: UInt32 = 0
    connect_timeout: Duration = Duration(10_000)
    protocol_detection_timeout: Duration = Duration(0)
    dns_refresh_rate: Duration = Duration(60_000)
    tcp_keepalive: TcpKeepalive | None = None
    outbound_traffic_policy: OutboundTrafficPolicy = OutboundTrafficPolicy()
    inbound_traffic_policy: InboundTrafficPolicy = InboundTrafficPolicy()
    enable_auto_mtls: bool = True
    trust_domain: str = "cluster.local"
    trust_domain_aliases: tuple[str, ...] = ()
    ca_certificates: tuple[CertificateData, ...] = ()
    ca: CertificateAuthority | None = None
    root_namespace: str = "istio-system"
    default_service_export_to: tuple[str, ...] = ()
    default_virtual_service_export_to: tuple[str, ...] = ()
    default_destination_rule_export_to: tuple[str, ...] = ()
    ingress_class: str = "istio"
    ingress_service: str = "istio-ingressgateway"
    ingress_controller_mode: IngressControllerMode = "STRICT"
    ingress_selector: str = ""
    locality_lb_setting: LocalityLoadBalancerSetting | None = None
    zone_aware_lb_setting: ZoneAwareLoadBalancerSetting | None = None
    h2_upgrade_policy: H2UpgradePolicy | None = None
    path_normalization: PathNormalization = PathNormalization()
    default_http_retry_policy: HTTPRetry | None = None
    default_inbound_http_retry_policy: HTTPRetry | None = None
    inbound_cluster_stat_name: str = ""
    outbound_cluster_stat_name: str = ""
    service_settings: tuple[ServiceSettings, ...] = ()
    discovery_selectors: tuple[LabelSelector, ...] = ()
    default_traffic_policy: DefaultTrafficPolicy | None = None
    mesh_mtls: TLSConfig | None = field(name="meshMTLS", default=None)
    tls_defaults: TLSConfig | None = None
    access_log_file: str = ""
    access_log_format: str = ""
    access_log_encoding: AccessLogEncoding = "TEXT"
    enable_envoy_access_log_service: bool = False
    disable_envoy_listener_log: bool = False
    enable_tracing: bool = False
    default_providers: DefaultProviders = DefaultProviders()
    enable_prometheus_merge: bool = True
    default_config: ProxyConfig = ProxyConfig()
    extension_providers: tuple[ExtensionProvider, ...] = ()


def is_mesh_config(config_map: ConfigMap) -> bool:
    """Whether it is the one ConfigMap that holds the mesh's settings."""
    metadata = config_map.metadata
    return (metadata.namespace, metadata.name) == (CONFIG_MAP_NAMESPACE, CONFIG_MAP_NAME)


def has_networks(config_map: ConfigMap) -> bool:
    """Whether MeshNetworks beside MeshConfig has any; Istio's own installation writes none.

    https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshNetworks
    """
    return any(
        not isinstance(document, YamlError)
        and isinstance(document.data, dict)
        and bool(document.data.get("networks"))
        for document in documents(config_map.data.get(NETWORKS_KEY, ""))
    )


def mesh_config(config_map: ConfigMap) -> Compiled[MeshConfig | None]:
    """The settings in a ConfigMap: None when they have errors, the defaults when there are none."""
    return _settings(config_map, CONFIG_MAP_KEY, MeshConfig)


def argosy_config(config_map: ConfigMap) -> Compiled[ArgosyConfig | None]:
    """Likewise Argosy's own."""
    return _settings(config_map, ARGOSY_CONFIG_KEY, ArgosyConfig)


def _settings(
    config_map: ConfigMap, key: str, struct: type[_Settings]
) -> Compiled[_Settings | None]:
    path = f"data.{key}"
    mistakes: list[Mistake] = []
    data: object = {}
    for document in documents(config_map.data.get(key, "")):
        errors = [document] if isinstance(document, YamlError) else document.problems
        for error in errors:
            message = f"line {error.line} of it: {error.message}"
            mistakes.append(Mistake(path, error.code, message, error.hint))
        data = {} if isinstance(document, YamlError) else document.data or {}
    cleaned, found = checked(data, struct, path)
    mistakes += found
    written = None
    if not any(m.severity is Severity.ERROR for m in mistakes):
        written = msgspec.convert(cleaned, struct, dec_hook=decode_hook)
        if isinstance(written, MeshConfig):
            mistakes += check_providers(written.extension_providers, f"{path}.extensionProviders")
    problems = tuple(
        Problem(config_map.key, m.field, m.code, m.message, m.hint, m.severity) for m in mistakes
    )
    if any(m.severity is Severity.ERROR for m in mistakes):
        return Compiled(None, problems)
    return Compiled(written, problems)
