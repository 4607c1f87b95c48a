"""Services: what clients call."""

from dataclasses import dataclass
from enum import Enum

from argosy.base.names import Hostname, Namespace, ObjectKey


class Protocol(Enum):
    """The protocol of a service port, as Istio selects it.

    From ``appProtocol`` or the port's name (``<protocol>[-<suffix>]``); AUTO means that the
    proxy detects HTTP/1.1 and HTTP/2 and treats all else as TCP.
    https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/
    """

    HTTP = "HTTP"
    HTTP2 = "HTTP2"
    GRPC = "GRPC"
    GRPC_WEB = "GRPC-Web"
    HTTPS = "HTTPS"
    TLS = "TLS"
    TCP = "TCP"
    MONGO = "Mongo"
    REDIS = "Redis"
    MYSQL = "MySQL"
    UDP = "UDP"
    AUTO = "Auto"

    @property
    def is_http(self) -> bool:
        """Declared HTTP of any version; AUTO is not."""
        return self in (Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC, Protocol.GRPC_WEB)

    @property
    def is_http2(self) -> bool:
        return self in (Protocol.HTTP2, Protocol.GRPC, Protocol.GRPC_WEB)

    @property
    def is_tcp(self) -> bool:
        """Opaque to the proxy: everything that is neither HTTP, AUTO nor UDP."""
        return not self.is_http and self not in (Protocol.AUTO, Protocol.UDP)


class Resolution(Enum):
    """How a client's proxy finds the endpoints of a service.

    https://istio.io/latest/docs/reference/config/networking/service-entry/#ServiceEntry-Resolution
    """

    ENDPOINTS = "ENDPOINTS"
    """The control plane knows them: Kubernetes Services, and STATIC entries."""

    NONE = "NONE"
    """The client has found one itself: on to the address that it dialled."""

    DNS = "DNS"
    """Every address that the endpoints' names have."""

    DNS_ROUND_ROBIN = "DNS_ROUND_ROBIN"
    """Whatever address DNS names first when a connection is made."""

    DYNAMIC_DNS = "DYNAMIC_DNS"
    """The host that the request or the TLS client names, resolved when it comes."""

    @property
    def is_dns(self) -> bool:
        return self in (Resolution.DNS, Resolution.DNS_ROUND_ROBIN)


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port. ``target`` is a port number, or the name of a container port."""

    number: int
    name: str
    protocol: Protocol
    target: int | str


@dataclass(frozen=True, slots=True)
class Service:
    """A service by its fully qualified host name, or a wildcard of such names.

    ``addresses`` are its virtual IPs (none when headless) and, of entries, networks. ``selector``
    is a sorted tuple of label pairs; empty selects nothing. ``export_to`` holds namespaces, or
    ``*``. ``entry`` is the ServiceEntry that defines it; None: a Kubernetes Service does.
    ``external``: outside the mesh, so mesh mTLS is never tried. ``peers`` are names that the
    servers' certificates carry besides those of the endpoints' identities. ``allocated``: the
    addresses are the mesh's own, so clients that ask other resolvers dial others.
    ``external_name``: the service is but another name for that host.
    """

    hostname: Hostname
    name: str
    namespace: Namespace
    ports: tuple[ServicePort, ...]
    addresses: tuple[str, ...] = ()
    selector: tuple[tuple[str, str], ...] = ()
    headless: bool = False
    publish_not_ready: bool = False
    export_to: frozenset[str] = frozenset({"*"})
    resolution: Resolution = Resolution.ENDPOINTS
    external: bool = False
    peers: tuple[str, ...] = ()
    entry: ObjectKey | None = None
    allocated: bool = False
    external_name: str = ""

    @property
    def owner(self) -> ObjectKey:
        """The object that defines it."""
        return self.entry or ObjectKey("Service", self.namespace, self.name)

    def get_port(self, number: int) -> ServicePort | None:
        return next((p for p in self.ports if p.number == number), None)
