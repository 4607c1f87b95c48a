"""Formulas of what is wrong with an AuthorizationPolicy, as only the whole mesh can tell."""

from collections.abc import Iterator

from argosy.base.names import Namespace
from argosy.base.problems import Problem
from argosy.derive import Reader, formula
from argosy.model.authz import Action, Policy, RemoteAddress, Rule
from argosy.model.proxy import ProxyType, Role
from argosy.model.service import Protocol
from argosy.pilot.compile.authorization import asks_for_http
from argosy.pilot.compile.policy_targets import holds_for
from argosy.pilot.graph import inbound
from argosy.pilot.graph.authorization import authorizer, policy
from argosy.pilot.graph.policy_problems import for_nobody, warning, without_proxy
from argosy.pilot.graph.scopes import scope_of
from argosy.pilot.graph.world import mesh_settings, proxy_roles


@formula
def authorization_problems(get: Reader, namespace: Namespace, name: str) -> tuple[Problem, ...]:
    found = get(policy, namespace, name)
    if found is None:
        return ()
    held = get(held_for, namespace, name)
    return (
        *_authorizer(get, found, held),
        *for_nobody(found.object, found.scope, held),
        *_opaque(get, found, held),
        *_believed(found, held),
        *without_proxy(found.object, held, "enforces it"),
    )


@formula
def held_for(get: Reader, namespace: Namespace, name: str) -> tuple[Role, ...]:
    """The proxies that a policy holds for."""
    found = get(policy, namespace, name)
    if found is None:
        return ()
    root = get(mesh_settings).traffic.root_namespace
    return tuple(
        role
        for role in get(proxy_roles)
        if holds_for(found.scope, namespace, root, role.namespace, role.labels)
    )


def _authorizer(get: Reader, found: Policy, held: tuple[Role, ...]) -> Iterator[Problem]:
    if found.action is not Action.CUSTOM:
        return
    providers = {p.name: p for p in get(mesh_settings).extension_providers}
    field = "spec.provider.name"
    if found.provider not in providers:
        known = ", ".join(sorted(providers)) or "none"
        message = f"there is no external authorizer {found.provider}, so what the policy matches is refused"
        hint = f"Add it to extensionProviders of MeshConfig; there are: {known}"
        yield Problem(found.object, field, "ProviderNotFound", message, hint)
        return
    for role in held:
        if get(authorizer, get(scope_of, role).sight, found.provider) is None:
            provider = providers[found.provider]
            written = provider.envoy_ext_authz_http or provider.envoy_ext_authz_grpc
            if written is None:
                message = f"{found.provider} is no external authorizer"
                hint = "Write envoyExtAuthzHttp or envoyExtAuthzGrpc in MeshConfig"
            else:
                message = (
                    f"proxies of namespace {role.namespace} do not know the service "
                    f"{written.service} with port {written.port}"
                )
                hint = "Correct extensionProviders of MeshConfig, or the Sidecar that hides it"
            message += ", so what the policy matches is refused"
            yield Problem(found.object, field, "ProviderNotFound", message, hint)
            return


def _opaque(get: Reader, found: Policy, held: tuple[Role, ...]) -> Iterator[Problem]:
    """What its rules mean at ports whose bytes are opaque, if workloads have such ports."""
    if found.action is Action.AUDIT or found.dry_run:
        return
    asking = [rule for rule in found.rules if asks_for_http(rule)]
    asked_by_http = found.action is Action.CUSTOM and not _by_grpc(get, found)
    if not asking and not asked_by_http:
        return
    where = next((one for role in held if (one := _opaque_port(get, role))), None)
    if where is None:
        return
    if asked_by_http:
        message = f"an HTTP authorizer cannot decide about {where}: what matches is refused there"
        hint = "Use an authorizer of kind envoyExtAuthzGrpc, or limit the policy to HTTP ports"
        yield warning(found.object, "spec.provider", "OpaquePort", message, hint)
        return
    for rule in asking:
        yield _of_rule(found, rule, where)


def _of_rule(found: Policy, rule: Rule, where: str) -> Problem:
    if found.action is Action.ALLOW:
        effect = f"never holds at {where}, whose bytes are opaque"
        hint = "Allow such ports by a rule without hosts, methods, paths, headers and tokens"
    else:
        effect = f"holds at {where} without what only requests have, since its bytes are opaque"
        hint = "Limit the rule to HTTP ports, with ports"
    message = f"the rule asks for what only requests have, so it {effect}"
    field = f"spec.rules[{rule.index}]"
    return warning(found.object, field, "OpaquePort", message, hint)


def _believed(found: Policy, held: tuple[Role, ...]) -> Iterator[Problem]:
    """Addresses out of X-Forwarded-For, at proxies that take any caller's word for it."""
    if all(role.type is ProxyType.ROUTER for role in held):
        return
    for rule in found.rules:
        for clause in (clause for group in rule.sources for clause in group):
            if any(isinstance(fact, RemoteAddress) for fact in clause.any_of):
                message = (
                    "a workload's own proxy believes whatever X-Forwarded-For its caller sends, so "
                    "callers may pretend to be from any address"
                )
                hint = "Use ipBlocks or principals, or apply the policy to the ingress gateway"
                yield warning(found.object, clause.field, "UntrustedAddress", message, hint)


def _by_grpc(get: Reader, found: Policy) -> bool:
    for provider in get(mesh_settings).extension_providers:
        if provider.name == found.provider:
            return provider.envoy_ext_authz_grpc is not None
    return False


def _opaque_port(get: Reader, role: Role) -> str:
    """``port 9000 of tcp-echo``; empty if there is none that is declared so."""
    if role.type is not ProxyType.SIDECAR:
        return ""
    for port in get(inbound.compiled_listener, role).value.ports:
        if not port.protocol.is_http and port.protocol is not Protocol.AUTO:
            return f"port {port.port} of {port.host.partition('.')[0] or 'its workload'}"
    return ""
