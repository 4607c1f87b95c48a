"""What proxyless gRPC clients and servers do, by the rules that hold for everybody.

Their names, and the parts of a route and of a cluster that a gRPC library can act on. A library
has one transport security for a whole cluster and none that is chosen by the first bytes:
a client uses mTLS where every endpoint takes nothing else, and a server where it is STRICT.
https://github.com/grpc/proposal/blob/master/A29-xds-tls-security.md
"""

import dataclasses
from collections.abc import Iterator

from argosy.base.names import Hostname, Namespace
from argosy.model.authn import MtlsMode
from argosy.model.proxyless import ServerListener
from argosy.model.route import NO_HEADERS, Route, RouteTable, RouteTo
from argosy.model.traffic import (
    Cluster,
    Discovery,
    MeshTls,
    MeshTlsUse,
    OriginatedTls,
    Plaintext,
)
from argosy.pilot.compile.endpoints import EndpointSummary
from argosy.pilot.compile.hostnames import SERVICE_SUFFIX

SERVER_PREFIX = "xds.istio.io/grpc/lds/inbound/"
"""What a server asks for, before its address and port; Istio's choice."""


def target(name: str) -> tuple[str, int] | None:
    """The host and port of ``xds:///host:port``; None when there is no port."""
    host, _, port = name.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()):
        return None
    return host.lower(), int(port)


def candidates(host: str, namespace: Namespace) -> Iterator[Hostname]:
    """What a client in ``namespace`` may mean by ``host``, the likeliest first."""
    if "." not in host:
        yield Hostname(f"{host}.{namespace}{SERVICE_SUFFIX}")
    elif host.endswith(".svc"):
        yield Hostname(host.removesuffix(".svc") + SERVICE_SUFFIX)
    elif host.count(".") == 1:
        yield Hostname(host + SERVICE_SUFFIX)
    yield Hostname(host)


def server_address(name: str) -> tuple[str, int] | None:
    """The address that a server listens on, if ``name`` is a server's; brackets are gone."""
    if not name.startswith(SERVER_PREFIX):
        return None
    found = target(name.removeprefix(SERVER_PREFIX))
    return None if found is None else (found[0].removeprefix("[").removesuffix("]"), found[1])


def server_listener(name: str, mode: MtlsMode) -> ServerListener | None:
    """PERMISSIVE is plaintext: a gRPC server cannot tell it from TLS and take both."""
    place = server_address(name)
    if place is None:
        return None
    return ServerListener(name, *place, mtls=mode is MtlsMode.STRICT)


def routes(name: str, table: RouteTable) -> RouteTable:
    """Without what a gRPC library ignores, or refuses a whole table for."""
    hosts = tuple(
        dataclasses.replace(host, routes=tuple(map(_route, host.routes)), domains=("*",))
        for host in table.virtual_hosts
    )
    return RouteTable(name, hosts)


def _route(route: Route) -> Route:
    action = route.action
    if isinstance(action, RouteTo):
        clusters = tuple(
            dataclasses.replace(one, headers=NO_HEADERS, authority="") for one in action.clusters
        )
        action = dataclasses.replace(
            action, clusters=clusters, rewrite=None, authority="", mirrors=()
        )
    return dataclasses.replace(route, action=action, headers=NO_HEADERS, cors=None)


def cluster(value: Cluster, endpoints: EndpointSummary) -> Cluster | None:
    """None where its TLS asks for what a gRPC library does not have: files of the user's own."""
    if isinstance(value.tls, OriginatedTls):
        return None
    tls = value.tls
    if isinstance(tls, MeshTls) and tls.use is MeshTlsUse.PER_ENDPOINT:
        strict = bool(endpoints.identities) and endpoints.all_strict
        tls = dataclasses.replace(tls, use=MeshTlsUse.ALWAYS) if strict else Plaintext()
    return dataclasses.replace(value, tls=tls, discovery=Discovery.EDS)
