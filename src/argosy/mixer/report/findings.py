"""What a report says: rules, outcomes of looking at single objects, and the findings among them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    """``weight`` is what a rule counts in a namespace's score."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"

    @property
    def weight(self) -> int:
        return _WEIGHTS[self]

    @property
    def rank(self) -> int:
        """The gravest first."""
        return list(Severity).index(self)

    def is_at_least(self, other: "Severity") -> bool:
        return self.rank <= other.rank


_WEIGHTS = {
    Severity.CRITICAL: 40,
    Severity.HIGH: 20,
    Severity.MEDIUM: 10,
    Severity.LOW: 5,
    Severity.INFO: 0,
}


@dataclass(frozen=True, slots=True)
class Rule:
    """``severity`` is of the gravest finding it makes. ``measured``: it needs to see traffic."""

    id: str
    severity: Severity
    title: str
    why: str
    measured: bool = False


MTLS_TRAFFIC = Rule(
    "mtls-plaintext-traffic",
    Severity.HIGH,
    "Traffic inside the mesh is encrypted and its callers are known",
    "What travels in plaintext can be read and forged by whoever sits between, and its caller has "
    "no identity that a policy could name.",
    measured=True,
)
MTLS_ACCEPTED = Rule(
    "mtls-plaintext-accepted",
    Severity.HIGH,
    "Workloads accept mutual TLS only",
    "A workload that accepts plaintext serves callers without identity, now or tomorrow.",
)
NO_PROXY = Rule(
    "mesh-no-proxy",
    Severity.MEDIUM,
    "Workloads have a proxy",
    "No policy of the mesh holds for a workload without a proxy, and its traffic is plaintext.",
)
NO_AUTHORIZATION = Rule(
    "authz-none",
    Severity.HIGH,
    "Services have an authorization policy",
    "Without an ALLOW policy everybody in the mesh may call everything of the service.",
)
ALLOW_ALL = Rule(
    "authz-allow-all",
    Severity.HIGH,
    "Policies do not allow everything",
    "A rule without from, to and when lets every caller do everything, whatever other rules say.",
)
ANYONE = Rule(
    "authz-anyone",
    Severity.MEDIUM,
    "Policies name who may call",
    "A rule without a source, or with a wildcard for all identities, holds for callers nobody "
    "thought of.",
)
UNUSED_ALLOW = Rule(
    "authz-unused-allow",
    Severity.LOW,
    "What policies allow is used",
    "Permissions that nobody uses are a way for an intruder and for nobody else.",
    measured=True,
)
DRY_RUN = Rule(
    "authz-dry-run",
    Severity.INFO,
    "Policies are enforced",
    "A policy in dry run is only watched.",
)
GATEWAY_TLS = Rule(
    "gateway-no-tls",
    Severity.HIGH,
    "Gateways serve TLS",
    "Clients outside send requests and passwords in plaintext.",
)
CERTIFICATE = Rule(
    "certificate-expiring",
    Severity.HIGH,
    "Certificates are renewed in time",
    "After its end no proxy accepts the certificate, and requests fail.",
)
EGRESS_UNKNOWN = Rule(
    "egress-unregistered",
    Severity.MEDIUM,
    "Destinations outside are registered",
    "Traffic to a destination that no ServiceEntry names is under no policy.",
    measured=True,
)
EGRESS = Rule(
    "egress-destination",
    Severity.INFO,
    "Destinations outside that were reached",
    "They see what workloads send; the list is for people to check.",
    measured=True,
)
CONFIGURATION = Rule(
    "configuration-problem",
    Severity.HIGH,
    "Objects have no problems",
    "What does not work as it is written does not protect as it is written.",
)
REJECTED = Rule(
    "configuration-rejected",
    Severity.HIGH,
    "Proxies have the configuration that was written",
    "A proxy that refuses its configuration goes on with what it had before.",
)

RULES = (
    *(MTLS_TRAFFIC, MTLS_ACCEPTED, NO_PROXY),
    *(NO_AUTHORIZATION, ALLOW_ALL, ANYONE, UNUSED_ALLOW, DRY_RUN),
    *(GATEWAY_TLS, CERTIFICATE, EGRESS_UNKNOWN, EGRESS, CONFIGURATION, REJECTED),
)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something is written; ``line`` 0: nobody knows."""

    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


NOWHERE = Place()


@dataclass(frozen=True, slots=True)
class Finding:
    """``message`` says what is so, ``remedy`` what to do; why it matters is the rule's."""

    severity: Severity
    message: str
    remedy: str
    place: Place = NOWHERE


@dataclass(frozen=True, slots=True)
class Outcome:
    """One object looked at by one rule. ``object`` reads ``Kind namespace/name``, or says it."""

    rule: Rule
    namespace: str
    object: str
    finding: Finding | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A finding with what it is about."""

    rule: Rule
    namespace: str
    object: str
    finding: Finding


def findings(outcomes: Iterable[Outcome]) -> tuple[Found, ...]:
    """The gravest first, then by namespace, rule and object."""
    found = [
        Found(one.rule, one.namespace, one.object, one.finding)
        for one in outcomes
        if one.finding is not None
    ]
    order = {rule: place for place, rule in enumerate(RULES)}
    return tuple(
        sorted(
            found,
            key=lambda one: (
                *(one.finding.severity.rank, one.namespace, order[one.rule], one.object),
                *(one.finding.place, one.finding.message),
            ),
        )
    )


def by_rule(found: Sequence[Found]) -> list[tuple[Rule, list[Found]]]:
    """Rules in the order of their gravest finding, each with its findings in their order."""
    groups: dict[Rule, list[Found]] = {}
    for one in found:
        groups.setdefault(one.rule, []).append(one)
    return list(groups.items())
