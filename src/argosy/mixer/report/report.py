"""A report: all outcomes, the findings among them, and a score for each namespace.

The score is the weighted share of what was right. A rule that looked at n objects of a namespace and
found something at f of them loses f/n of its weight; an object is counted once, and by how grave what
was found there is, as a share of the rule's own severity. Rules that looked at nothing do not count.

    score = 100 × (1 − Σ weight × lost / Σ weight), rounded down

So the size of a namespace does not matter, and 100 means that there is nothing to do.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from argosy.mixer.report.checks import CONFIGURED
from argosy.mixer.report.facts import Facts
from argosy.mixer.report.findings import Found, Outcome, Rule, Severity, findings
from argosy.mixer.report.measured import MEASURED, Share, mutual_tls_share

PERFECT = 100


@dataclass(frozen=True, slots=True)
class NamespaceScore:
    """``counts`` are of findings, by severity."""

    namespace: str
    score: int
    counts: tuple[tuple[Severity, int], ...]
    mutual_tls: Share | None

    def count(self, severity: Severity) -> int:
        return dict(self.counts).get(severity, 0)


@dataclass(frozen=True, slots=True)
class Report:
    """``unmeasured`` says what nobody knows, and why. ``checked`` is how many outcomes there are."""

    mesh: str
    version: str
    moment: str
    since: float
    score: int
    mutual_tls: Share | None
    namespaces: tuple[NamespaceScore, ...]
    findings: tuple[Found, ...]
    unmeasured: tuple[str, ...]
    checked: int

    def worst(self) -> Severity | None:
        return self.findings[0].finding.severity if self.findings else None


def report(facts: Facts, namespace: str = "") -> Report:
    """``namespace`` empty: of the whole mesh."""
    outcomes = [
        outcome
        for check in (*CONFIGURED, *MEASURED)
        for outcome in check(facts)
        if not namespace or outcome.namespace == namespace
    ]
    found = findings(outcomes)
    names = sorted({outcome.namespace for outcome in outcomes})
    return Report(
        mesh=facts.mesh,
        version=facts.version,
        moment=facts.moment,
        since=facts.since,
        score=score(outcomes),
        mutual_tls=mutual_tls_share(facts, namespace),
        namespaces=tuple(
            NamespaceScore(
                name,
                score([one for one in outcomes if one.namespace == name]),
                _counts([one for one in found if one.namespace == name]),
                mutual_tls_share(facts, name) if name else None,
            )
            for name in names
        ),
        findings=found,
        unmeasured=facts.unmeasured,
        checked=len(outcomes),
    )


def score(outcomes: Iterable[Outcome]) -> int:
    """See the module."""
    looked: dict[Rule, dict[str, int]] = {}
    for outcome in outcomes:
        objects = looked.setdefault(outcome.rule, {})
        lost = outcome.finding.severity.weight if outcome.finding else 0
        objects[outcome.object] = max(objects.get(outcome.object, 0), lost)
    weights = {rule: rule.severity.weight for rule in looked}
    total = sum(weights.values())
    if not total:
        return PERFECT
    lost_weight = sum(
        weight * sum(min(1.0, lost / weight) for lost in looked[rule].values()) / len(looked[rule])
        for rule, weight in weights.items()
        if weight
    )
    return int(PERFECT * (1 - lost_weight / total) + 1e-9)


def _counts(found: Sequence[Found]) -> tuple[tuple[Severity, int], ...]:
    return tuple(
        (severity, number)
        for severity in Severity
        if (number := sum(one.finding.severity is severity for one in found))
    )
