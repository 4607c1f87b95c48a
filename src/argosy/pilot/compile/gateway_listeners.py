"""The servers of all Gateways that a proxy opens → its listeners.

Of several Gateways on one port, plain HTTP servers are merged into one route table, TLS servers are
told apart by server name, and everything else belongs to the oldest.
https://istio.io/latest/docs/reference/config/networking/gateway/
"""

from collections.abc import Callable, Iterable, Sequence

from argosy.base.names import Hostname
from argosy.base.problems import Compiled, Problem, Severity
from argosy.model.gateway import (
    GatewayHttp,
    GatewayListener,
    GatewayServer,
    GatewayTcp,
    GatewayTls,
    Refusal,
    SniForward,
    TlsChain,
)
from argosy.model.listener import WILDCARD, GatewayRoutes, HttpsRoutes, OpaqueChain
from argosy.model.route import RouteServer
from argosy.model.server_tls import AutoPassthroughTls, PassthroughTls, TerminatedTls
from argosy.model.service import Protocol
from argosy.pilot.compile.listeners import Site
from argosy.pilot.compile.tcp_routes import unclaimed

PROXY_PORTS = frozenset({15000, 15020, 15021, 15090})
"""What a gateway proxy opens for itself: administration, health and metrics."""

Forwarding = Callable[[GatewayServer], tuple[OpaqueChain, ...]]
"""Where a server's opaque bytes go; empty when no VirtualService routes them."""

IsUsable = Callable[[GatewayServer], bool]
"""Whether the certificates that a server needs are there."""


def always_usable(_: GatewayServer) -> bool:
    return True


def gateway_listeners(
    servers: Iterable[GatewayServer],
    port_of: Callable[[int], int],
    forward: Forwarding,
    is_usable: IsUsable = always_usable,
) -> Compiled[tuple[GatewayListener, ...]]:
    """The listeners of one gateway proxy, sorted by address and port.

    ``servers`` are those of all Gateways that select it, the oldest Gateway's first. ``port_of``
    is ``listen_port`` of the proxy. That a server's certificates are missing is not reported here.
    """
    placed: dict[Site, list[GatewayServer]] = {}
    problems: list[Problem] = []
    for server in servers:
        site = Site(server.bind or WILDCARD, port_of(server.port))
        if site.port in PROXY_PORTS:
            problems.append(_reserved(server, site.port))
            continue
        present = placed.setdefault(site, [])
        if present and not _go_together(present[0], server):
            problems.append(_conflict(server, present[0], site))
            continue
        present.append(server)
    listeners = []
    for site, present in sorted(placed.items()):
        first = present[0]
        if first.tls is not None:
            chains = _tls_chains(present, forward, is_usable, problems)
            if any(not isinstance(chain.serves, Refusal) for chain in chains):
                listeners.append(GatewayListener(*site, GatewayTls(chains)))
        elif first.protocol.is_http:
            listeners.append(GatewayListener(*site, _plain_http(site, present)))
        else:
            found = forward(first)
            if found:
                listeners.append(GatewayListener(*site, GatewayTcp(first, found)))
            else:
                problems.append(_unrouted(first))
    return Compiled(tuple(listeners), tuple(problems))


def _go_together(one: GatewayServer, other: GatewayServer) -> bool:
    if one.tls is None or other.tls is None:
        return one.tls is other.tls and one.protocol.is_http and other.protocol.is_http
    return True


def _plain_http(site: Site, servers: Sequence[GatewayServer]) -> GatewayHttp:
    return GatewayHttp(
        routes=GatewayRoutes(site.port, servers[0].bind),
        servers=tuple(_route_server(server) for server in servers),
        grpc_web=any(server.protocol is Protocol.GRPC_WEB for server in servers),
    )


def _route_server(server: GatewayServer) -> RouteServer:
    return RouteServer(
        gateway=f"{server.gateway.namespace}/{server.gateway.name}",
        port=server.port,
        hosts=server.hosts,
        tls=server.tls is not None,
        https_redirect=server.https_redirect,
    )


# Servers behind one port, told apart by server name.


def _tls_chains(
    servers: Sequence[GatewayServer],
    forward: Forwarding,
    is_usable: IsUsable,
    problems: list[Problem],
) -> tuple[TlsChain, ...]:
    taken: set[tuple[str, str]] = set()
    owners: dict[str, GatewayServer] = {}
    chains: list[TlsChain] = []
    for server in servers:
        wanted = _chains_of(server, forward, is_usable)
        if not wanted:
            problems.append(_unrouted(server))
        lost: list[str] = []
        for chain in wanted:
            free = unclaimed(chain.server_names, chain.networks, taken)
            kept = {name for names, _ in free for name in names or ("",)}
            lost += [name for name in chain.server_names or ("",) if name not in kept]
            for names, subnets in free:
                for name in names or (Hostname(""),):
                    owners.setdefault(name, server)
                if names or subnets or not isinstance(chain.serves, Refusal):
                    chains.append(TlsChain(names, subnets, chain.tls, chain.serves))
        problems += [
            _duplicate(server, name, owners[name])
            for name in dict.fromkeys(lost)
            if owners[name] is not server
        ]
    return tuple(chains)


def _chains_of(
    server: GatewayServer, forward: Forwarding, is_usable: IsUsable
) -> tuple[TlsChain, ...]:
    """Before others' claims. The names of a server without certificate are refused.

    Otherwise a wildcard server beside it would answer for them.
    """
    names = _server_names(server)
    match server.tls:
        case TerminatedTls() if not is_usable(server):
            return (TlsChain(names, (), None, Refusal()),)
        case TerminatedTls() if server.is_routed_http:
            routes = HttpsRoutes(
                server.port, server.port_name, server.gateway.name, server.gateway.namespace
            )
            http = GatewayHttp(routes, (_route_server(server),))
            return (TlsChain(names, (), server.tls, http),)
        case TerminatedTls():
            return tuple(
                TlsChain(names, chain.networks, server.tls, chain) for chain in forward(server)
            )
        case PassthroughTls():
            return tuple(
                TlsChain(chain.server_names, chain.networks, None, chain)
                for chain in forward(server)
            )
        case AutoPassthroughTls():
            return (TlsChain(names, (), None, SniForward()),)
        case None:
            raise AssertionError("a plain server among those with TLS")


def _server_names(server: GatewayServer) -> tuple[Hostname, ...]:
    names = tuple(dict.fromkeys(host for _, host in server.hosts))
    return () if "*" in names else names


# What goes wrong between them.


def _reserved(server: GatewayServer, port: int) -> Problem:
    return Problem(
        server.gateway,
        f"{server.field}.port.number",
        "ReservedPort",
        f"port {port} is the gateway proxy's own, so this server is not opened",
        "choose another port, or another targetPort in the gateway's Service",
    )


def _conflict(server: GatewayServer, winner: GatewayServer, site: Site) -> Problem:
    return Problem(
        server.gateway,
        f"{server.field}.port",
        "PortConflict",
        f"port {site.port} serves {_spoken(winner)} for {winner.gateway} already; "
        f"{_spoken(server)} cannot share it, so this server is not opened",
        "use another port: only plain HTTP servers can share one, and TLS servers",
    )


def _spoken(server: GatewayServer) -> str:
    return server.protocol.value if server.tls is None else f"{server.protocol.value} (TLS)"


def _duplicate(server: GatewayServer, name: str, winner: GatewayServer) -> Problem:
    about = f"the host {name}" if name else "every host"
    return Problem(
        server.gateway,
        f"{server.field}.hosts",
        "DuplicateHost",
        f"{winner.field} of {winner.gateway} serves {about} on this port already, "
        "so this server does not",
        "give each host of a port to one server",
    )


def _unrouted(server: GatewayServer) -> Problem:
    kind = "tls" if isinstance(server.tls, PassthroughTls) else "tcp"
    return Problem(
        server.gateway,
        server.field,
        "NoTcpRoute" if kind == "tcp" else "NoTlsRoute",
        f"no VirtualService with a {kind} rule is bound to this server, so it is not opened",
        "bind one with spec.gateways",
        Severity.WARNING,
    )
