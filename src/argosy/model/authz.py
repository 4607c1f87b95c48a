"""Authorization: who may call a workload, in the order in which it is decided.

https://istio.io/latest/docs/concepts/security/#authorization-policies
A rule holds if one of its sources and one of its operations hold; a source or an operation if each
of its clauses does; a clause if one of its facts does, or if none does where it is ``negated``.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from argosy.base.names import ObjectKey
from argosy.model.ext_authz import GrpcAuthorizer, HttpAuthorizer
from argosy.model.policy_scope import PolicyScope
from argosy.model.text_match import Text


class Action(Enum):
    ALLOW = "ALLOW"
    DENY = "DENY"
    AUDIT = "AUDIT"
    CUSTOM = "CUSTOM"


# Facts of sources.


@dataclass(frozen=True, slots=True)
class Identity:
    """A SPIFFE id of the client's certificate, with ``spiffe://``. Plain text has none."""

    match: Text


@dataclass(frozen=True, slots=True)
class DirectAddress:
    """The address of the connection's other end is in this CIDR block."""

    network: str


@dataclass(frozen=True, slots=True)
class RemoteAddress:
    """The client's address as trusted proxies tell it (X-Forwarded-For, PROXY protocol)."""

    network: str


@dataclass(frozen=True, slots=True)
class Header:
    """One of the header's values; ``match`` None: it is there. ``name`` is in lower case."""

    name: str
    match: Text | None


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of the validated token, by the path to it: a text, or one in a list of texts."""

    path: tuple[str, ...]
    match: Text


@dataclass(frozen=True, slots=True)
class RequestPrincipal:
    """Issuer and subject of the validated token."""

    issuer: Text
    subject: Text


SourceFact = Identity | DirectAddress | RemoteAddress | Header | Claim | RequestPrincipal


# Facts of operations.


@dataclass(frozen=True, slots=True)
class Host:
    match: Text


@dataclass(frozen=True, slots=True)
class Method:
    match: Text
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class Path:
    """Of the path as it is normalized, without query and fragment."""

    match: Text


@dataclass(frozen=True, slots=True)
class DestinationPort:
    """The port of the workload that was dialled."""

    port: int


@dataclass(frozen=True, slots=True)
class DestinationAddress:
    network: str


@dataclass(frozen=True, slots=True)
class ServerName:
    """The name that a TLS client asks for."""

    match: Text


@dataclass(frozen=True, slots=True)
class FilterMetadata:
    """What another filter of Envoy says of the request: a text, or one ``in_list`` of texts."""

    filter: str
    key: str
    match: Text
    in_list: bool


OperationFact = (
    Host | Method | Path | DestinationPort | DestinationAddress | ServerName | FilterMetadata
)

Fact = SourceFact | OperationFact

HTTP_FACTS = (Header, Claim, RequestPrincipal, Host, Method, Path)
"""Those that only requests have, connections not."""


F_co = TypeVar("F_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Clause(Generic[F_co]):
    """``field`` is where it stands in the policy: ``spec.rules[0].when[1].values``."""

    field: str
    any_of: tuple[F_co, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """An empty source or operation takes everything. There is at least one of each."""

    policy: ObjectKey
    index: int
    sources: tuple[tuple[Clause[SourceFact], ...], ...]
    operations: tuple[tuple[Clause[OperationFact], ...], ...]

    @property
    def id(self) -> str:
        """Its name in logs and statistics, as Istio's."""
        return rule_id(self.policy, self.index)


def rule_id(policy: ObjectKey, index: int) -> str:
    return f"ns[{policy.namespace}]-policy[{policy.name}]-rule[{index}]"


@dataclass(frozen=True, slots=True)
class Policy:
    """No rules: it never matches. ``dry_run``: it is only watched. ``provider`` is of CUSTOM."""

    object: ObjectKey
    scope: PolicyScope
    action: Action
    rules: tuple[Rule, ...]
    dry_run: bool = False
    provider: str = ""


@dataclass(frozen=True, slots=True)
class Custom:
    """The policies that one external authorizer decides about.

    ``authorizer`` None: nobody can be asked, so what they match is refused.
    """

    provider: str
    authorizer: HttpAuthorizer | GrpcAuthorizer | None
    policies: tuple[Policy, ...]


@dataclass(frozen=True, slots=True)
class Checks:
    """What requests, or connections, must pass, in this order. Policies by namespace and name.

    ``allow`` empty: whatever is not refused before is allowed. ``tried_...``: in dry run.
    """

    custom: tuple[Custom, ...] = ()
    audit: tuple[Policy, ...] = ()
    deny: tuple[Policy, ...] = ()
    allow: tuple[Policy, ...] = ()
    tried_deny: tuple[Policy, ...] = ()
    tried_allow: tuple[Policy, ...] = ()


NO_CHECKS = Checks()


@dataclass(frozen=True, slots=True)
class Authorization:
    """Of one workload: ``http`` for requests, ``tcp`` for connections that are not HTTP."""

    http: Checks = NO_CHECKS
    tcp: Checks = NO_CHECKS


NO_AUTHORIZATION = Authorization()
