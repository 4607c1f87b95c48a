"""EnvoyFilters: api → model, and which of their patches are for which proxy."""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

import re2

from argosy.api import networking_envoy_filter as api
from argosy.model.envoy_filter import (
    ApplyTo,
    ChainMatch,
    Chosen,
    ChosenPatches,
    ClusterMatch,
    Context,
    EnvoyFilter,
    FilterClass,
    FilterMatch,
    ListenerMatch,
    Match,
    Operation,
    Patch,
    ProxyMatch,
    RouteAction,
    RouteMatch,
    RouteTableMatch,
    VirtualHostMatch,
)
from argosy.model.proxy import ISTIO_VERSION, ProxyType, Role
from argosy.pilot.compile import policy_targets

CLUSTER_ID = "Kubernetes"

INSERT_AS_ADD = frozenset({Operation.INSERT_BEFORE, Operation.INSERT_AFTER, Operation.INSERT_FIRST})
_INSERTED = frozenset(
    {ApplyTo.LISTENER_FILTER, ApplyTo.NETWORK_FILTER, ApplyTo.HTTP_FILTER, ApplyTo.HTTP_ROUTE}
)


def envoy_filter(written: api.EnvoyFilter) -> EnvoyFilter:
    """Everything but the values."""
    spec = written.spec
    selector = spec.workload_selector
    return EnvoyFilter(
        object=written.key,
        priority=spec.priority,
        created=written.metadata.creation_timestamp,
        scope=policy_targets.scope_of(selector.labels if selector else {}, spec.target_refs),
        patches=tuple(_patch(patch, i) for i, patch in enumerate(spec.config_patches)),
    )


def _patch(written: api.ConfigPatch, index: int) -> Patch:
    apply_to = ApplyTo(written.apply_to)
    operation = Operation(written.patch.operation)
    if operation in INSERT_AS_ADD and apply_to not in _INSERTED:
        operation = Operation.ADD
    match = written.match
    return Patch(
        index=index,
        apply_to=apply_to,
        operation=operation,
        context=_context(match),
        match=_match(match) if match else None,
        proxy=_proxy(match.proxy) if match else None,
        filter_class=FilterClass(written.patch.filter_class),
    )


def _context(match: api.ObjectMatch | None) -> Context:
    if match is None:
        return Context.ANY
    return Context.WAYPOINT if match.waypoint is not None else Context(match.context)


def _proxy(written: api.ProxyMatch | None) -> ProxyMatch | None:
    if written is None or not (written.proxy_version or written.metadata):
        return None
    return ProxyMatch(written.proxy_version, tuple(sorted(written.metadata.items())))


def _match(written: api.ObjectMatch) -> Match | None:
    if (listener := written.listener) is not None:
        return ListenerMatch(
            name=listener.name,
            port=listener.port_number,
            port_name=listener.port_name,
            listener_filter=listener.listener_filter,
            chain=_chain(listener.filter_chain) if listener.filter_chain else None,
        )
    if (routes := written.route_configuration) is not None:
        return RouteTableMatch(
            name=routes.name,
            port=routes.port_number,
            port_name=routes.port_name,
            gateway=routes.gateway,
            virtual_host=_virtual_host(routes.vhost) if routes.vhost else None,
        )
    if (cluster := written.cluster) is not None:
        return ClusterMatch(cluster.name, cluster.port_number, cluster.service, cluster.subset)
    return None


def _chain(written: api.FilterChainMatch) -> ChainMatch:
    wanted = written.filter
    protocols = (p.strip() for p in written.application_protocols.split(","))
    return ChainMatch(
        name=written.name,
        sni=written.sni,
        transport_protocol=written.transport_protocol,
        application_protocols=tuple(p for p in protocols if p),
        destination_port=written.destination_port,
        filter=FilterMatch(wanted.name, wanted.sub_filter.name if wanted.sub_filter else "")
        if wanted
        else None,
    )


def _virtual_host(written: api.VirtualHostMatch) -> VirtualHostMatch:
    route = written.route
    return VirtualHostMatch(
        name=written.name,
        domain=written.domain_name,
        route=RouteMatch(route.name, RouteAction(route.action)) if route else None,
    )


# For which proxies.


def selects(found: EnvoyFilter, role: Role) -> bool:
    """Whether it is for proxies of this role; its namespace is looked at by the caller."""
    namespace = found.object.namespace
    return policy_targets.selects(found.scope, namespace, role.namespace, role.labels)


def in_order(found: Iterable[EnvoyFilter], root_namespace: str) -> list[EnvoyFilter]:
    """The root namespace's first, then by priority, age and name."""
    return sorted(
        found,
        key=lambda f: (
            f.object.namespace != root_namespace,
            f.priority,
            f.created,
            f.object.name,
            f.object.namespace,
        ),
    )


def metadata_of(role: Role) -> Mapping[str, str]:
    """What a proxy's node metadata says, as far as all replicas say the same."""
    return {
        "ISTIO_VERSION": ISTIO_VERSION,
        "NAMESPACE": role.namespace,
        "SERVICE_ACCOUNT": role.service_account,
        "CLUSTER_ID": CLUSTER_ID,
    }


def proxy_matches(match: ProxyMatch | None, role: Role) -> bool:
    if match is None:
        return True
    if match.version and not _version_matches(match.version):
        return False
    facts = metadata_of(role)
    return all(facts.get(key) == value for key, value in match.metadata)


@lru_cache(maxsize=1024)
def _version_matches(pattern: str) -> bool:
    """Anywhere in the version, as Go's ``MatchString``."""
    return re2.search(pattern, ISTIO_VERSION) is not None


def contexts(role_type: ProxyType) -> tuple[Context, ...]:
    """What there is in such a proxy."""
    if role_type is ProxyType.GRPC:
        return ()
    if role_type is ProxyType.ROUTER:
        return (Context.GATEWAY,)
    return (Context.SIDECAR_OUTBOUND, Context.SIDECAR_INBOUND)


def fits(patch: Patch, context: Context, kinds: frozenset[ApplyTo]) -> bool:
    """Whether a patch is for these objects in this context.

    Whole listeners and clusters that are added without a context go outbound.
    """
    if patch.apply_to not in kinds:
        return False
    if patch.context is not Context.ANY:
        return patch.context is context
    whole = patch.apply_to in (ApplyTo.LISTENER, ApplyTo.CLUSTER)
    added = whole and patch.operation is Operation.ADD
    return not added or context is not Context.SIDECAR_INBOUND


CLUSTER_KINDS = frozenset({ApplyTo.CLUSTER})
EXTENSION_KINDS = frozenset({ApplyTo.EXTENSION_CONFIG})


def choose(
    filters: Iterable[EnvoyFilter],
    context: Context,
    kinds: frozenset[ApplyTo],
    usable: Callable[[EnvoyFilter, Patch], bool],
) -> Chosen:
    """The patches of these kinds for this context, of filters that are in order."""
    chosen = []
    for found in filters:
        patches = tuple(
            patch.index
            for patch in found.patches
            if fits(patch, context, kinds) and usable(found, patch)
        )
        if patches:
            chosen.append(ChosenPatches(found.object, patches))
    return tuple(chosen)


def choose_any(
    filters: Iterable[EnvoyFilter],
    context: Iterable[Context],
    usable: Callable[[EnvoyFilter, Patch], bool],
) -> Chosen:
    """The extensions for any of the contexts: a proxy asks for them by name, from anywhere."""
    allowed = tuple(context)

    def fitting(found: EnvoyFilter, patch: Patch) -> bool:
        fitted = any(fits(patch, one, EXTENSION_KINDS) for one in allowed)
        return fitted and usable(found, patch)

    chosen = []
    for found in filters:
        patches = tuple(p.index for p in found.patches if fitting(found, p))
        if patches:
            chosen.append(ChosenPatches(found.object, patches))
    return tuple(chosen)
