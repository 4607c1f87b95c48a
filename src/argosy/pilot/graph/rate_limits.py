"""Formulas of rate limits: which hold for a workload or gateway, and which Mixer counts by."""

import hashlib
from urllib.parse import urlsplit, urlunsplit

import msgspec

from argosy.api.argosy_rate_limit import RateLimit
from argosy.api.meta import line_of
from argosy.api.networking_gateway import Gateway
from argosy.api.shared_limits import CountedLimit, LimitsDocument
from argosy.base.names import Namespace, ObjectKey
from argosy.derive import Reader, formula
from argosy.model.proxy import ProxyType, Role
from argosy.model.rate_limit import (
    CountedBy,
    Counting,
    Limit,
    LimitPolicy,
    Redis,
    Targets,
)
from argosy.pilot.compile import rate_limits as compiling
from argosy.pilot.compile.gateways import gateway_selects
from argosy.pilot.compile.policy_targets import selects
from argosy.pilot.graph.request_authn import key_servers
from argosy.pilot.graph.world import (
    has_mixer,
    keys,
    mesh_settings,
    names_of,
    proxy_roles,
    read,
    services_of_labels,
)

KIND = "RateLimit"
_REDIS_PORT = 6379


@formula
def policy(get: Reader, namespace: Namespace, name: str) -> LimitPolicy | None:
    """Where there is no Mixer, each replica counts for itself."""
    found = read(get, ObjectKey(KIND, namespace, name), RateLimit)
    if found is None:
        return None
    compiled = compiling.limit_policy(found)
    return compiled if get(has_mixer) else compiling.without_sharing(compiled)


@formula
def policies_near(get: Reader, namespace: Namespace) -> tuple[LimitPolicy, ...]:
    """Those that may hold for workloads of a namespace: its own, and the root namespace's."""
    root = Namespace(get(mesh_settings).traffic.root_namespace)
    found = (
        get(policy, near, name)
        for near in dict.fromkeys((root, namespace))
        for name in names_of(get, KIND, near)
    )
    return tuple(one for one in found if one is not None)


@formula
def policies_of_gateways(get: Reader) -> tuple[LimitPolicy, ...]:
    """Those that are attached to Gateways of Istio's API, whose proxies may be in any namespace."""
    found = (get(policy, key.namespace, key.name) for key in keys(get, KIND))
    return tuple(
        one
        for one in found
        if one is not None and isinstance(one.scope, Targets) and one.scope.gateways
    )


@formula
def limits_of(get: Reader, role: Role) -> tuple[Limit, ...]:
    """Those that hold for the proxies of a role, by namespace and name."""
    if role.type is ProxyType.GRPC:
        return ()
    found = {one.object: one for one in get(policies_near, role.namespace)}
    if role.type is ProxyType.ROUTER:
        found |= {one.object: one for one in get(policies_of_gateways)}
    return tuple(
        limit for key in sorted(found) for limit in get(limits_held, role, key.namespace, key.name)
    )


@formula
def limits_held(get: Reader, role: Role, namespace: Namespace, name: str) -> tuple[Limit, ...]:
    """Those of one RateLimit, as they hold for the proxies of a role."""
    found = get(policy, namespace, name)
    if found is None or role.type is ProxyType.GRPC:
        return ()
    root = get(mesh_settings).traffic.root_namespace
    near = namespace in (root, role.namespace)
    match found.scope:
        case Targets(services, gateways, named_proxies):
            if near and selects(named_proxies, namespace, role.namespace, role.labels):
                return found.limits
            if services and namespace == role.namespace and role.type is ProxyType.SIDECAR:
                of_role = get(services_of_labels, role.namespace, role.labels)
                if any(one.entry is None and one.name in services for one in of_role):
                    return _without_routes(found.limits)
            hosts = get(hosts_at, role, namespace, gateways)
            return tuple(compiling.at_hosts(limit, hosts) for limit in found.limits if hosts)
        case scope:
            held = near and selects(scope, namespace, role.namespace, role.labels)
            return found.limits if held else ()


@formula
def limits_of_server(get: Reader, role: Role) -> tuple[Limit, ...]:
    """By which a sidecar counts what its workload receives: routes are not known there."""
    return _without_routes(get(limits_of, role))


@formula
def counted_by_caller(get: Reader, role: Role) -> tuple[ObjectKey, ...]:
    """The RateLimits by which a sidecar counts what its workload sends; seldom any."""
    if role.type is not ProxyType.SIDECAR:
        return ()
    return tuple(dict.fromkeys(one.object for one in get(limits_of, role) if one.routes))


@formula
def limits_of_caller(get: Reader, own: tuple[ObjectKey, ...]) -> tuple[Limit, ...]:
    """``own`` as of ``counted_by_caller``: their rules are the same for all whom they hold for."""
    found = (get(policy, key.namespace, key.name) for key in own)
    return tuple(limit for one in found if one is not None for limit in one.limits if limit.routes)


def _without_routes(limits: tuple[Limit, ...]) -> tuple[Limit, ...]:
    return tuple(one for one in limits if not one.routes)


@formula
def hosts_at(
    get: Reader, role: Role, namespace: Namespace, gateways: tuple[str, ...]
) -> tuple[str, ...]:
    """The hosts that the proxies of a role serve for these Gateways; empty: they do not."""
    if role.type is not ProxyType.ROUTER:
        return ()
    hosts: set[str] = set()
    for name in gateways:
        written = read(get, ObjectKey("Gateway", namespace, name), Gateway)
        if written is not None and gateway_selects(written, role.labels):
            hosts |= {host.rpartition("/")[2] for one in written.spec.servers for host in one.hosts}
    return tuple(sorted(hosts))


@formula
def held_for(get: Reader, namespace: Namespace, name: str) -> tuple[Role, ...]:
    """The proxies that a RateLimit holds for.

    Those of other namespaces are not asked one by one: only gateways may be among them.
    """
    everywhere = namespace == get(mesh_settings).traffic.root_namespace
    return tuple(
        role
        for role in get(proxy_roles)
        if everywhere or role.namespace == namespace or role.type is ProxyType.ROUTER
        if get(limits_held, role, namespace, name)
    )


@formula
def counters(get: Reader) -> Redis:
    """Where Mixer counts.

    Mixer has no sidecar that would know a Service: a ready pod behind it stands for its name.
    """
    url = get(mesh_settings).limit_counters
    found = urlsplit(url)
    if not found.hostname:
        return Redis(url)
    port = found.port or _REDIS_PORT
    pods = get(key_servers, found.hostname, port)
    if not pods:
        return Redis(url)
    host, number = pods[0]
    name = found.hostname if found.scheme == "rediss" else ""
    return Redis(urlunsplit(found._replace(netloc=f"{host}:{number}")), name)


@formula
def counted_limits(get: Reader, shared: bool) -> tuple[CountedBy, ...]:
    """All that Mixer counts by, or else that replicas do, with whose proxies may count; by name."""
    found: list[CountedBy] = []
    for key in keys(get, KIND):
        written = get(policy, key.namespace, key.name)
        limits = [one for one in written.limits if one.shared == shared] if written else []
        if not limits:
            continue
        held = get(held_for, key.namespace, key.name)
        proxies = sorted({Counting(r.namespace, r.service_account) for r in held})
        found += [CountedBy(one, tuple(proxies)) for one in limits]
    return tuple(sorted(found, key=lambda one: one.limit.id))


@formula
def limits_document(get: Reader) -> LimitsDocument:
    """What Mixer is told; its version follows from what is in it."""
    redis = get(counters)
    found = LimitsDocument(
        counters=redis.url,
        counters_name=redis.name,
        limits=tuple(_counted(get, one) for one in get(counted_limits, True)),
        own=tuple(_counted(get, one) for one in get(counted_limits, False)),
    )
    version = hashlib.sha256(msgspec.json.encode(found)).hexdigest()
    return msgspec.structs.replace(found, version=version)


def _counted(get: Reader, counted: CountedBy) -> CountedLimit:
    limit = counted.limit
    written = read(get, limit.object, RateLimit)
    origin = None if written is None else written.origin
    return CountedLimit(
        id=limit.id,
        requests=limit.rate.requests,
        period=int(limit.rate.period.total_seconds()),
        burst=limit.rate.burst,
        keys=tuple(key.name for key in limit.keys),
        dry_run=limit.dry_run,
        quota_headers=limit.quota_headers,
        body=limit.refusal.body,
        content_type=limit.refusal.content_type,
        counts_all=limit.counts_all,
        proxies=tuple((one.namespace, one.service_account) for one in counted.proxies),
        file="" if origin is None else origin.file,
        line=line_of(origin, limit.field) or 0,
    )
