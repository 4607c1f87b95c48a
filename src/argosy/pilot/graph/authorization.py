"""Formulas of authorization: which policies hold for a workload, and what they ask."""

from argosy.api.security_authorization_policy import AuthorizationPolicy
from argosy.base.names import Namespace, ObjectKey
from argosy.derive import Reader, formula
from argosy.model.authz import NO_AUTHORIZATION, Authorization, Policy
from argosy.model.ext_authz import GrpcAuthorizer, HttpAuthorizer
from argosy.model.proxy import Role, Sight
from argosy.pilot.compile import authorization as combining
from argosy.pilot.compile import authz, ext_authz, policy_targets
from argosy.pilot.graph import rules
from argosy.pilot.graph.scopes import scope_of
from argosy.pilot.graph.world import mesh_settings, names_of, read

KIND = "AuthorizationPolicy"


@formula
def policy(get: Reader, namespace: Namespace, name: str) -> Policy | None:
    written = read(get, ObjectKey(KIND, namespace, name), AuthorizationPolicy)
    if written is None:
        return None
    return authz.policy(written, get(mesh_settings).listeners.trust_domains)


@formula
def policies_near(get: Reader, namespace: Namespace) -> tuple[Policy, ...]:
    """Those that may hold for workloads of a namespace: its own, and the root namespace's."""
    root = Namespace(get(mesh_settings).traffic.root_namespace)
    found = (
        get(policy, near, name)
        for near in dict.fromkeys((root, namespace))
        for name in names_of(get, KIND, near)
    )
    return tuple(one for one in found if one is not None)


@formula
def policies_of(get: Reader, role: Role) -> tuple[Policy, ...]:
    """Those that hold for a workload."""
    return tuple(
        one
        for one in get(policies_near, role.namespace)
        if policy_targets.selects(one.scope, one.object.namespace, role.namespace, role.labels)
    )


@formula
def authorization_of(get: Reader, role: Role) -> Authorization:
    found = get(policies_of, role)
    if not found:
        return NO_AUTHORIZATION

    def authorizer_of(provider: str) -> HttpAuthorizer | GrpcAuthorizer | None:
        return get(authorizer, get(scope_of, role).sight, provider)

    return combining.authorization(found, authorizer_of)


@formula
def authorizer(get: Reader, sight: Sight, name: str) -> HttpAuthorizer | GrpcAuthorizer | None:
    """Whom proxies of a ``sight`` ask; None if there is nobody, or nobody that they may call."""
    named = [p for p in get(mesh_settings).extension_providers if p.name == name]
    asked = ext_authz.service_of(named[0]) if named else None
    if asked is None:
        return None
    cluster = get(rules.provider_cluster, sight, *asked)
    return None if cluster is None else ext_authz.authorizer(named[0], cluster)
