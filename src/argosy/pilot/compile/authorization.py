"""The policies of one workload → its checks, for requests and for connections that are not HTTP.

What only requests have (hosts, methods, paths, headers, tokens) is not known of a connection: an
ALLOW rule that asks for it never holds there, of others it is left out and the rest is enforced.
https://istio.io/latest/docs/tasks/security/authorization/authz-tcp/
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from argosy.model.authz import (
    HTTP_FACTS,
    Action,
    Authorization,
    Checks,
    Clause,
    Custom,
    Policy,
    Rule,
)
from argosy.model.ext_authz import GrpcAuthorizer, HttpAuthorizer

F = TypeVar("F")

AuthorizerOf = Callable[[str], HttpAuthorizer | GrpcAuthorizer | None]
"""By a provider's name; None when there is none of it that could be asked."""


def authorization(policies: Iterable[Policy], authorizer_of: AuthorizerOf) -> Authorization:
    ordered = sorted(policies, key=lambda p: (p.object.namespace, p.object.name))
    asked = {p.provider: authorizer_of(p.provider) for p in ordered if p.action is Action.CUSTOM}
    return Authorization(
        http=_checks(ordered, asked.get),
        tcp=_checks([of_connections(p) for p in ordered], lambda name: _for_tcp(asked.get(name))),
    )


def _for_tcp(found: HttpAuthorizer | GrpcAuthorizer | None) -> GrpcAuthorizer | None:
    """Only gRPC authorizers can be asked about connections; what others would be asked is refused."""
    return found if isinstance(found, GrpcAuthorizer) else None


def _checks(policies: list[Policy], authorizer_of: AuthorizerOf) -> Checks:
    def of(action: Action, *, dry_run: bool = False) -> tuple[Policy, ...]:
        return tuple(p for p in policies if p.action is action and p.dry_run is dry_run)

    custom = of(Action.CUSTOM)
    providers = sorted({p.provider for p in custom})
    return Checks(
        custom=tuple(
            Custom(name, authorizer_of(name), tuple(p for p in custom if p.provider == name))
            for name in providers
        ),
        audit=of(Action.AUDIT),
        deny=of(Action.DENY),
        allow=of(Action.ALLOW),
        tried_deny=of(Action.DENY, dry_run=True),
        tried_allow=of(Action.ALLOW, dry_run=True),
    )


def of_connections(policy: Policy) -> Policy:
    """The policy as it holds for connections that are not HTTP."""
    if policy.action is Action.ALLOW:
        kept = tuple(rule for rule in policy.rules if not asks_for_http(rule))
        return replace(policy, rules=kept)
    return replace(policy, rules=tuple(_without_http(rule) for rule in policy.rules))


def asks_for_http(rule: Rule) -> bool:
    groups = (*rule.sources, *rule.operations)
    return any(_is_http(clause) for group in groups for clause in group)


def _without_http(rule: Rule) -> Rule:
    return replace(
        rule,
        sources=tuple(_kept(group) for group in rule.sources),
        operations=tuple(_kept(group) for group in rule.operations),
    )


def _kept(group: tuple[Clause[F], ...]) -> tuple[Clause[F], ...]:
    return tuple(clause for clause in group if not _is_http(clause))


def _is_http(clause: Clause[F]) -> bool:
    return any(isinstance(fact, HTTP_FACTS) for fact in clause.any_of)
