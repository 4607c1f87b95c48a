"""What must hold for one VirtualService alone.

Rules as in Istio's validation of virtual services (``pkg/config/validation/validation.go`` and
``virtualservice.go``). That its hosts, subsets and gateways exist is for ``pilot.compile`` to see.
"""

from collections.abc import Iterator, Sequence

import msgspec

from argosy.api.networking_virtual_service import (
    Destination,
    HTTPMatchRequest,
    HTTPRouteDestination,
    L4MatchAttributes,
    RouteDestination,
    TCPRoute,
    TLSMatchAttributes,
    TLSRoute,
    VirtualService,
    VirtualServiceSpec,
)
from argosy.api.typed import Mistake, short
from argosy.api.validate_http_route import check_http_route
from argosy.api.validate_metadata import check_labels, is_dns_label, is_dns_subdomain
from argosy.api.validate_values import (
    check_export_to,
    check_host,
    check_hosts_distinct,
    check_port,
    check_subnets,
    covers,
    is_ip,
    warning,
)

_CLAIM = "@request.auth.claims"


def validate_virtual_service(service: VirtualService) -> Iterator[Mistake]:
    spec = service.spec
    delegate = not spec.hosts
    mesh = not spec.gateways or "mesh" in spec.gateways
    if delegate:
        yield from _delegate(spec)
    yield from check_gateway_names(spec.gateways, "spec.gateways")
    hosts = [m for i, host in enumerate(spec.hosts) for m in _host(host, f"spec.hosts[{i}]", mesh)]
    yield from hosts
    if not hosts:
        yield from check_hosts_distinct(spec.hosts, "spec.hosts")
    if not (spec.http or spec.tls or spec.tcp):
        yield Mistake("spec", "MissingField", "it has no routes", "Write http, tls or tcp")
    for i, http in enumerate(spec.http):
        path = f"spec.http[{i}]"
        yield from check_http_route(http, path, delegate=delegate)
        for j, match in enumerate(http.match):
            yield from _match_scope(match, f"{path}.match[{j}]")
            if mesh and not any(g != "mesh" for g in spec.gateways):
                yield from _no_claims(match, f"{path}.match[{j}]")
        yield from check_destinations(http.route, f"{path}.route")
        if http.mirror is not None:
            yield from check_destination(http.mirror, f"{path}.mirror")
        for j, mirror in enumerate(http.mirrors):
            yield from check_destination(mirror.destination, f"{path}.mirrors[{j}].destination")
    for i, tls in enumerate(spec.tls):
        yield from _tls(tls, spec, f"spec.tls[{i}]")
    for i, tcp in enumerate(spec.tcp):
        yield from _tcp(tcp, f"spec.tcp[{i}]")
    yield from check_export_to(spec.export_to, service.metadata.namespace, "spec.exportTo")
    for name, routes in (("http", spec.http), ("tls", spec.tls), ("tcp", spec.tcp)):
        yield from _unreachable([route.match for route in routes], f"spec.{name}")


def _delegate(spec: VirtualServiceSpec) -> Iterator[Mistake]:
    """Without hosts it can only be the delegate of another one, which has HTTP routes alone."""
    for name, value in (("gateways", spec.gateways), ("tls", spec.tls), ("tcp", spec.tcp)):
        if value:
            message = f"a virtual service without hosts is a delegate, which cannot have {name}"
            yield Mistake(f"spec.{name}", "ConflictingFields", message, "Write hosts, or remove it")


def _host(host: str, path: str, mesh: bool) -> Iterator[Mistake]:
    if host == "*" and mesh:
        message = "* is not allowed for sidecars (gateway mesh)"
        hint = "Name the hosts, or write gateways without mesh"
        yield Mistake(path, "InvalidHost", message, hint)
        return
    yield from check_host(host, path, ip=True)


def check_gateway_names(names: Sequence[str], path: str) -> Iterator[Mistake]:
    """``mesh``, ``name`` or ``namespace/name``."""
    for index, name in enumerate(names):
        where = f"{path}[{index}]"
        namespace, slash, gateway = name.partition("/")
        valid = is_dns_subdomain(gateway) and is_dns_label(namespace)
        if not (valid if slash else is_dns_subdomain(name)):
            message = f"{short(name)} is not the name of a gateway"
            yield Mistake(where, "InvalidValue", message, "Write mesh, name or namespace/name")
        elif not slash and "." in name:
            first, second = name.split(".")[:2]
            message = f"{short(name)} is an old way to name a gateway"
            yield warning(where, "Deprecated", message, f"Write {second}/{first}")


def _match_scope(
    match: HTTPMatchRequest | TLSMatchAttributes | L4MatchAttributes, path: str
) -> Iterator[Mistake]:
    """What matches of all protocols have: port, labels, namespace and gateways."""
    if match.port:
        yield from check_port(match.port, f"{path}.port")
    yield from check_labels(match.source_labels, f"{path}.sourceLabels")
    yield from check_gateway_names(match.gateways, f"{path}.gateways")
    if match.source_namespace and not is_dns_label(match.source_namespace):
        message = f"{short(match.source_namespace)} is not a namespace"
        yield Mistake(f"{path}.sourceNamespace", "InvalidName", message)


def _no_claims(match: HTTPMatchRequest, path: str) -> Iterator[Mistake]:
    for field, headers in (("headers", match.headers), ("withoutHeaders", match.without_headers)):
        for name in headers:
            if name.lower().startswith(_CLAIM):
                message = "matching claims of a token works at gateways only"
                hint = "Write gateways without mesh"
                yield Mistake(f"{path}.{field}", "NotAllowed", message, hint)


def check_destination(destination: Destination, path: str) -> Iterator[Mistake]:
    if destination.host == "*":
        yield Mistake(f"{path}.host", "InvalidHost", "* cannot be a destination", "Name a host")
    else:
        yield from check_host(destination.host, f"{path}.host")
    if destination.subset and not is_dns_label(destination.subset):
        message = f"{short(destination.subset)} is not the name of a subset"
        yield Mistake(f"{path}.subset", "InvalidName", message)
    if destination.port is not None:
        yield from check_port(destination.port.number, f"{path}.port.number")


def check_destinations(
    routes: Sequence[HTTPRouteDestination | RouteDestination], path: str
) -> Iterator[Mistake]:
    """Weights are not negative, and several do not sum up to 0."""
    for index, route in enumerate(routes):
        yield from check_destination(route.destination, f"{path}[{index}].destination")
        if route.weight < 0:
            message = f"the weight {route.weight} is negative"
            yield Mistake(f"{path}[{index}].weight", "InvalidWeight", message)
    if len(routes) > 1 and sum(route.weight for route in routes) == 0:
        message = "all weights are 0, so no destination would get a request"
        yield Mistake(path, "InvalidWeight", message, "Write weights, such as 80 and 20")


def _tls(route: TLSRoute, spec: VirtualServiceSpec, path: str) -> Iterator[Mistake]:
    if not route.match:
        yield Mistake(f"{path}.match", "MissingField", "a TLS route needs a match with sniHosts")
    for i, match in enumerate(route.match):
        where = f"{path}.match[{i}]"
        if not match.sni_hosts:
            message = "a TLS match needs at least one SNI host"
            yield Mistake(f"{where}.sniHosts", "MissingField", message)
        for j, host in enumerate(match.sni_hosts):
            yield from _sni_host(host, spec.hosts, f"{where}.sniHosts[{j}]")
        yield from check_subnets(match.destination_subnets, f"{where}.destinationSubnets")
        yield from _match_scope(match, where)
    if not route.route:
        yield Mistake(f"{path}.route", "MissingField", "the route has no destination")
    yield from check_destinations(route.route, f"{path}.route")


def _sni_host(host: str, hosts: Sequence[str], path: str) -> Iterator[Mistake]:
    if is_ip(host):
        message = f"{short(host)} is an IP address, which clients do not send as SNI"
        yield warning(path, "NoEffect", message)
        return
    mistakes = list(check_host(host, path))
    yield from mistakes
    if not mistakes and not any(covers(wide.lower(), host.lower()) for wide in hosts):
        message = f"the SNI host {short(host)} is none of the hosts of this virtual service"
        yield Mistake(path, "InvalidHost", message, f"Add it to spec.hosts: {', '.join(hosts)}")


def _tcp(route: TCPRoute, path: str) -> Iterator[Mistake]:
    for i, match in enumerate(route.match):
        where = f"{path}.match[{i}]"
        yield from check_subnets(match.destination_subnets, f"{where}.destinationSubnets")
        if match.source_subnet:
            message = "sourceSubnet has no effect, as in Istio"
            hint = "Remove it; sourceLabels and sourceNamespace tell clients apart"
            yield warning(f"{where}.sourceSubnet", "NoEffect", message, hint)
        yield from _match_scope(match, where)
    if not route.route:
        yield Mistake(f"{path}.route", "MissingField", "the route has no destination")
    yield from check_destinations(route.route, f"{path}.route")


def _unreachable(
    matches: Sequence[Sequence[HTTPMatchRequest | TLSMatchAttributes | L4MatchAttributes]],
    path: str,
) -> Iterator[Mistake]:
    """Rules that earlier rules leave nothing for."""
    seen: dict[bytes, int] = {}
    all_before: int | None = None
    for i, rule in enumerate(matches):
        if all_before is not None:
            message = f"this rule is never reached: rule {all_before + 1} matches everything"
            yield warning(f"{path}[{i}]", "UnreachableRule", message, "Move it up")
            continue
        if not rule:
            all_before = i
            continue
        for j, match in enumerate(rule):
            if isinstance(match, HTTPMatchRequest):
                match = msgspec.structs.replace(match, name="", stat_prefix="")
            before = seen.setdefault(_canonical(match), i)
            if before != i:
                message = f"rule {before + 1} has the same match and comes first"
                yield warning(f"{path}[{i}].match[{j}]", "UnreachableRule", message)


_encoder = msgspec.json.Encoder(order="sorted")


def _canonical(match: msgspec.Struct) -> bytes:
    return _encoder.encode(match)
