"""EnvoyFilters on listeners, in Istio's order: the listener, its listener filters, its filter
chains, their network filters, and the HTTP filters of HTTP connection managers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

from argosy.model.envoy_filter import (
    ApplyTo,
    FilterClass,
    FilterMatch,
    ListenerMatch,
    Operation,
)
from argosy.pilot.translate import names
from argosy.pilot.translate.patch_route import patch_inline_routes
from argosy.pilot.translate.patching import (
    Effects,
    Patched,
    ValuedPatch,
    change_list,
    is_merge,
    lay_over,
    merge_filter,
    patched,
)

HCM = "envoy.filters.network.http_connection_manager"
_HCM_TYPE = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "envoy.filters.http.router"

_TERMINAL = frozenset(
    f"envoy.extensions.filters.network.{name}"
    for name in (
        "direct_response.v3.Config",
        "dubbo_proxy.v3.DubboProxy",
        "echo.v3.Echo",
        "generic_proxy.v3.GenericProxy",
        "http_connection_manager.v3.EnvoyMobileHttpConnectionManager",
        "http_connection_manager.v3.HttpConnectionManager",
        "redis_proxy.v3.RedisProxy",
        "reverse_tunnel.v3.ReverseTunnel",
        "tcp_proxy.v3.TcpProxy",
        "thrift_proxy.v3.ThriftProxy",
    )
)
"""Network filters that end a chain: one must be last, and nowhere else."""

_CLASSES = {
    FilterClass.AUTHN: ("envoy.filters.http.jwt_authn",),
    FilterClass.AUTHZ: ("envoy.filters.http.ext_authz", "envoy.filters.http.rbac"),
}
"""After which filters of the mesh an added filter of a class stands."""

_STATS = ("envoy.filters.http.grpc_stats",)

Ports = Mapping[int, frozenset[int]]
"""A gateway's Service: its ports by the port of the proxy that they lead to."""

Patches = Sequence[ValuedPatch]


def patch_listener(
    listener: listener_pb2.Listener, patches: Patches, routes: Patches, ports: Ports
) -> Patched:
    """``routes`` are the patches for route tables that stand in the listener itself."""
    apply = partial(_apply, routes=routes, ports=ports)
    return patched(listener, [*patches, *routes], apply, check_listener)


def _apply(
    listener: listener_pb2.Listener,
    patches: Patches,
    effects: Effects,
    *,
    routes: Patches,
    ports: Ports,
) -> bool:
    mine = [p for p in patches if _listener_matches(listener, p, ports)]
    for patch in _of(mine, ApplyTo.LISTENER):
        if patch.patch.operation is Operation.REMOVE:
            effects.apply(patch)
            return False
        if is_merge(patch):
            name = listener.name
            lay_over(listener, patch)
            listener.name = name
            effects.apply(patch, listener)
    for patch in _of(mine, ApplyTo.LISTENER_FILTER):
        _listener_filter(listener, patch, effects)
    _chains(listener, mine, effects)
    allowed = {p.ref for p in routes}
    inline = [p for p in patches if p.ref in allowed]
    if inline:
        for chain in all_chains(listener):
            for network_filter in managers(chain):
                manager = manager_of(network_filter)
                if patch_inline_routes(manager, inline, effects, ports):
                    network_filter.typed_config.Pack(manager, deterministic=True)
    return True


def _of(patches: Patches, apply_to: ApplyTo) -> Iterator[ValuedPatch]:
    return (patch for patch in patches if patch.patch.apply_to is apply_to)


def _listener_filter(listener: listener_pb2.Listener, patch: ValuedPatch, effects: Effects) -> None:
    match = patch.patch.match
    wanted = match.listener_filter if isinstance(match, ListenerMatch) else ""

    def is_it(one: listener_components_pb2.ListenerFilter) -> bool:
        return bool(one.name == wanted)

    if not is_merge(patch):
        change_list(listener.listener_filters, patch, effects, is_it if wanted else None)
        return
    for one in listener.listener_filters:
        if not wanted or is_it(one):
            merge_filter(one, patch, effects, chosen=bool(wanted))


def _chains(listener: listener_pb2.Listener, patches: Patches, effects: Effects) -> None:
    for i in reversed(range(len(listener.filter_chains))):
        if not _chain(listener, listener.filter_chains[i], patches, effects):
            del listener.filter_chains[i]
    fallback = listener.HasField("default_filter_chain")
    if fallback and not _chain(listener, listener.default_filter_chain, patches, effects):
        listener.ClearField("default_filter_chain")
    for patch in _of(patches, ApplyTo.FILTER_CHAIN):
        if patch.patch.operation is Operation.ADD:
            added = listener.filter_chains.add()
            added.CopyFrom(patch.value)
            effects.apply(patch, added)


def _chain(
    listener: listener_pb2.Listener,
    chain: listener_components_pb2.FilterChain,
    patches: Patches,
    effects: Effects,
) -> bool:
    """False when the chain is to go."""
    mine = [p for p in patches if _chain_matches(listener, chain, p)]
    for patch in _of(mine, ApplyTo.FILTER_CHAIN):
        if patch.patch.operation is Operation.REMOVE:
            effects.apply(patch)
            return False
        if is_merge(patch):
            lay_over(chain, patch)
            effects.apply(patch, chain)
    _network_filters(chain, list(_of(mine, ApplyTo.NETWORK_FILTER)), effects)
    http = list(_of(mine, ApplyTo.HTTP_FILTER))
    for network_filter in managers(chain):
        wanted = [p for p in http if _names(network_filter.name, p)]
        if wanted:
            manager = manager_of(network_filter)
            _http_filters(manager, wanted, effects)
            network_filter.typed_config.Pack(manager, deterministic=True)
    return True


def _network_filters(
    chain: listener_components_pb2.FilterChain, patches: Patches, effects: Effects
) -> None:
    for patch in patches:
        match = _filter_match(patch)

        def is_it(one: listener_components_pb2.Filter, match: FilterMatch | None = match) -> bool:
            return match is not None and bool(one.name == match.name)

        if not is_merge(patch):
            change_list(chain.filters, patch, effects, is_it if match else None)
    for patch in filter(is_merge, patches):
        match = _filter_match(patch)
        for one in chain.filters:
            if match is None or one.name == match.name:
                merge_filter(one, patch, effects, chosen=match is not None)


def _http_filters(
    manager: http_connection_manager_pb2.HttpConnectionManager, patches: Patches, effects: Effects
) -> None:
    for patch in patches:
        match = _filter_match(patch)
        wanted = match.sub_filter if match else ""

        def is_it(one: http_connection_manager_pb2.HttpFilter, wanted: str = wanted) -> bool:
            return bool(one.name == wanted)

        if patch.patch.filter_class is not FilterClass.UNSPECIFIED and _is_add(patch):
            place = _place_of_class(manager, patch.patch.filter_class)
            manager.http_filters.insert(place, patch.value)
            effects.apply(patch, manager.http_filters[place])
        elif not is_merge(patch):
            change_list(manager.http_filters, patch, effects, is_it if wanted else None)
    for patch in filter(is_merge, patches):
        match = _filter_match(patch)
        wanted = match.sub_filter if match else ""
        for one in manager.http_filters:
            if one.name == wanted:
                merge_filter(one, patch, effects, chosen=True)


def _is_add(patch: ValuedPatch) -> bool:
    return patch.patch.operation is Operation.ADD


def _place_of_class(
    manager: http_connection_manager_pb2.HttpConnectionManager, wanted: FilterClass
) -> int:
    """After authentication, after authorization, or before statistics and the router."""
    present = [one.name for one in manager.http_filters]
    if wanted is FilterClass.STATS:
        before = [i for i, name in enumerate(present) if name in (*_STATS, ROUTER)]
        return before[0] if before else len(present)
    after = [i for i, name in enumerate(present) if name in _CLASSES[wanted]]
    if not after and wanted is FilterClass.AUTHZ:
        after = [i for i, name in enumerate(present) if name in _CLASSES[FilterClass.AUTHN]]
    return after[-1] + 1 if after else 0


# What matches.


def _listener_matches(listener: listener_pb2.Listener, patch: ValuedPatch, ports: Ports) -> bool:
    match = patch.patch.match
    if not isinstance(match, ListenerMatch):
        return match is None
    if match.name and match.name != listener.name:
        return False
    if patch.patch.apply_to is not ApplyTo.LISTENER and is_virtual(listener):
        return True  # there the port is that of a filter chain
    if not match.port:
        return True
    number = listener.address.socket_address.port_value
    return match.port == number or match.port in ports.get(number, ())


def is_virtual(listener: listener_pb2.Listener) -> bool:
    """Whether connections to many ports arrive there."""
    return listener.name in (names.VIRTUAL_INBOUND, names.VIRTUAL_OUTBOUND)


def _chain_matches(
    listener: listener_pb2.Listener,
    chain: listener_components_pb2.FilterChain,
    patch: ValuedPatch,
) -> bool:
    match = patch.patch.match
    if not isinstance(match, ListenerMatch):
        return True
    of = chain.filter_chain_match
    if match.port and is_virtual(listener) and of.destination_port.value != match.port:
        return False
    wanted = match.chain
    if wanted is None:
        return True
    return (
        (not wanted.name or wanted.name == chain.name)
        and (not wanted.sni or wanted.sni in of.server_names)
        and (not wanted.transport_protocol or wanted.transport_protocol == of.transport_protocol)
        and set(wanted.application_protocols) <= set(of.application_protocols)
        and (not wanted.destination_port or wanted.destination_port == of.destination_port.value)
    )


def _filter_match(patch: ValuedPatch) -> FilterMatch | None:
    match = patch.patch.match
    if not isinstance(match, ListenerMatch) or match.chain is None:
        return None
    return match.chain.filter


def _names(name: str, patch: ValuedPatch) -> bool:
    match = _filter_match(patch)
    return match is None or match.name == name


# The parts of a listener.


def all_chains(
    listener: listener_pb2.Listener,
) -> Iterator[listener_components_pb2.FilterChain]:
    yield from listener.filter_chains
    if listener.HasField("default_filter_chain"):
        yield listener.default_filter_chain


def managers(
    chain: listener_components_pb2.FilterChain,
) -> Iterator[listener_components_pb2.Filter]:
    return (f for f in chain.filters if _type(f) == _HCM_TYPE)


def _type(one: listener_components_pb2.Filter) -> str:
    return str(one.typed_config.type_url.rpartition("/")[2])


def manager_of(
    network_filter: listener_components_pb2.Filter,
) -> http_connection_manager_pb2.HttpConnectionManager:
    manager = http_connection_manager_pb2.HttpConnectionManager()
    network_filter.typed_config.Unpack(manager)
    return manager


# What Envoy would not take.


def check_listener(listener: listener_pb2.Listener) -> Iterator[tuple[str, str]]:
    """What holds for a listener besides the rules of its messages."""
    has_udp = listener.HasField("udp_listener_config")
    internal = listener.HasField("internal_listener")
    if not has_udp and not internal and not any(True for _ in all_chains(listener)):
        yield "filter_chains", "a listener needs a filter chain"
    seen: dict[bytes, str] = {}
    for chain in listener.filter_chains:
        key = chain.filter_chain_match.SerializeToString(deterministic=True)
        if key in seen:
            yield "filter_chains", f"two of them match the same: {seen[key]!r} and {chain.name!r}"
        seen[key] = chain.name
    for chain in all_chains(listener):
        yield from _check_chain(chain)


def _check_chain(chain: listener_components_pb2.FilterChain) -> Iterator[tuple[str, str]]:
    yield from _check_order(
        [_type(one) for one in chain.filters], [one.name for one in chain.filters], _TERMINAL
    )
    for network_filter in managers(chain):
        manager = manager_of(network_filter)
        http = manager.http_filters
        types = [one.typed_config.type_url.rpartition("/")[2] for one in http]
        ends = frozenset({"envoy.extensions.filters.http.router.v3.Router"})
        yield from _check_order(types, [one.name for one in http], ends)


def _check_order(
    types: Sequence[str], called: Iterable[str], ends: frozenset[str]
) -> Iterator[tuple[str, str]]:
    shown = list(called)
    for i, kind in enumerate(types[:-1]):
        if kind in ends:
            yield "", f"{shown[i]} ends its chain, so nothing can come after it: {shown[-1]}"
    if types and types[-1] not in ends:
        yield "", f"{shown[-1]} cannot be the last: requests would end nowhere"
    if not types and "envoy.extensions.filters.http.router.v3.Router" in ends:
        yield "", "an HTTP connection manager needs the router"
