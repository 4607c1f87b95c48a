"""RateLimits that hold for nobody, or count what others count."""

from argosy.api.argosy_rate_limit import RateLimit
from argosy.base.names import ObjectKey
from argosy.base.problems import Problem, Severity
from argosy.derive import Reader, formula
from argosy.model.rate_limit import Limit
from argosy.pilot.analyze.selectors import unmatched
from argosy.pilot.graph.rate_limits import held_for, limits_of
from argosy.pilot.graph.world import read


@formula
def selector(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    written = read(get, key, RateLimit)
    if written is None or written.spec.selector is None:
        return ()
    return unmatched(get, key, written.spec.selector.match_labels, "spec.selector.matchLabels")


@formula
def overlaps(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    """Rules with the same match and keys as one of another RateLimit, of the same workload.

    Both hold, so the stricter is what clients feel.
    """
    found: dict[str, Problem] = {}
    for role in get(held_for, key.namespace, key.name):
        limits = get(limits_of, role)
        others = {_counts(one): one for one in limits if one.object != key and not one.dry_run}
        for limit in limits:
            other = others.get(_counts(limit))
            if limit.object != key or limit.dry_run or other is None:
                continue
            app = dict(role.labels).get("app", role.service_account)
            found.setdefault(
                limit.field,
                Problem(
                    key,
                    limit.field,
                    "OverlappingLimits",
                    f"rule {other.rule} of {other.object} counts the same requests at {app} in "
                    f"{role.namespace}: both hold, so the stricter one decides",
                    "merge the two, or tell them apart by match or keys",
                    Severity.WARNING,
                ),
            )
    return tuple(found.values())


def _counts(limit: Limit) -> tuple[object, ...]:
    """What decides which requests are counted together."""
    clauses = {(one.any_of, one.negated) for one in limit.clauses}
    return frozenset(clauses), frozenset(limit.keys)
