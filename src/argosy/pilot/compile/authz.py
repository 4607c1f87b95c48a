"""AuthorizationPolicy → what it asks of requests and connections.

https://istio.io/latest/docs/reference/config/security/authorization-policy/
"""

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from argosy.api import security_authorization_policy as api
from argosy.api.authorization_attributes import (
    EXPERIMENTAL,
    Attribute,
    get_attribute,
)
from argosy.api.validate_authorization_policy import TRUE
from argosy.base.names import Namespace
from argosy.model.authz import (
    Action,
    Clause,
    DestinationAddress,
    DestinationPort,
    DirectAddress,
    FilterMetadata,
    OperationFact,
    Policy,
    RemoteAddress,
    Rule,
    ServerName,
    SourceFact,
)
from argosy.pilot.compile import authz_values as values
from argosy.pilot.compile import policy_targets

F = TypeVar("F")


class UnreadableError(ValueError):
    """A value, or a key, that validation would have refused."""


@dataclass(frozen=True, slots=True)
class _Context:
    """``allows``: the policy gives, so that what cannot be understood must not match."""

    namespace: Namespace
    trust_domains: tuple[str, ...]
    allows: bool


def policy(written: api.AuthorizationPolicy, trust_domains: tuple[str, ...]) -> Policy:
    """``trust_domains`` are the mesh's own and its aliases.

    Of values that cannot be understood (validation refuses them) ALLOW loses the rule, the others
    lose the value: less is allowed, more is denied.
    """
    spec = written.spec
    action = Action(spec.action)
    namespace = Namespace(written.metadata.namespace)
    context = _Context(namespace, trust_domains, action is Action.ALLOW)
    rules = (_rule(written, i, rule, context) for i, rule in enumerate(spec.rules))
    annotation = written.metadata.annotations.get(api.DRY_RUN)
    return Policy(
        object=written.key,
        scope=policy_targets.policy_scope(spec.selector, spec.target_ref, spec.target_refs),
        action=action,
        rules=tuple(rule for rule in rules if rule is not None),
        dry_run=annotation in TRUE and action in (Action.ALLOW, Action.DENY),
        provider=spec.provider.name if spec.provider is not None else "",
    )


def _rule(
    written: api.AuthorizationPolicy, index: int, rule: api.Rule, context: _Context
) -> Rule | None:
    field = f"spec.rules[{index}]"
    try:
        of_source, of_operation = _conditions(rule.when, f"{field}.when", context)
        sources = [
            (
                *_source(item.source or api.Source(), f"{field}.from[{i}].source", context),
                *of_source,
            )
            for i, item in enumerate(rule.from_ or ())
        ]
        operations = [
            (
                *_operation(
                    item.operation or api.Operation(), f"{field}.to[{i}].operation", context
                ),
                *of_operation,
            )
            for i, item in enumerate(rule.to or ())
        ]
    except UnreadableError:
        return None
    return Rule(
        written.key,
        index,
        tuple(sources) or (tuple(of_source),),
        tuple(operations) or (tuple(of_operation),),
    )


def _source(written: api.Source, field: str, context: _Context) -> list[Clause[SourceFact]]:
    def principals(listed: tuple[str, ...]) -> tuple[str, ...]:
        return values.with_aliases(listed, context.trust_domains)

    def domains(listed: tuple[str, ...]) -> tuple[str, ...]:
        return values.domains_with_aliases(listed, context.trust_domains)

    def account(value: str) -> SourceFact:
        return values.service_account(value, context.namespace)

    found = _Clauses[SourceFact](field, context)
    found.add("principals", principals(written.principals), values.principal)
    found.add_not("notPrincipals", principals(written.not_principals), values.principal)
    found.add("requestPrincipals", written.request_principals, values.request_principal)
    found.add_not("notRequestPrincipals", written.not_request_principals, values.request_principal)
    found.add("namespaces", written.namespaces, values.namespace_of_identity)
    found.add_not("notNamespaces", written.not_namespaces, values.namespace_of_identity)
    found.add("serviceAccounts", written.service_accounts, account)
    found.add_not("notServiceAccounts", written.not_service_accounts, account)
    found.add("trustDomains", domains(written.trust_domains), values.trust_domain_of_identity)
    found.add_not(
        "notTrustDomains", domains(written.not_trust_domains), values.trust_domain_of_identity
    )
    found.add("ipBlocks", written.ip_blocks, _direct)
    found.add_not("notIpBlocks", written.not_ip_blocks, _direct)
    found.add("remoteIpBlocks", written.remote_ip_blocks, _remote)
    found.add_not("notRemoteIpBlocks", written.not_remote_ip_blocks, _remote)
    return found.clauses


def _operation(
    written: api.Operation, field: str, context: _Context
) -> list[Clause[OperationFact]]:
    found = _Clauses[OperationFact](field, context)
    found.add("hosts", written.hosts, partial(values.host, wide=not context.allows))
    found.add_not("notHosts", written.not_hosts, partial(values.host, wide=context.allows))
    found.add("ports", written.ports, _port)
    found.add_not("notPorts", written.not_ports, _port)
    found.add("methods", written.methods, partial(values.method, wide=not context.allows))
    found.add_not("notMethods", written.not_methods, partial(values.method, wide=context.allows))
    found.add("paths", written.paths, values.path)
    found.add_not("notPaths", written.not_paths, values.path)
    return found.clauses


def _conditions(
    written: Iterable[api.Condition], field: str, context: _Context
) -> tuple[list[Clause[SourceFact]], list[Clause[OperationFact]]]:
    """Raises ``UnreadableError`` where that must take the rule away."""
    sources = _Clauses[SourceFact](field, context)
    operations = _Clauses[OperationFact](field, context)
    for i, condition in enumerate(written):
        attribute = get_attribute(condition.key)
        if attribute is None:
            if context.allows:
                raise UnreadableError(condition.key)
            continue
        for name, negated, listed in (
            ("values", False, condition.values),
            ("notValues", True, condition.not_values),
        ):
            where = f"[{i}].{name}"
            of_operation = _operation_value(attribute)
            if of_operation is not None:
                operations.append(where, listed, of_operation, negated)
                continue
            expanded = _expanded(attribute.name, listed, context)
            wide = negated is context.allows
            sources.append(where, expanded, _source_value(attribute, context, wide), negated)
    return sources.clauses, operations.clauses


def _expanded(name: str, listed: tuple[str, ...], context: _Context) -> tuple[str, ...]:
    match name:
        case "source.principal":
            return values.with_aliases(listed, context.trust_domains)
        case "source.trustDomain":
            return values.domains_with_aliases(listed, context.trust_domains)
    return listed


def _operation_value(attribute: Attribute) -> Callable[[str], OperationFact] | None:
    match attribute.name:
        case "destination.ip":
            return lambda value: DestinationAddress(_network(value))
        case "destination.port":
            return _port
        case "connection.sni":
            return lambda value: ServerName(values.text(value))
        case name if name.startswith(EXPERIMENTAL):
            return lambda value: _filter_metadata(attribute, value)
    return None


def _source_value(
    attribute: Attribute, context: _Context, wide: bool
) -> Callable[[str], SourceFact]:
    """``wide``: what matches is refused, so that no way of writing it may pass."""
    keys = attribute.keys
    match attribute.name:
        case "request.headers":
            return lambda value: values.header(keys[0], value, wide)
        case "source.ip":
            return _direct
        case "remote.ip":
            return _remote
        case "source.namespace":
            return values.namespace_of_identity
        case "source.principal":
            return values.principal
        case "source.serviceAccount":
            return lambda value: values.service_account(value, context.namespace)
        case "source.trustDomain":
            return values.trust_domain_of_identity
        case "request.auth.principal":
            return values.request_principal
        case "request.auth.audiences":
            return lambda value: values.claim(("aud",), value)
        case "request.auth.presenter":
            return lambda value: values.claim(("azp",), value)
        case "request.auth.claims":
            return lambda value: values.claim(keys, value)
    raise AssertionError(f"{attribute.name} has no meaning")


class _Clauses(Generic[F]):
    """The clauses of one source, operation or list of conditions, at ``field`` of the policy."""

    def __init__(self, field: str, context: _Context) -> None:
        self._field = field
        self._context = context
        self.clauses: list[Clause[F]] = []

    def add(self, name: str, listed: Iterable[str], make: Callable[[str], F]) -> None:
        self.append(f".{name}", listed, make, negated=False)

    def add_not(self, name: str, listed: Iterable[str], make: Callable[[str], F]) -> None:
        self.append(f".{name}", listed, make, negated=True)

    def append(
        self, suffix: str, listed: Iterable[str], make: Callable[[str], F], negated: bool
    ) -> None:
        """A list without values asks for nothing. Raises ``UnreadableError`` for policies that allow."""
        found = []
        for value in listed:
            try:
                found.append(make(value))
            except ValueError as error:
                if self._context.allows:
                    raise UnreadableError(value) from error
        if found:
            self.clauses.append(Clause(f"{self._field}{suffix}", tuple(found), negated))


def _network(value: str) -> str:
    return str(ipaddress.ip_network(value, strict=False))


def _direct(value: str) -> DirectAddress:
    return DirectAddress(_network(value))


def _remote(value: str) -> RemoteAddress:
    return RemoteAddress(_network(value))


def _port(value: str) -> DestinationPort:
    return DestinationPort(int(value))


def _filter_metadata(attribute: Attribute, value: str) -> FilterMetadata:
    """``[value]`` is one of a list."""
    name, key = attribute.name.removeprefix(EXPERIMENTAL), attribute.keys[0]
    if value.startswith("[") and value.endswith("]"):
        return FilterMetadata(name, key, values.text(value.strip("[]")), in_list=True)
    return FilterMetadata(name, key, values.text(value), in_list=False)
