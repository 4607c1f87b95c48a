"""Ingress gateways: the listeners that gateway proxies open, and whose rules they follow."""

from dataclasses import dataclass

from argosy.base.names import Hostname, ObjectKey
from argosy.model.listener import GatewayRoutes, TcpForward
from argosy.model.route import RouteServer
from argosy.model.service import Protocol


@dataclass(frozen=True, slots=True)
class GatewayServer:
    """One server of one Gateway, as written; hosts resolved, port not yet.

    ``hosts`` are pairs of the namespace whose VirtualServices may bind (``*``: any) and the host.
    ``field`` is where it stands: ``spec.servers[0]``. ``bind`` empty: every address.
    ``https_redirect``: plain HTTP is answered with a redirect to HTTPS.
    """

    gateway: ObjectKey
    field: str
    name: str
    port: int
    protocol: Protocol
    hosts: tuple[tuple[str, Hostname], ...]
    bind: str = ""
    https_redirect: bool = False


@dataclass(frozen=True, slots=True)
class GatewayHttp:
    """Requests are routed by the virtual hosts of ``servers``, which share one route table.

    ``grpc_web``: gRPC-Web is turned into gRPC.
    """

    routes: GatewayRoutes
    servers: tuple[RouteServer, ...]
    grpc_web: bool = False


@dataclass(frozen=True, slots=True)
class GatewayTcp:
    """Opaque bytes. ``forward`` None: no VirtualService routes this server, so no listener."""

    server: GatewayServer
    forward: TcpForward | None


@dataclass(frozen=True, slots=True)
class GatewayListener:
    """``port`` is the one that the proxy opens: the gateway Service's target port."""

    address: str
    port: int
    serves: GatewayHttp | GatewayTcp
