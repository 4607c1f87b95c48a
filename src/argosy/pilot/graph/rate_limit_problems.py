"""Formulas of what is wrong with a RateLimit, as only the whole mesh can tell."""

from collections.abc import Iterator

from argosy.api.argosy_rate_limit import RateLimit
from argosy.api.networking_gateway import Gateway
from argosy.api.policy_target import GATEWAY_API
from argosy.base.names import Namespace, ObjectKey
from argosy.base.problems import Problem
from argosy.derive import Reader, formula
from argosy.model.policy_scope import Attached, Selected
from argosy.model.proxy import ProxyType, Role
from argosy.model.rate_limit import (
    AddressKey,
    ClaimKey,
    Limit,
    LimitPolicy,
    PeerKey,
    Targets,
)
from argosy.pilot.compile.policy_targets import holds_for
from argosy.pilot.graph import inbound
from argosy.pilot.graph.policy_problems import called, warning, without_proxy
from argosy.pilot.graph.rate_limits import held_for, policy
from argosy.pilot.graph.request_authn import policies_for
from argosy.pilot.graph.world import has_mixer, mesh_settings, proxy_roles, read, service


@formula
def rate_limit_problems(get: Reader, namespace: Namespace, name: str) -> tuple[Problem, ...]:
    found = get(policy, namespace, name)
    if found is None:
        return ()
    held = get(held_for, namespace, name)
    return (
        *_sharing(get, found),
        *_targets(get, found, held),
        *_claims(get, found, held),
        *_addresses(found, held),
        *_callers(found, held),
        *_opaque(get, found, held),
        *without_proxy(found.object, _proxyless(get, found), "counts requests", "spec"),
    )


def _sharing(get: Reader, found: LimitPolicy) -> Iterator[Problem]:
    written = read(get, found.object, RateLimit)
    if written is None or get(has_mixer):
        return
    for index, rule in enumerate(written.spec.rules):
        if rule.scope == "SHARED":
            message = "this mesh was started without Mixer, so each replica counts for itself"
            hint = "start it without --no-mixer, or write scope: PER_REPLICA"
            yield warning(found.object, f"spec.rules[{index}].scope", "NotShared", message, hint)


def _targets(get: Reader, found: LimitPolicy, held: tuple[Role, ...]) -> Iterator[Problem]:
    """Selectors that match no workload are told by the analyzers."""
    written = read(get, found.object, RateLimit)
    if written is None or not isinstance(found.scope, Targets):
        return
    where = found.object.namespace
    for index, target in enumerate(written.spec.target_refs):
        field = f"spec.targetRefs[{index}]"
        if target.kind == "Service":
            if get(service, where, target.name) is None:
                message = f"there is no Service {target.name} in namespace {where}"
                yield warning(found.object, field, "TargetNotFound", message, "correct the name")
        elif target.group != GATEWAY_API:
            if read(get, ObjectKey("Gateway", where, target.name), Gateway) is None:
                message = f"there is no Gateway {target.name} in namespace {where}"
                yield warning(found.object, field, "TargetNotFound", message, "correct the name")
        elif not held:
            message = f"no proxy of the Gateway {target.name} runs here, so it holds for nobody"
            hint = "use a Gateway of networking.istio.io, or a selector"
            yield warning(found.object, field, "SelectsNothing", message, hint)


def _claims(get: Reader, found: LimitPolicy, held: tuple[Role, ...]) -> Iterator[Problem]:
    """Claims that no request can have where the limit holds."""
    unchecked = next((r for r in held if not get(policies_for, r.namespace, r.labels)), None)
    if unchecked is None:
        return
    for limit in found.limits:
        if any(isinstance(key, ClaimKey) for key in limit.keys) and not _is_sent(limit, unchecked):
            message = (
                f"no RequestAuthentication checks tokens at {called(unchecked)}, so no request has a "
                "claim there, and all are counted together"
            )
            hint = "write a RequestAuthentication for it, or use another key"
            yield warning(found.object, f"{limit.field}.keys", "ClaimNeverKnown", message, hint)


def _addresses(found: LimitPolicy, held: tuple[Role, ...]) -> Iterator[Problem]:
    sidecar = next((r for r in held if r.type is ProxyType.SIDECAR), None)
    if sidecar is None:
        return
    for limit in found.limits:
        if any(isinstance(key, AddressKey) for key in limit.keys) and not limit.routes:
            message = (
                f"the proxy of {called(sidecar)} believes whatever X-Forwarded-For its caller sends, "
                "so callers may pretend to be from any address and have a limit for each"
            )
            hint = "use source: PRINCIPAL, or attach the RateLimit to the ingress gateway"
            yield warning(found.object, f"{limit.field}.keys", "UntrustedAddress", message, hint)


def _callers(found: LimitPolicy, held: tuple[Role, ...]) -> Iterator[Problem]:
    """Keys that tell callers apart where there is but one."""
    for limit in found.limits:
        sender = next((role for role in held if _is_sent(limit, role)), None)
        told = [key.name for key in limit.keys if isinstance(key, PeerKey | ClaimKey | AddressKey)]
        if sender is not None and told:
            message = (
                f"the proxy of {called(sender)} counts by routes what its workload sends, and does not "
                f"know {' and '.join(told)} of that: all are counted together"
            )
            hint = "use another key, or attach the RateLimit to a gateway"
            yield warning(found.object, f"{limit.field}.keys", "CallerNotKnown", message, hint)


def _is_sent(limit: Limit, role: Role) -> bool:
    """Whether the proxies of a role count by a limit what their workloads send."""
    return bool(limit.routes) and role.type is ProxyType.SIDECAR


def _opaque(get: Reader, found: LimitPolicy, held: tuple[Role, ...]) -> Iterator[Problem]:
    """Workloads that it was written for, and that speak nothing that could be counted."""
    if not isinstance(found.scope, Selected | Targets) or all(one.routes for one in found.limits):
        return
    for role in held:
        if role.type is not ProxyType.SIDECAR:
            continue
        ports = get(inbound.compiled_listener, role).value.ports
        if ports and all(port.protocol.is_tcp for port in ports):
            message = f"the bytes of all ports of {called(role)} are opaque: it counts no requests"
            hint = "name a port http-..., if it is HTTP"
            yield warning(found.object, "spec", "OpaquePort", message, hint)
            return


def _proxyless(get: Reader, found: LimitPolicy) -> Iterator[Role]:
    """Workloads that it was written for: of limits, those without a proxy hold none."""
    if isinstance(found.scope, Targets | Attached):
        return
    root = get(mesh_settings).traffic.root_namespace
    for role in get(proxy_roles):
        if role.type is ProxyType.GRPC and holds_for(
            found.scope, found.object.namespace, root, role.namespace, role.labels
        ):
            yield role
