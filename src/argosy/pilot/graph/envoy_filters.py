"""Formulas of EnvoyFilters: which patches are for a proxy, and what they make of a resource.

Each value is parsed once, whatever number of proxies it is for. Patches are applied to the bytes
that a resource would have without them: so whatever is shared stays shared up to there, and
proxies that have no patches never come here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2

from argosy.api import networking_envoy_filter as api
from argosy.api.envoy_value import ISTIO_ONLY
from argosy.api.validate_envoy_filter import patch_value
from argosy.base.envoy_rules import violations
from argosy.base.names import Namespace, ObjectKey
from argosy.base.problems import Problem, Severity
from argosy.derive import Reader, formula
from argosy.model.envoy_filter import (
    IN_LISTENERS,
    IN_ROUTES,
    MERGES,
    NO_PATCHES,
    ApplyTo,
    Chosen,
    Context,
    EnvoyFilter,
    Operation,
    Patch,
    Patching,
)
from argosy.model.proxy import ProxyType, Role
from argosy.pilot.compile import envoy_filters as compiling
from argosy.pilot.graph.encode import Encoded, encode
from argosy.pilot.graph.world import mesh_settings, names_of, read, services_of_labels
from argosy.pilot.translate import patch_cluster, patch_listener, patch_route
from argosy.pilot.translate.patching import Patched, PatchRef, ValuedPatch
from argosy.xds import type_urls

KIND = "EnvoyFilter"

_WHOLE = {type_urls.LISTENER: ApplyTo.LISTENER, type_urls.CLUSTER: ApplyTo.CLUSTER}


@dataclass(frozen=True, slots=True)
class RefusedCell:
    """The cell that says whether a proxy refused what an EnvoyFilter makes."""

    object: ObjectKey


@dataclass(frozen=True, slots=True)
class RefusedVersion:
    """A version of an EnvoyFilter that is out of force, and the last good one instead of it.

    None: there was none before. The problem says which proxy refused what, in its own words.
    """

    spec: api.EnvoyFilterSpec
    last_good: api.EnvoyFilter | None
    problem: Problem


def refused_version(get: Reader, key: ObjectKey) -> RefusedVersion | None:
    """Why the present version of an EnvoyFilter is out of force; None when it is not."""
    written = read(get, key, api.EnvoyFilter)
    refused = get.cell(RefusedCell(key))
    if written is None or not isinstance(refused, RefusedVersion):
        return None
    return refused if refused.spec == written.spec else None


@formula
def envoy_filter(get: Reader, namespace: Namespace, name: str) -> api.EnvoyFilter | None:
    """The version that is in force: the last one that no proxy refused."""
    key = ObjectKey(KIND, namespace, name)
    refused = refused_version(get, key)
    return read(get, key, api.EnvoyFilter) if refused is None else refused.last_good


@formula
def compiled(get: Reader, namespace: Namespace, name: str) -> EnvoyFilter | None:
    written = get(envoy_filter, namespace, name)
    return None if written is None else compiling.envoy_filter(written)


@formula
def valued(get: Reader, namespace: Namespace, name: str) -> tuple[ValuedPatch | None, ...]:
    """The patches with their values, parsed; None for those that cannot be applied anywhere."""
    written, found = get(envoy_filter, namespace, name), get(compiled, namespace, name)
    if written is None or found is None:
        return ()
    return tuple(
        _valued(found.object, patch, written.spec.config_patches[patch.index])
        for patch in found.patches
    )


def _valued(key: ObjectKey, patch: Patch, written: api.ConfigPatch) -> ValuedPatch | None:
    if patch.operation is Operation.REMOVE:
        return ValuedPatch(key, patch)
    value = patch_value(written, patch.index)
    wrong = any(m.severity is Severity.ERROR or m.code == ISTIO_ONLY for m in value.mistakes)
    if value.message is None or wrong:
        return None
    if patch.operation not in MERGES and any(violations(value.message)):
        return None  # it is told at the object, by its problems
    return ValuedPatch(key, patch, value.message)


# For which proxies.


@formula
def filters_for(get: Reader, namespace: Namespace) -> tuple[EnvoyFilter, ...]:
    """Those for proxies of a namespace: the root namespace's and its own, in order."""
    root = get(mesh_settings).traffic.root_namespace
    found = [
        get(compiled, Namespace(one), name)
        for one in dict.fromkeys((root, namespace))
        for name in names_of(get, KIND, one)
    ]
    return tuple(compiling.in_order((f for f in found if f is not None), root))


@dataclass(frozen=True, slots=True)
class RolePatching:
    """For a proxy's two layers: what it calls others by, and what it is called by."""

    outbound: Patching = NO_PATCHES
    workload: Patching = NO_PATCHES


@formula
def patching(get: Reader, role: Role) -> RolePatching:
    if role.type is ProxyType.GRPC:  # no Envoy
        return RolePatching()
    found = [f for f in get(filters_for, role.namespace) if compiling.selects(f, role)]
    if not found:
        return RolePatching()

    def usable(of: EnvoyFilter, patch: Patch) -> bool:
        if not compiling.proxy_matches(patch.proxy, role):
            return False
        return get(valued, of.object.namespace, of.object.name)[patch.index] is not None

    def choose(context: Context, kinds: frozenset[ApplyTo]) -> Chosen:
        return compiling.choose(found, context, kinds, usable)

    extensions = compiling.choose_any(found, compiling.contexts(role.type), usable)
    if role.type is ProxyType.ROUTER:
        gateway = Context.GATEWAY
        listeners = choose(gateway, IN_LISTENERS)
        clusters = choose(gateway, compiling.CLUSTER_KINDS)
        return RolePatching(
            Patching(clusters=clusters, added_clusters=_added(get, clusters)),
            Patching(
                listeners=listeners,
                routes=choose(gateway, IN_ROUTES),
                extensions=extensions,
                added_listeners=_added(get, listeners),
            ),
        )
    out, own = (
        Patching(
            listeners=(listeners := choose(context, IN_LISTENERS)),
            routes=choose(context, IN_ROUTES),
            clusters=(clusters := choose(context, compiling.CLUSTER_KINDS)),
            extensions=extensions if context is Context.SIDECAR_INBOUND else (),
            added_listeners=_added(get, listeners),
            added_clusters=_added(get, clusters),
        )
        for context in (Context.SIDECAR_OUTBOUND, Context.SIDECAR_INBOUND)
    )
    return RolePatching(out, own)


def patches_of(get: Reader, chosen: Chosen) -> list[ValuedPatch]:
    """The chosen patches in the order of application."""
    found = []
    for one in chosen:
        values = get(valued, one.object.namespace, one.object.name)
        for index in one.patches:
            patch = values[index] if index < len(values) else None
            if patch is not None:
                found.append(patch)
    return found


# What they add.


@formula
def added(get: Reader, chosen: Chosen, type_url: str) -> Mapping[str, Encoded]:
    """Whole resources that patches bring, by name. The first of a name wins."""
    found: dict[str, Encoded] = {}
    for patch in patches_of(get, chosen):
        if _adds(patch, type_url):
            name = patch.value.name  # type: ignore[union-attr]  # what is added has a name
            if name not in found:
                found[name] = encode(name, patch.value)  # type: ignore[arg-type]  # and a value
    return MappingProxyType(found)


def _adds(patch: ValuedPatch, type_url: str) -> bool:
    kind = ApplyTo.EXTENSION_CONFIG if type_url == type_urls.EXTENSION else _WHOLE.get(type_url)
    return patch.patch.operation is Operation.ADD and patch.patch.apply_to is kind


def _added(get: Reader, chosen: Chosen) -> tuple[str, ...]:
    names = {
        patch.value.name  # type: ignore[union-attr]  # what is added has a name
        for patch in patches_of(get, chosen)
        if any(_adds(patch, type_url) for type_url in _WHOLE)
    }
    return tuple(sorted(names))


def of_type(patching: Patching, type_url: str) -> Chosen:
    """The patches that concern resources of a type, those for parts of them too."""
    match type_url:
        case type_urls.LISTENER:
            return (*patching.listeners, *patching.routes)
        case type_urls.ROUTE:
            return patching.routes
        case type_urls.CLUSTER:
            return patching.clusters
        case type_urls.EXTENSION:
            return patching.extensions
    return ()


def added_names(patching: Patching, type_url: str) -> tuple[str, ...]:
    match type_url:
        case type_urls.LISTENER:
            return patching.added_listeners
        case type_urls.CLUSTER:
            return patching.added_clusters
    return ()


def may_remove(get: Reader, patching: Patching, type_url: str) -> bool:
    """Whether a patch may take whole resources of this type away."""
    kind = _WHOLE.get(type_url)
    return kind is not None and any(
        patch.patch.apply_to is kind and patch.patch.operation is Operation.REMOVE
        for patch in patches_of(get, of_type(patching, type_url))
    )


# What they change.


@dataclass(frozen=True, slots=True)
class PatchedResource:
    """``resource`` None: removed, or it was not there. See ``Patched``."""

    resource: Encoded | None
    matched: frozenset[PatchRef] = frozenset()
    refused: tuple[tuple[PatchRef, str], ...] = ()


@formula
def gateway_ports(get: Reader, role: Role) -> Mapping[int, frozenset[int]]:
    """The ports of a gateway's Services, by the port of the proxy that they lead to."""
    found: dict[int, set[int]] = {}
    if role.type is ProxyType.ROUTER:
        named = dict(role.ports)
        for service in get(services_of_labels, role.namespace, role.labels):
            for port in service.ports:
                target = port.target if isinstance(port.target, int) else named.get(port.target)
                if target is not None:
                    found.setdefault(target, set()).add(port.number)
    return MappingProxyType({port: frozenset(numbers) for port, numbers in sorted(found.items())})


def patch_resource(
    get: Reader, patching: Patching, type_url: str, base: Encoded, role: Role | None
) -> PatchedResource:
    """``role`` tells a gateway's ports; None for resources that many workloads share."""
    name = base.name

    def ports() -> Mapping[int, frozenset[int]]:
        return {} if role is None else get(gateway_ports, role)

    match type_url:
        case type_urls.LISTENER:
            patches = patches_of(get, patching.listeners)
            inline = patches_of(get, patching.routes)
            listener = listener_pb2.Listener.FromString(base.body)
            found = patch_listener.patch_listener(listener, patches, inline, ports())
        case type_urls.ROUTE:
            patches = patches_of(get, patching.routes)
            table = route_pb2.RouteConfiguration.FromString(base.body)
            found = patch_route.patch_route_table(table, patches, ports())
        case type_urls.CLUSTER:
            patches = patches_of(get, patching.clusters)
            patches = [p for p in patches if patch_cluster.concerns(name, p)]
            if not patches:
                return PatchedResource(base)
            cluster = cluster_pb2.Cluster.FromString(base.body)
            found = patch_cluster.patch_cluster(cluster, patches)
        case _:
            return PatchedResource(base)
    return _encoded(base, found)


def _encoded(base: Encoded, found: Patched) -> PatchedResource:
    if not found.matched:
        return PatchedResource(base)
    resource = None if found.message is None else encode(base.name, found.message)
    return PatchedResource(resource, found.matched, found.refused)
