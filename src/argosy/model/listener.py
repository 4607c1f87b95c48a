"""Listeners: where a proxy accepts connections, and what it does with their bytes."""

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from argosy.base.names import Hostname
from argosy.model.authn import MtlsMode
from argosy.model.authz import NO_AUTHORIZATION, Authorization
from argosy.model.proxy import ClusterKey
from argosy.model.proxy_traffic import (
    USUAL_CAPTURE,
    USUAL_TRAFFIC,
    CapturePorts,
    ProxyTraffic,
)
from argosy.model.rate_limit import Limit
from argosy.model.request_authn import RequestAuthn
from argosy.model.route import RetryPolicy
from argosy.model.service import Protocol
from argosy.model.telemetry import NO_TELEMETRY, Telemetry
from argosy.model.traffic import NO_PARAMETERS, TerminatedTls, TlsParameters
from argosy.model.tunnel import Tunnel

WILDCARD = "0.0.0.0"
"""The address of a listener for every destination address on its port."""


def reserved_ports(capture: CapturePorts = USUAL_CAPTURE) -> frozenset[int]:
    """Ports that the proxy itself listens on, at the wildcard address.

    https://istio.io/latest/docs/ops/deployment/application-requirements/#ports-used-by-istio
    """
    return frozenset({capture.outbound, capture.inbound, 15021, 15090})


class OutboundTrafficPolicy(Enum):
    """What a sidecar does with destinations that the mesh does not know."""

    ALLOW_ANY = "ALLOW_ANY"
    REGISTRY_ONLY = "REGISTRY_ONLY"
    ALLOW_ANY_DYNAMIC_DNS = "ALLOW_ANY_DYNAMIC_DNS"
    """As ALLOW_ANY, but the Host of an HTTP request is resolved, whatever address was dialled."""


class PathNormalization(Enum):
    """How paths are rewritten before they are matched.

    https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-ProxyPathNormalization-NormalizationType
    """

    NONE = "NONE"
    BASE = "BASE"
    MERGE_SLASHES = "MERGE_SLASHES"
    DECODE_AND_MERGE_SLASHES = "DECODE_AND_MERGE_SLASHES"


INBOUND_RETRIES = RetryPolicy(attempts=2, retry_on="reset-before-request")
"""A pooled connection that the application closed just now: it has not seen the request."""


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """The mesh-wide settings that listeners depend on, with Istio's defaults.

    ``detection_timeout``: how long to wait for a client's first bytes on a port whose protocol is
    detected; zero waits for ever, anything else treats a slow client's bytes as opaque.
    ``http10``: answer HTTP/1.0 instead of refusing it. ``trusted_proxies``: how many proxies in
    front of the gateways may append to X-Forwarded-For. ``trust_domains``: whose certificates
    workloads accept. ``egress_proxy``: where unknown destinations' traffic goes, if not there.
    ``dynamic_hosts``: routes may lead to hosts that are resolved when a request names them.
    ``http_proxy_port``: every sidecar is an HTTP proxy at this port of 127.0.0.1.
    ``proxy`` is what the one proxy's own configuration says.
    ``authorization``: who may call the one workload, or pass the one gateway.
    ``request_authn``: what its tokens of end users must be. ``limits``: how many requests it takes, or sends.
    ``inbound_retries``: when a workload's proxy asks its application again. ``mesh_tls`` is what
    servers accept of mesh mTLS, ``other_tls`` of any other. ``telemetry`` is what is reported of
    the side of the proxy that the listener is for.
    """

    outbound: OutboundTrafficPolicy = OutboundTrafficPolicy.ALLOW_ANY
    path_normalization: PathNormalization = PathNormalization.BASE
    detection_timeout: timedelta = timedelta(0)
    http10: bool = False
    trusted_proxies: int = 0
    trust_domains: tuple[str, ...] = ("cluster.local",)
    egress_proxy: ClusterKey | None = None
    proxy: ProxyTraffic = USUAL_TRAFFIC
    request_authn: RequestAuthn | None = None
    dynamic_hosts: bool = False
    inbound_retries: RetryPolicy | None = INBOUND_RETRIES
    http_proxy_port: int | None = None
    mesh_tls: TlsParameters = NO_PARAMETERS
    other_tls: TlsParameters = NO_PARAMETERS
    authorization: Authorization = NO_AUTHORIZATION
    telemetry: Telemetry = NO_TELEMETRY
    limits: tuple[Limit, ...] = ()


# Where requests are routed by: the key of a route table.


@dataclass(frozen=True, slots=True)
class PortRoutes:
    """All HTTP services of a port: Istio's ``9080``."""

    port: int


@dataclass(frozen=True, slots=True)
class HostRoutes:
    """One service port of undeclared protocol: Istio's ``<host>:<port>``."""

    host: Hostname
    port: int


@dataclass(frozen=True, slots=True)
class GatewayRoutes:
    """The plain HTTP servers of a gateway's port: Istio's ``http.8080``.

    ``bind`` is the address that the servers ask for, if they do.
    """

    port: int
    bind: str = ""


@dataclass(frozen=True, slots=True)
class SocketRoutes:
    """All HTTP ports that are served at a UNIX socket; ``bind`` is ``unix://<path>``."""

    bind: str


@dataclass(frozen=True, slots=True)
class MeshProxyRoutes:
    """All HTTP ports that a sidecar sees, asked for as of an HTTP proxy: Istio's ``http_proxy``."""


@dataclass(frozen=True, slots=True)
class HttpsRoutes:
    """One server of a Gateway that ends TLS: Istio's ``https.443.https.my-gateway.default``.

    ``port`` is the server's own number, not the one that the proxy opens.
    """

    port: int
    port_name: str
    gateway: str
    namespace: str


RouteTableKey = (
    MeshProxyRoutes | PortRoutes | HostRoutes | GatewayRoutes | SocketRoutes | HttpsRoutes
)


# What happens to opaque bytes.


@dataclass(frozen=True, slots=True)
class TcpTarget:
    cluster: ClusterKey
    weight: int = 1


@dataclass(frozen=True, slots=True)
class TcpForward:
    """Opaque bytes go to one of ``targets`` (at least one, each weight at least 1), by weight.

    ``opaque_to_detecting`` says that the server detects the protocol on that port, so mesh TLS
    must tell it that these bytes are not HTTP. ``idle_timeout`` None: Envoy's one hour.
    ``tunnel``: the targets are forward proxies, which are asked to go on.
    ``stat_prefix`` empty: the name of the first target's cluster, or of its service if several.
    ``dynamic_port``: the host is the one that the TLS client names, at this port.
    """

    targets: tuple[TcpTarget, ...]
    opaque_to_detecting: bool = False
    source_ip_hash: bool = False
    idle_timeout: timedelta | None = None
    max_duration: timedelta | None = None
    stat_prefix: str = ""
    tunnel: Tunnel | None = None
    dynamic_port: int | None = None


# A sidecar's outbound listeners.


@dataclass(frozen=True, slots=True)
class OpaqueChain:
    """Some connections of a listener: for one of several services, or as a rule says.

    Those dialled to an address of ``networks`` (empty: any) by TLS clients that name one of
    ``server_names`` (empty: any client).
    """

    tcp: TcpForward
    networks: tuple[str, ...] = ()
    server_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OpaqueListener:
    """Every connection to ``address:port`` is opaque.

    Those that none of ``chains`` is for take ``tcp``; None: they go where destinations unknown to
    the mesh go. ``bound``, here and below: it has a socket; others get their connections by capture. The
    address of one that is bound may be ``unix://<path>``, with port 0.
    """

    address: str
    port: int
    tcp: TcpForward | None
    bound: bool = False
    chains: tuple[OpaqueChain, ...] = ()


@dataclass(frozen=True, slots=True)
class DetectingListener:
    """Connections that speak HTTP/1.1 or HTTP/2 are routed by ``routes``, all others by ``tcp``.

    ``tcp`` None: they go where destinations unknown to the mesh go. So does everything that is not
    HTTP at the wildcard address, which serves the declared HTTP services of a port: the client
    may mean a host outside, such as one that speaks TLS. ``chains`` come before both.
    """

    address: str
    port: int
    routes: RouteTableKey
    tcp: TcpForward | None
    bound: bool = False
    chains: tuple[OpaqueChain, ...] = ()


@dataclass(frozen=True, slots=True)
class HttpListener:
    """Every connection is HTTP. ``absolute_urls``: clients take it for their HTTP proxy."""

    address: str
    port: int
    routes: RouteTableKey
    absolute_urls: bool = False
    bound: bool = False


OutboundListener = OpaqueListener | DetectingListener | HttpListener


# A sidecar's inbound listener.


@dataclass(frozen=True, slots=True)
class InboundPort:
    """A port that the workload answers on, as the oldest service that names it sees it.

    ``port`` is the workload's, ``service_port`` the service's number. ``tls``: clients outside the
    mesh speak TLS, which ends here if ``mtls`` is DISABLE. ``bind``: the address of a socket that
    the proxy has for it besides; empty: none, all connections are captured. ``name`` is what a
    Sidecar calls it; None: it is as the service has it.
    """

    port: int
    service_port: int
    host: Hostname
    protocol: Protocol
    mtls: MtlsMode
    tls: TerminatedTls | None = None
    bind: str = ""
    name: str | None = None


@dataclass(frozen=True, slots=True)
class UnknownPort:
    """Ports that no service names: ``port`` None is every one of them."""

    port: int | None
    mtls: MtlsMode


@dataclass(frozen=True, slots=True)
class InboundListener:
    """``ports`` and ``unknown`` are sorted by port, no port twice; ``unknown`` has None first."""

    ports: tuple[InboundPort, ...]
    unknown: tuple[UnknownPort, ...]
