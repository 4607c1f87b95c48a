"""DestinationRule of ``networking.istio.io``, and the traffic policy that MeshConfig shares.

Fields and defaults as in
https://istio.io/latest/docs/reference/config/networking/destination-rule/
"""

from collections.abc import Mapping
from typing import Literal

from msgspec import field

from argosy.api.meta import (
    Duration,
    Int32,
    IstioStatus,
    Object,
    Part,
    UInt32,
    UInt64,
    WorkloadSelector,
)
from argosy.api.networking_virtual_service import PortSelector

SimpleLB = Literal[
    "UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"
]
H2UpgradePolicy = Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"]
ClientTLSMode = Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"]
ProxyProtocolVersion = Literal["V1", "V2"]


class HTTPCookieAttribute(Part, frozen=True, kw_only=True):
    name: str = ""
    value: str = ""


class HTTPCookie(Part, frozen=True, kw_only=True):
    """A ``ttl`` of 0 is a session cookie; without it no cookie is generated."""

    name: str = ""
    path: str = ""
    ttl: Duration | None = None
    attributes: tuple[HTTPCookieAttribute, ...] = ()


class RingHash(Part, frozen=True, kw_only=True):
    minimum_ring_size: UInt64 = 0


class MagLev(Part, frozen=True, kw_only=True):
    table_size: UInt64 = 0


class ConsistentHashLB(Part, frozen=True, kw_only=True):
    http_header_name: str | None = None
    http_cookie: HTTPCookie | None = None
    use_source_ip: bool | None = None
    http_query_parameter_name: str | None = None
    ring_hash: RingHash | None = None
    maglev: MagLev | None = None
    minimum_ring_size: UInt64 = 0


class LocalityDistribute(Part, frozen=True, kw_only=True):
    from_: str = field(name="from", default="")
    to: Mapping[str, UInt32] = {}


class LocalityFailover(Part, frozen=True, kw_only=True):
    from_: str = field(name="from", default="")
    to: str = ""


class LocalityLoadBalancerSetting(Part, frozen=True, kw_only=True):
    distribute: tuple[LocalityDistribute, ...] = ()
    failover: tuple[LocalityFailover, ...] = ()
    failover_priority: tuple[str, ...] = ()
    enabled: bool | None = None


class ZoneAwareLoadBalancerSetting(Part, frozen=True, kw_only=True):
    enabled: bool | None = None
    failover: tuple[LocalityFailover, ...] = ()
    failover_priority: tuple[str, ...] = ()
    min_cluster_size: UInt64 | None = None


class WarmupConfiguration(Part, frozen=True, kw_only=True):
    duration: Duration
    minimum_percent: float | None = None
    aggression: float | None = None


class LoadBalancerSettings(Part, frozen=True, kw_only=True):
    simple: SimpleLB | None = None
    consistent_hash: ConsistentHashLB | None = None
    locality_lb_setting: LocalityLoadBalancerSetting | None = None
    zone_aware_lb_setting: ZoneAwareLoadBalancerSetting | None = None
    warmup_duration_secs: Duration | None = None
    warmup: WarmupConfiguration | None = None


class TcpKeepalive(Part, frozen=True, kw_only=True):
    probes: UInt32 = 0
    time: Duration | None = None
    interval: Duration | None = None


class TCPSettings(Part, frozen=True, kw_only=True):
    max_connections: Int32 = 0
    connect_timeout: Duration | None = None
    tcp_keepalive: TcpKeepalive | None = None
    max_connection_duration: Duration | None = None
    idle_timeout: Duration | None = None


class HTTP2KeepAlive(Part, frozen=True, kw_only=True):
    interval: Duration | None = None
    timeout: Duration | None = None


class HTTPSettings(Part, frozen=True, kw_only=True):
    """0 is "not set", as in protobuf."""

    http1_max_pending_requests: Int32 = 0
    http2_max_requests: Int32 = 0
    max_requests_per_connection: Int32 = 0
    max_retries: Int32 = 0
    idle_timeout: Duration | None = None
    h2_upgrade_policy: H2UpgradePolicy = "DEFAULT"
    use_client_protocol: bool = False
    max_concurrent_streams: Int32 = 0
    http2_keep_alive: HTTP2KeepAlive | None = None


class ConnectionPoolSettings(Part, frozen=True, kw_only=True):
    tcp: TCPSettings | None = None
    http: HTTPSettings | None = None


class OutlierDetection(Part, frozen=True, kw_only=True):
    consecutive_errors: Int32 = 0
    split_external_local_origin_errors: bool = False
    consecutive_local_origin_failures: UInt32 | None = None
    consecutive_gateway_errors: UInt32 | None = None
    consecutive_5xx_errors: UInt32 | None = field(name="consecutive5xxErrors", default=None)
    interval: Duration | None = None
    base_ejection_time: Duration | None = None
    max_ejection_percent: Int32 = 0
    min_health_percent: Int32 = 0
    outlier_detection_http_error_codes: tuple[UInt32, ...] = ()


class ClientTLSSettings(Part, frozen=True, kw_only=True):
    mode: ClientTLSMode = "DISABLE"
    client_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""
    ca_crl: str = ""
    credential_name: str = ""
    subject_alt_names: tuple[str, ...] = ()
    sni: str = ""
    insecure_skip_verify: bool | None = None


class PortTrafficPolicy(Part, frozen=True, kw_only=True):
    """Settings of one port; what is not set here is NOT inherited from the policy above."""

    port: PortSelector | None = None
    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLSSettings | None = None


class TunnelSettings(Part, frozen=True, kw_only=True):
    protocol: str = ""
    target_host: str = ""
    target_port: UInt32 = 0


class ProxyProtocol(Part, frozen=True, kw_only=True):
    version: ProxyProtocolVersion = "V1"


class RetryBudget(Part, frozen=True, kw_only=True):
    """``percent`` defaults to 20, ``min_retry_concurrency`` to 3."""

    percent: float | None = None
    min_retry_concurrency: UInt32 | None = None
    budget_interval: Duration | None = None


class TrafficPolicy(Part, frozen=True, kw_only=True):
    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLSSettings | None = None
    port_level_settings: tuple[PortTrafficPolicy, ...] = ()
    tunnel: TunnelSettings | None = None
    proxy_protocol: ProxyProtocol | None = None
    retry_budget: RetryBudget | None = None


class Subset(Part, frozen=True, kw_only=True):
    name: str
    labels: Mapping[str, str] = {}
    traffic_policy: TrafficPolicy | None = None


class DestinationRuleSpec(Part, frozen=True, kw_only=True):
    host: str = ""
    traffic_policy: TrafficPolicy | None = None
    subsets: tuple[Subset, ...] = ()
    export_to: tuple[str, ...] = ()
    workload_selector: WorkloadSelector | None = None


class DestinationRule(Object, frozen=True, kw_only=True):
    api_version: str = "networking.istio.io/v1"
    kind: str = "DestinationRule"
    spec: DestinationRuleSpec = DestinationRuleSpec()
    status: IstioStatus | None = None
