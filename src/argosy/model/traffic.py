"""Traffic policy: how a client reaches a service once it has decided to.

A ``Cluster`` is one outbound destination with everything resolved: which DestinationRule
applies, its subset and port overrides, the mesh's defaults, and what the endpoints can do.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from argosy.base.names import Hostname, Namespace, ObjectKey
from argosy.model.application import OWN_ADDRESS, ApplicationEndpoint
from argosy.model.locality import LocalityGroup, LocalityPolicy, ZonePolicy
from argosy.model.proxy import ClusterKey
from argosy.model.route import HashPolicy
from argosy.model.secret import AuthoritiesReference, CredentialReference, PairReference
from argosy.model.tunnel import Tunnel
from argosy.model.workload import Labels

UNLIMITED = 2**32 - 1
"""A circuit breaker that never opens: Istio's default for every limit."""


ROOT_NAMESPACE = Namespace("istio-system")
"""Where mesh-wide configuration lives unless MeshConfig says otherwise."""


class UpstreamProtocol(Enum):
    """What the proxy speaks to the endpoints."""

    TCP = "TCP"
    HTTP1 = "HTTP/1.1"
    HTTP2 = "HTTP/2"
    DOWNSTREAM = "Downstream"
    """What the client spoke: ports of undeclared protocol, and ``useClientProtocol``."""


class Discovery(Enum):
    """Where a cluster's endpoints come from."""

    EDS = "EDS"
    ORIGINAL_DST = "ORIGINAL_DST"
    """The address that the client dialled: headless services, load balancer PASSTHROUGH."""

    STRICT_DNS = "STRICT_DNS"
    """All addresses of the endpoints' names, resolved by the proxy."""

    LOGICAL_DNS = "LOGICAL_DNS"
    """One address of one name, resolved by the proxy."""

    DYNAMIC = "DYNAMIC"
    """The host that the request names, resolved by the proxy."""


# Load balancing.


@dataclass(frozen=True, slots=True)
class Warmup:
    """A new endpoint's share grows during ``window`` from ``minimum_percent`` to its full one.

    ``aggression`` 1.0 grows linearly, more grows faster at first.
    """

    window: timedelta
    minimum_percent: float = 10.0
    aggression: float = 1.0


@dataclass(frozen=True, slots=True)
class LeastRequest:
    warmup: Warmup | None = None


@dataclass(frozen=True, slots=True)
class RoundRobin:
    warmup: Warmup | None = None


@dataclass(frozen=True, slots=True)
class Random:
    pass


@dataclass(frozen=True, slots=True)
class RingHash:
    """Consistent hashing by ``key``. ``minimum_size`` None: Envoy's 1024."""

    key: HashPolicy
    minimum_size: int | None = None


@dataclass(frozen=True, slots=True)
class Maglev:
    """Consistent hashing by ``key``. ``table_size`` is a prime; None: Envoy's 65537."""

    key: HashPolicy
    table_size: int | None = None


LoadBalancer = LeastRequest | RoundRobin | Random | RingHash | Maglev


# Limits and health.


@dataclass(frozen=True, slots=True)
class TcpKeepalive:
    """None leaves the operating system's value. ``probes`` is a count."""

    probes: int | None = None
    time: timedelta | None = None
    interval: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Http2Keepalive:
    """A ping every ``interval``; no answer within ``timeout`` closes the connection."""

    interval: timedelta
    timeout: timedelta


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """Retries may be ``percent`` of the requests, and always ``minimum`` at a time.

    ``interval`` None counts the active requests, else those of the last ``interval``.
    """

    percent: float = 20.0
    minimum: int = 3
    interval: timedelta | None = None


@dataclass(frozen=True, slots=True)
class ConnectionPool:
    """Limits of one client proxy towards one cluster.

    ``max_connections``, ``max_pending_requests``, ``max_requests`` and ``max_retries`` are
    counts at a time. ``max_requests_per_connection`` and ``max_concurrent_streams`` None: no
    limit. ``tcp_idle_timeout`` is for opaque connections, ``http_idle_timeout`` for pooled
    ones; None: Envoy's one hour.
    """

    connect_timeout: timedelta = timedelta(seconds=10)
    max_connections: int = UNLIMITED
    max_pending_requests: int = UNLIMITED
    max_requests: int = UNLIMITED
    max_retries: int = UNLIMITED
    max_requests_per_connection: int | None = None
    max_concurrent_streams: int | None = None
    max_connection_duration: timedelta | None = None
    tcp_idle_timeout: timedelta | None = None
    http_idle_timeout: timedelta | None = None
    tcp_keepalive: TcpKeepalive | None = None
    http2_keepalive: Http2Keepalive | None = None


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    """When an endpoint is ejected; None leaves Envoy's default, zero switches that check off.

    ``consecutive_local_origin`` counts only if ``split_local_origin``. ``error_statuses`` redefines which
    HTTP statuses count as errors (empty: 5xx). ``minimum_health_percent``: below it, ejected
    endpoints take traffic again. ``always_one``: one may be ejected though it is more than
    ``max_ejection_percent`` of all.
    """

    consecutive_5xx: int | None = None
    consecutive_gateway: int | None = None
    consecutive_local_origin: int | None = None
    split_local_origin: bool = False
    interval: timedelta | None = None
    base_ejection: timedelta | None = None
    max_ejection_percent: int | None = None
    minimum_health_percent: int = 0
    error_statuses: tuple[int, ...] = ()
    always_one: bool = False


# Transport security.


@dataclass(frozen=True, slots=True)
class ExactName:
    """The server's certificate must carry exactly this name (DNS or URI)."""

    value: str


@dataclass(frozen=True, slots=True)
class NamePrefix:
    """The server's certificate must carry a URI that starts so."""

    value: str


PeerNames = tuple[ExactName | NamePrefix, ...]


class MeshTlsUse(Enum):
    """Which endpoints are spoken to with the workload's own certificate."""

    PER_ENDPOINT = "per endpoint"
    """Automatic mTLS: those that can take it, the others get plaintext."""

    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Plaintext:
    pass


@dataclass(frozen=True, slots=True)
class MeshTls:
    """Mesh mTLS: the workload's certificate, the mesh's root. ``peers`` is never empty.

    ``sni`` empty: Istio's name for the cluster. ``curves`` are the groups for the key exchange that
    the client offers; empty: Envoy's own.
    """

    use: MeshTlsUse
    peers: PeerNames
    sni: str = ""
    curves: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FileCertificate:
    """Paths on the proxy's machine, PEM."""

    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class OriginatedTls:
    """TLS that the proxy originates with the user's own certificates.

    ``certificate`` None: none is shown (SIMPLE). ``ca`` is a path; empty: the system's roots.
    ``sni`` empty: the request's Host, which the server's certificate must then carry unless
    ``peers`` says otherwise. ``skip_verify`` accepts any certificate.
    """

    certificate: FileCertificate | PairReference | None = None
    ca: str | AuthoritiesReference = ""
    crl: str = ""
    sni: str = ""
    peers: PeerNames = ()
    skip_verify: bool = False
    parameters: "TlsParameters | None" = None

    @property
    def references(self) -> tuple[CredentialReference, ...]:
        """The credentials that it needs."""
        found: list[CredentialReference] = []
        if isinstance(self.certificate, PairReference):
            found.append(self.certificate)
        if isinstance(self.ca, AuthoritiesReference):
            found.append(self.ca)
        return tuple(found)


@dataclass(frozen=True, slots=True)
class CredentialMissing:
    """The credentials for TLS are not there or bad: nothing is sent, in no form."""


ClientTls = Plaintext | MeshTls | OriginatedTls | CredentialMissing


@dataclass(frozen=True, slots=True)
class TlsParameters:
    """``minimum`` is Istio's name of a version; TLS_AUTO and empty lists leave things open."""

    minimum: str = "TLS_AUTO"
    ciphers: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()


NO_PARAMETERS = TlsParameters()
POST_QUANTUM = TlsParameters("TLSV1_3", curves=("X25519MLKEM768",))
"""Keys that a quantum computer of later does not find out from what is recorded today.

https://datatracker.ietf.org/doc/draft-ietf-tls-ecdhe-mlkem/
"""


@dataclass(frozen=True, slots=True)
class TerminatedTls:
    """TLS of clients outside the mesh, ended at a sidecar with the user's own files (paths).

    ``ca`` empty: clients show no certificate. ``optional``: one without is let in too.
    ``minimum`` and ``maximum`` are Istio's names of versions; TLS_AUTO leaves them open.
    """

    certificate: FileCertificate
    ca: str = ""
    crl: str = ""
    optional: bool = False
    names: tuple[str, ...] = ()
    spki: tuple[str, ...] = ()
    hashes: tuple[str, ...] = ()
    minimum: str = "TLS_AUTO"
    maximum: str = "TLS_AUTO"
    ciphers: tuple[str, ...] = ()


class ProxyProtocol(Enum):
    """The PROXY header's version, sent before everything else."""

    V1 = 1
    V2 = 2


# Policies: what a DestinationRule says, before the mesh's defaults and the endpoints.


@dataclass(frozen=True, slots=True)
class Passthrough:
    """No load balancing: to the address that the client dialled."""


@dataclass(frozen=True, slots=True)
class MeshTlsPolicy:
    """Mesh mTLS always. Empty ``sni`` and ``peers``: those of the cluster."""

    sni: str = ""
    peers: PeerNames = ()


@dataclass(frozen=True, slots=True)
class CredentialTlsPolicy:
    """TLS with the credential ``name``: for gateways, and sidecars that the rule selects.

    ``tls`` has it, ``without`` is for all other proxies. ``field`` is where it is named.
    """

    name: str
    tls: OriginatedTls
    without: OriginatedTls
    field: str


@dataclass(frozen=True, slots=True)
class PoolPolicy:
    """``pool`` has the mesh's defaults already.

    ``h2_upgrade``: HTTP/2 yes or no, None leaves it to the mesh. ``http1_limits``: a limit is
    set that means what it says only when each request has a connection of its own.
    """

    pool: ConnectionPool
    h2_upgrade: bool | None = None
    use_client_protocol: bool = False
    http1_limits: bool = False


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    """Blocks that are None are inherited; a policy of ``ports`` replaces the first six.

    ``locality`` and ``zones`` are parts of the ``load_balancer`` block, and inherited with it.
    """

    load_balancer: LoadBalancer | Passthrough | None = None
    locality: LocalityPolicy | None = None
    zones: ZonePolicy | None = None
    connection_pool: PoolPolicy | None = None
    outlier_detection: OutlierDetection | None = None
    tls: Plaintext | MeshTlsPolicy | OriginatedTls | CredentialTlsPolicy | None = None
    proxy_protocol: ProxyProtocol | None = None
    retry_budget: RetryBudget | None = None
    tunnel: Tunnel | None = None
    ports: tuple[tuple[int, "TrafficPolicy"], ...] = ()


NO_POLICY = TrafficPolicy()


@dataclass(frozen=True, slots=True)
class Subset:
    """The endpoints that carry ``labels``. ``field``: where it stands in ``rule``."""

    name: str
    labels: Labels
    policy: TrafficPolicy
    rule: ObjectKey
    field: str


@dataclass(frozen=True, slots=True)
class Destination:
    """What one DestinationRule, or several merged, say of a host.

    ``host`` may be a wildcard. ``export_to`` holds namespaces, or ``*``. ``selector`` None: for
    every client, else only for those of its own namespace that carry these labels. ``created``
    is the creation timestamp (RFC 3339, UTC). ``policy`` None: none was written.
    """

    rule: ObjectKey
    host: Hostname
    export_to: frozenset[str]
    selector: Labels | None = None
    created: str = ""
    policy: TrafficPolicy | None = None
    subsets: tuple[Subset, ...] = ()

    def get_subset(self, name: str) -> Subset | None:
        return next((s for s in self.subsets if s.name == name), None)


# Clusters.


@dataclass(frozen=True, slots=True, order=True)
class ServiceName:
    """A service as telemetry names it."""

    host: Hostname
    name: str
    namespace: Namespace


@dataclass(frozen=True, slots=True)
class Cluster:
    """One outbound destination, for the proxies of one scope.

    ``zones``: how Envoy heeds zones. ``weighted_localities``: the weights of its localities count before those of its endpoints.
    ``rule`` is the DestinationRule that decided it, if any. ``groups`` are the endpoints of a cluster
    that resolves names by itself; others get theirs apart. ``dns_refresh``: how long an answer of
    DNS holds that does not say so.
    """

    key: ClusterKey
    service: ServiceName
    protocol: UpstreamProtocol = UpstreamProtocol.HTTP1
    discovery: Discovery = Discovery.EDS
    load_balancer: LoadBalancer = LeastRequest()
    weighted_localities: bool = False
    zones: ZonePolicy | None = None
    connection_pool: ConnectionPool = ConnectionPool()
    outlier_detection: OutlierDetection | None = None
    retry_budget: RetryBudget | None = None
    tls: ClientTls = Plaintext()
    proxy_protocol: ProxyProtocol | None = None
    tunnel: Tunnel | None = None
    rule: ObjectKey | None = None
    groups: tuple[LocalityGroup, ...] = ()
    dns_refresh: timedelta = timedelta(seconds=60)
    stat_name: str = ""


@dataclass(frozen=True, slots=True)
class ApplicationCluster:
    """The application beside the proxy, by the ``port`` that it listens on.

    ``services`` name that port, sorted. ``endpoint``: where it answers, if not there.
    """

    port: int
    protocol: UpstreamProtocol
    services: tuple[ServiceName, ...] = ()
    connection_pool: ConnectionPool = ConnectionPool()
    endpoint: ApplicationEndpoint = OWN_ADDRESS
    stat_name: str = ""


@dataclass(frozen=True, slots=True)
class TrafficDefaults:
    """The mesh-wide settings that clusters depend on, with Istio's defaults.

    ``h2_upgrade`` None: HTTP/2 between sidecars, the endpoint's own protocol otherwise; True:
    HTTP/2 to every HTTP port; False: HTTP/1.1 unless the port is declared HTTP/2. ``policy`` holds
    for every block that no DestinationRule sets. ``loopback``: applications are reached at 127.0.0.1.
    ``dynamic_dns_tls``: how unknown hosts are spoken to under ALLOW_ANY_DYNAMIC_DNS.
    ``tls`` holds for TLS that is not the mesh's, ``mesh_curves`` for clients of the mesh's. The ``..._stat_name`` are patterns of what
    clusters are called in statistics; empty: by their names. Certificates of servers may name
    any of ``trust_domain`` and its ``trust_domain_aliases``.
    https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig
    """

    connect_timeout: timedelta = timedelta(seconds=10)
    tcp_keepalive: TcpKeepalive | None = None
    auto_mtls: bool = True
    h2_upgrade: bool | None = None
    policy: TrafficPolicy = TrafficPolicy(locality=LocalityPolicy())
    loopback: bool = False
    trust_domain: str = "cluster.local"
    trust_domain_aliases: tuple[str, ...] = ()
    root_namespace: Namespace = ROOT_NAMESPACE
    dns_refresh: timedelta = timedelta(seconds=60)
    dynamic_dns_tls: ClientTls = Plaintext()
    tls: TlsParameters = NO_PARAMETERS
    mesh_curves: tuple[str, ...] = ()
    inbound_stat_name: str = ""
    outbound_stat_name: str = ""
