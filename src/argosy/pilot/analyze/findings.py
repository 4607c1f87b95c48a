"""Everything that is wrong with one object: what Pilot found, and what the analyzers find."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from argosy.api.networking_virtual_service import VirtualService
from argosy.api.validate import validate
from argosy.base.names import ObjectKey
from argosy.base.problems import Problem, Severity
from argosy.derive import Reader, formula
from argosy.pilot.analyze import codes
from argosy.pilot.analyze.analyzers import checks
from argosy.pilot.analyze.workloads import metadata_of, object_of
from argosy.pilot.graph.problems import problems_of

SUPPRESS = "galley.istio.io/analyze-suppress"
_MATCH = re.compile(r"(spec\.(http|tls|tcp)\[(\d+)\])\.match\[(\d+)\]\Z")


@formula
def findings_of(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    """Of a stored object. What its annotation suppresses is left out, except what puts it out of
    force: nobody may hide that."""
    found = [*get(problems_of, key)]
    for check in checks(key.kind):
        found += get(check, key)
    suppressed = suppressed_by(metadata_annotations(get, key))
    return tuple(
        problem
        for problem in dict.fromkeys(found)
        if problem.severity is Severity.ERROR or not is_suppressed(problem, suppressed)
    )


@formula
def findings_of_all(
    get: Reader, keys: tuple[ObjectKey, ...]
) -> tuple[tuple[ObjectKey, tuple[Problem, ...]], ...]:
    """Of many objects at once, so that what they share is computed once."""
    return tuple((key, get(findings_of, key)) for key in keys)


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem under the name and the level that ``argosy analyze`` tells it with.

    ``code`` is Istio's, or the problem's own name where Istio has none.
    """

    problem: Problem
    code: str
    name: str
    level: Severity


def finding(problem: Problem, *, by_itself: bool = False) -> Finding:
    """``by_itself``: found by looking at the object alone."""
    code = codes.find(problem.object.kind, problem.field, problem.code)
    if code is None and by_itself:
        code = codes.schema(problem.severity)
    if code is None:
        return Finding(problem, problem.code, problem.code, problem.severity)
    return Finding(problem, code.id, code.name, code.level)


@formula
def analysis_of(get: Reader, key: ObjectKey, alpha: bool) -> tuple[Finding, ...]:
    """All that is to be said of an object, by itself and in its mesh, as ``argosy analyze`` has it."""
    written = get(object_of, key)
    if written is None:
        return ()
    by_itself = dict.fromkeys(validate(written))
    in_mesh = [*get(problems_of, key)]
    for check in checks(key.kind, analysis=True, demand=alpha):
        in_mesh += get(check, key)
    found: Iterable[Problem] = dict.fromkeys((*by_itself, *in_mesh))
    if isinstance(written, VirtualService):
        found = _whole_rules(written, found)
    suppressed = suppressed_by(written.metadata.annotations)
    return tuple(
        finding(problem, by_itself=problem in by_itself)
        for problem in found
        if not is_suppressed(problem, suppressed)
    )


@formula
def analysis_of_all(get: Reader, keys: tuple[ObjectKey, ...], alpha: bool) -> tuple[Finding, ...]:
    return tuple(found for key in keys for found in get(analysis_of, key, alpha))


def suppressed_by(annotations: Mapping[str, str]) -> frozenset[str]:
    """Codes, or ``*``: https://istio.io/latest/docs/reference/config/annotations/."""
    return frozenset(item.strip() for item in annotations.get(SUPPRESS, "").split(","))


def is_suppressed(problem: Problem, suppressed: frozenset[str]) -> bool:
    code = codes.find(problem.object.kind, problem.field, problem.code)
    names = {"*", problem.code} | ({code.id, code.name} if code else set())
    return not suppressed.isdisjoint(names)


def metadata_annotations(get: Reader, key: ObjectKey) -> Mapping[str, str]:
    metadata = metadata_of(get, key)
    return {} if metadata is None else metadata.annotations


def _whole_rules(written: VirtualService, found: Iterable[Problem]) -> Iterator[Problem]:
    """A rule of which no match is ever used is told once, as a rule."""
    unused: dict[str, dict[int, Problem]] = {}
    for problem in found:
        match = _MATCH.match(problem.field) if problem.code == "UnreachableRule" else None
        if match is None:
            yield problem
        else:
            unused.setdefault(match[1], {}).setdefault(int(match[4]), problem)
    for rule, matches in unused.items():
        first = next(iter(matches.values()))
        if len(matches) == _match_count(written, rule):
            yield Problem(first.object, rule, first.code, first.message, first.hint, first.severity)
        else:
            yield from matches.values()


def _match_count(written: VirtualService, rule: str) -> int:
    place = re.fullmatch(r"spec\.(http|tls|tcp)\[(\d+)\]", rule)
    assert place is not None, rule
    rules: tuple[object, ...] = getattr(written.spec, place[1])
    index = int(place[2])
    return len(getattr(rules[index], "match", ())) if index < len(rules) else 0
