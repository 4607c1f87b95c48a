"""Which resources a proxy gets: layers of names that proxies share, and each resource by its name.

A sidecar sees two layers: the outbound one of its scope, shared with every proxy of its namespace,
and its workload's own, shared by the replicas. A gateway likewise; its own layer holds its
listeners and routes. Nothing here assumes that a proxy asks for all of a layer.
"""

from dataclasses import dataclass

from argosy.base.hashing import HashedOnce, hashed_once
from argosy.base.names import Hostname
from argosy.derive import Reader, formula
from argosy.model.envoy_filter import NO_PATCHES, Patching
from argosy.model.proxy import ProxyType, Role, Scope
from argosy.model.records import RUNTIME_LAYER
from argosy.pilot.graph import (
    destinations,
    envoy_filters,
    gateways,
    inbound,
    localities,
    outbound,
    proxyless,
    records,
    secrets,
    views,
)
from argosy.pilot.graph.encode import Encoded
from argosy.pilot.graph.envoy_filters import PatchedResource
from argosy.pilot.graph.hosts import HostSet
from argosy.pilot.graph.scopes import scope_of
from argosy.pilot.translate import names
from argosy.xds import type_urls


@hashed_once
@dataclass(frozen=True, slots=True)
class OutboundLayer(HashedOnce):
    """What proxies of a scope need to call others."""

    scope: Scope
    patching: Patching = NO_PATCHES


@hashed_once
@dataclass(frozen=True, slots=True)
class WorkloadLayer(HashedOnce):
    """What the replicas of one workload need to be called."""

    role: Role
    patching: Patching = NO_PATCHES


Layer = OutboundLayer | WorkloadLayer


@formula
def layers(get: Reader, role: Role) -> tuple[Layer, ...]:
    patching = get(envoy_filters.patching, role)
    return (
        OutboundLayer(get(scope_of, role), patching.outbound),
        WorkloadLayer(role, patching.workload),
    )


def owner(layers: tuple[Layer, ...], type_url: str, name: str) -> Layer:
    """The layer that decides what ``name`` means."""
    outbound_layer, workload_layer = layers
    assert isinstance(workload_layer, WorkloadLayer)
    if name in envoy_filters.added_names(workload_layer.patching, type_url):
        return workload_layer
    if type_url in (type_urls.EXTENSION, type_urls.SECRET, type_urls.RUNTIME):
        return workload_layer
    if workload_layer.role.type is ProxyType.GRPC:
        own = type_url == type_urls.LISTENER and proxyless.is_server_listener(name)
    elif type_url in (type_urls.LISTENER, type_urls.ROUTE):
        is_gateway = workload_layer.role.type is ProxyType.ROUTER
        own = is_gateway or inbound.is_own_listener(name)
    else:
        own = (
            inbound.is_own_cluster(name)
            or names.get_sni_key(name) is not None
            or name == names.LOCAL_CLUSTER
        )
    return workload_layer if own else outbound_layer


def _view(get: Reader, scope: Scope, type_url: str, name: str) -> Scope:
    """The scope that decides a cluster or its endpoints, by its name."""
    key = names.get_cluster_key(name)
    if key is None:
        return views.common(scope)
    of = views.of_endpoints if type_url == type_urls.ENDPOINT else views.of_host
    return of(get, scope, Hostname(key.host))


# What layers share, for whoever keeps resources: he need keep but one of each.

SHARED_TYPES = (type_urls.CLUSTER, type_urls.ENDPOINT)


def shares(layer: Layer, type_url: str) -> bool:
    """Whether resources of this type in this layer are mostly those of other layers too."""
    if not isinstance(layer, OutboundLayer) or type_url not in SHARED_TYPES:
        return False
    return not envoy_filters.of_type(layer.patching, type_url)


def shared(layer: Layer) -> Layer:
    """The layer whose resources this one shares where its namespace has nothing particular."""
    assert isinstance(layer, OutboundLayer)
    return OutboundLayer(views.common(layer.scope))


def scope_of_layer(layer: Layer) -> Scope:
    """What decides which resources the layer does not share."""
    assert isinstance(layer, OutboundLayer)
    return layer.scope


def is_particular(hosts: HostSet, type_url: str, name: str) -> bool:
    """Whether a layer with these hosts ``views.apart`` has a resource of its own by this name."""
    if type_url not in SHARED_TYPES:
        return True
    if not hosts:
        return False
    key = names.get_cluster_key(name)
    return key is not None and Hostname(key.host) in hosts


@formula
def layer_names(get: Reader, layer: Layer, type_url: str) -> tuple[str, ...]:
    """The wildcard part: what a proxy that asks for everything gets from this layer, sorted."""
    found = unpatched_names(get, layer, type_url)
    if envoy_filters.may_remove(get, layer.patching, type_url):
        found = tuple(
            name for name in found if get(patched, layer, type_url, name).resource is not None
        )
    brought = envoy_filters.added_names(layer.patching, type_url)
    return tuple(dict.fromkeys((*found, *brought))) if brought else found


def unpatched_names(get: Reader, layer: Layer, type_url: str) -> tuple[str, ...]:
    match layer:
        case OutboundLayer(scope) if scope.type is ProxyType.GRPC:
            return proxyless.names_of_type(get, scope.anywhere, type_url)
        case WorkloadLayer(role) if role.type is ProxyType.GRPC:
            return ()
        case OutboundLayer(scope) if type_url == type_urls.CLUSTER:
            return get(outbound.cluster_names, scope.routing)
        case OutboundLayer(scope) if type_url == type_urls.LISTENER:
            is_gateway = scope.type is ProxyType.ROUTER
            return () if is_gateway else get(outbound.listener_names, scope.routing)
        case WorkloadLayer(role) if type_url == type_urls.CLUSTER:
            is_gateway = role.type is ProxyType.ROUTER
            return get(gateways.sni_cluster_names if is_gateway else inbound.cluster_names, role)
        case WorkloadLayer(role) if type_url == type_urls.LISTENER:
            if role.type is ProxyType.ROUTER:
                return get(gateways.listener_names, role)
            return get(inbound.listener_names, role)
    return ()


@formula
def layer_resource(get: Reader, layer: Layer, type_url: str, name: str) -> Encoded | None:
    """One resource, or None when the layer has none of that name."""
    if not envoy_filters.of_type(layer.patching, type_url):
        return unpatched(get, layer, type_url, name)
    found = get(patched, layer, type_url, name)
    if found.resource is not None or found.matched:
        return found.resource
    chosen = envoy_filters.of_type(layer.patching, type_url)
    return get(envoy_filters.added, chosen, type_url).get(name)


@formula
def patched(get: Reader, layer: Layer, type_url: str, name: str) -> PatchedResource:
    """A resource as EnvoyFilters make it."""
    base = unpatched(get, layer, type_url, name)
    if base is None:
        return PatchedResource(None)
    role = layer.role if isinstance(layer, WorkloadLayer) else None
    return envoy_filters.patch_resource(get, layer.patching, type_url, base, role)


def unpatched(get: Reader, layer: Layer, type_url: str, name: str) -> Encoded | None:
    match layer, type_url:
        case OutboundLayer(scope), _ if scope.type is ProxyType.GRPC:
            shared = type_url in SHARED_TYPES
            decides = _view(get, scope, type_url, name) if shared else scope.anywhere
            return proxyless.resource(get, decides, type_url, name)
        case WorkloadLayer(role), _ if role.type is ProxyType.GRPC:
            return get(proxyless.server_listener, role, name)
        case OutboundLayer(scope), type_urls.CLUSTER:
            return get(destinations.cluster_resource, _view(get, scope, type_url, name), name)
        case OutboundLayer(scope), type_urls.ENDPOINT:
            return get(localities.endpoints_resource, _view(get, scope, type_url, name), name)
        case OutboundLayer(scope), type_urls.LISTENER:
            return get(outbound.listener_resource, scope.anywhere, name)
        case OutboundLayer(scope), type_urls.ROUTE:
            return get(outbound.route_resource, scope.routing, name)
        case WorkloadLayer(role), type_urls.CLUSTER if role.type is ProxyType.SIDECAR:
            return get(inbound.cluster_resource, role, name)
        case WorkloadLayer(role), type_urls.CLUSTER:
            return get(gateways.sni_cluster_resource, role, name)
        case WorkloadLayer(role), type_urls.ENDPOINT if name == names.LOCAL_CLUSTER:
            return get(localities.local_cluster, role)
        case WorkloadLayer(role), type_urls.LISTENER if role.type is ProxyType.SIDECAR:
            return get(inbound.listener_resource, role, name)
        case WorkloadLayer(role), type_urls.LISTENER:
            return get(gateways.listener_resource, role, name)
        case WorkloadLayer(role), type_urls.ROUTE:
            return get(gateways.route_resource, role, name)
        case WorkloadLayer(role), type_urls.SECRET:
            return get(secrets.secret_resource, role, name)
        case WorkloadLayer(role), type_urls.RUNTIME if name == RUNTIME_LAYER:
            return get(records.runtime_resource, role)
    return None
