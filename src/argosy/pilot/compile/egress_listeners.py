"""The egress listeners of a Sidecar → the outbound listeners of the proxies that it rules.

A listener with a port serves the services behind it there, in the protocol that it declares; the
last one without port serves every other port as it would be served without a Sidecar.
https://istio.io/latest/docs/reference/config/networking/sidecar/#IstioEgressListener
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import assert_never

from argosy.base.problems import Compiled, Problem
from argosy.model.listener import (
    WILDCARD,
    DetectingListener,
    HttpListener,
    MeshProxyRoutes,
    OpaqueListener,
    OutboundListener,
    PortRoutes,
    SocketRoutes,
)
from argosy.model.proxy_traffic import USUAL_CAPTURE, CapturePorts
from argosy.model.service import Protocol, Service, ServicePort
from argosy.model.sidecar import Egress, EgressListener
from argosy.pilot.compile.listeners import (
    Chaining,
    Claim,
    Forwarding,
    Instances,
    Site,
    merged,
    needs_instances,
    no_chains,
    sites,
)

LOCALHOST = "127.0.0.1"

Behind = Callable[[int], tuple[Service, ...]]
"""The services behind the listener with this index."""


def egress_listeners(
    egress: Egress,
    behind: Behind,
    instances: Instances,
    forward: Forwarding,
    chains: Chaining = no_chains,
    capture: CapturePorts = USUAL_CAPTURE,
) -> Compiled[tuple[OutboundListener, ...]]:
    """Sorted by site. Where two listeners of the Sidecar meet at a site, the first has it."""
    own_ports = {listener.port for listener in egress.listeners if listener.port}
    listeners: dict[tuple[str, int], OutboundListener] = {}
    problems: list[Problem] = []
    for index, listener in enumerate(egress.listeners):
        if _is_proxy(listener):
            made: tuple[OutboundListener, ...] = (_proxy(listener),)
        else:
            claimed: dict[Site, list[Claim]] = {}
            for service in behind(index):
                for port in service.ports:
                    if listener.port is None and port.number in own_ports:
                        continue
                    served = port if listener.port is None else _as_declared(port, listener)
                    for site in _sites(listener, service, served, instances):
                        claim = Claim(
                            service, served, forward(service, served), chains(service, served)
                        )
                        claimed.setdefault(site, []).append(claim)
            compiled = merged(claimed, capture)
            problems += compiled.problems
            made = (
                tuple(_bound(one) for one in compiled.value) if listener.bound else compiled.value
            )
        for one in made:
            listeners.setdefault((one.address, one.port), one)
    ordered = tuple(listeners[site] for site in sorted(listeners))
    return Compiled(ordered, tuple(problems))


def mesh_proxy(port: int) -> HttpListener:
    """The HTTP proxy of every sidecar (MeshConfig ``proxyHttpPort``)."""
    return HttpListener(LOCALHOST, port, MeshProxyRoutes(), absolute_urls=True, bound=True)


def proxy_of_table(egress: Egress, name: str) -> int | None:
    """Which listener takes requests for all ports by the route table of this name."""
    for index, listener in enumerate(egress.listeners):
        if _is_proxy(listener) and name == (str(listener.port) if listener.port else listener.bind):
            return index
    return None


def _is_proxy(listener: EgressListener) -> bool:
    """Whether requests for all its ports come in at one place."""
    declared = listener.protocol
    return declared is None or (listener.port == 0 and declared.is_http)


def _proxy(listener: EgressListener) -> HttpListener:
    port = listener.port or 0
    return HttpListener(
        listener.bind or WILDCARD,
        port,
        PortRoutes(port) if port else SocketRoutes(listener.bind),
        absolute_urls=listener.protocol is None,
        bound=listener.bound,
    )


def _as_declared(port: ServicePort, listener: EgressListener) -> ServicePort:
    assert listener.protocol is not None, "an HTTP proxy takes no claims"
    return replace(port, protocol=listener.protocol)


def _sites(
    listener: EgressListener, service: Service, port: ServicePort, instances: Instances
) -> Iterator[Site]:
    if port.protocol is Protocol.UDP:
        return
    if listener.bind or listener.bound:
        number = port.number if listener.port is None else listener.port
        yield Site(listener.bind or LOCALHOST, number)
        return
    addresses = instances(service, port) if needs_instances(service, port) else ()
    yield from sites(service, port, addresses)


def _bound(listener: OutboundListener) -> OutboundListener:
    """The same with a socket of its own, where nobody can mean another address."""
    match listener:
        case OpaqueListener() | HttpListener():
            return replace(listener, bound=True)
        case DetectingListener(address, port, routes, tcp):
            if tcp is None:
                return HttpListener(address, port, routes, bound=True)
            return replace(listener, bound=True)
        case _:
            assert_never(listener)
