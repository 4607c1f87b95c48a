"""Gateways: the listeners that gateway proxies open, and whose rules they follow."""

from dataclasses import dataclass

from argosy.base.names import Hostname, ObjectKey
from argosy.model.listener import GatewayRoutes, HttpsRoutes, OpaqueChain
from argosy.model.route import RouteServer
from argosy.model.server_tls import ServerTls, TerminatedTls
from argosy.model.service import Protocol


@dataclass(frozen=True, slots=True)
class GatewayServer:
    """One server of one Gateway, as written; hosts resolved, port not yet.

    ``hosts`` are pairs of the namespace whose VirtualServices may bind (``*``: any) and the host.
    ``field`` is where it stands: ``spec.servers[0]``. ``bind`` empty: every address.
    ``https_redirect``: plain HTTP is answered with a redirect to HTTPS. ``tls`` None: plain text.
    """

    gateway: ObjectKey
    field: str
    name: str
    port: int
    protocol: Protocol
    hosts: tuple[tuple[str, Hostname], ...]
    bind: str = ""
    https_redirect: bool = False
    port_name: str = ""
    tls: ServerTls | None = None

    @property
    def is_routed_http(self) -> bool:
        """Whether its requests are routed one by one: plain HTTP, and HTTPS that ends here."""
        if self.protocol is Protocol.HTTPS:
            return isinstance(self.tls, TerminatedTls)
        return self.protocol.is_http


@dataclass(frozen=True, slots=True)
class GatewayHttp:
    """Requests are routed by the virtual hosts of ``servers``, which share one route table.

    ``grpc_web``: gRPC-Web is turned into gRPC.
    """

    routes: GatewayRoutes | HttpsRoutes
    servers: tuple[RouteServer, ...]
    grpc_web: bool = False


@dataclass(frozen=True, slots=True)
class GatewayTcp:
    """Opaque bytes. No ``chains``: no VirtualService routes this server, so no listener."""

    server: GatewayServer
    chains: tuple[OpaqueChain, ...]


@dataclass(frozen=True, slots=True)
class SniForward:
    """To the cluster that the server name of mesh TLS names."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Closed at once: the server that these names belong to has no certificate that it may show."""


@dataclass(frozen=True, slots=True)
class TlsChain:
    """TLS connections that ask for one of ``server_names`` (empty: all others).

    ``networks`` as in OpaqueChain. ``tls`` None: the bytes go on as they are.
    """

    server_names: tuple[str, ...]
    networks: tuple[str, ...]
    tls: TerminatedTls | None
    serves: GatewayHttp | OpaqueChain | SniForward | Refusal


@dataclass(frozen=True, slots=True)
class GatewayTls:
    """Servers told apart by server name; no name and subnet is in two ``chains``."""

    chains: tuple[TlsChain, ...]


@dataclass(frozen=True, slots=True)
class GatewayListener:
    """``port`` is the one that the proxy opens: the gateway Service's target port."""

    address: str
    port: int
    serves: GatewayHttp | GatewayTcp | GatewayTls

    @property
    def tables(self) -> tuple[GatewayHttp, ...]:
        """Everything of it that is routed by requests."""
        match self.serves:
            case GatewayHttp():
                return (self.serves,)
            case GatewayTls(chains):
                return tuple(c.serves for c in chains if isinstance(c.serves, GatewayHttp))
            case _:
                return ()
