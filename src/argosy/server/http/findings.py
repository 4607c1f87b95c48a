"""What the mesh says about an object, as its ``status``.

For Istio's kinds the status is made when it is read: condition ``Accepted`` (is it in force?),
condition ``Distributed`` (how many of the proxies that it concerns have it?), and one validation
message for each problem, with file and line. The shape is Istio's:
https://istio.io/latest/docs/reference/config/config-status/
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from argosy.api.located import LocatedProblem, locate
from argosy.api.meta import Object
from argosy.api.validate import validate
from argosy.base.names import ObjectKey
from argosy.base.problems import Severity
from argosy.pilot.analyze import codes
from argosy.server.http.encoding import Json
from argosy.server.http.services import ProblemProvider, Spread

MAX_REFUSED = 1000


@dataclass(slots=True)
class RefusedChanges:
    """Problems of the last change of an object that was refused, until one is accepted.

    The object itself stays as it was. Bounded: the oldest is forgotten first.
    """

    _problems: dict[ObjectKey, tuple[LocatedProblem, ...]] = field(default_factory=dict)

    def refuse(self, key: ObjectKey, problems: Sequence[LocatedProblem]) -> None:
        self._problems.pop(key, None)
        self._problems[key] = tuple(problems)
        while len(self._problems) > MAX_REFUSED:
            del self._problems[next(iter(self._problems))]

    def accept(self, key: ObjectKey) -> None:
        self._problems.pop(key, None)

    def of(self, key: ObjectKey) -> tuple[LocatedProblem, ...]:
        return self._problems.get(key, ())


@dataclass(frozen=True, slots=True)
class Findings:
    """Status of objects from all who have something to say about them."""

    provider: ProblemProvider
    refused: RefusedChanges

    def problems(self, value: Object) -> tuple[LocatedProblem, ...]:
        """What the stored object warns of by itself, and what the compilers found in it."""
        found = dict.fromkeys((*validate(value), *self.provider.problems(value.key)))
        return tuple(locate(problem, value) for problem in found)

    def problems_of_many(
        self, values: Sequence[Object]
    ) -> Mapping[ObjectKey, tuple[LocatedProblem, ...]]:
        """As ``problems``, of many objects."""
        found = self.provider.problems_of_many([value.key for value in values])
        return {value.key: tuple(locate(p, value) for p in found[value.key]) for value in values}

    def load_balancer(self, value: Object) -> dict[str, Json]:
        """The status of an Ingress: where its gateway is reached inside the mesh."""
        found = self.provider.addresses(value.key)
        return {"loadBalancer": {"ingress": [{"ip": address} for address in found]}}

    def status(self, value: Object) -> dict[str, Json]:
        """The computed status of an object of an Istio kind."""
        refused = self.refused.of(value.key)
        problems = self.problems(value)
        conditions: list[Json] = [_accepted(value, problems, refused)]
        spread = self.provider.spread(value.key)
        if spread is not None:
            conditions.append(_distributed(spread))
        status: dict[str, Json] = {
            "conditions": conditions,
            "observedGeneration": value.metadata.generation,
        }
        if problems or refused:
            status["validationMessages"] = [message(problem) for problem in (*refused, *problems)]
        return status


def message(problem: LocatedProblem) -> Json:
    """A problem as Istio's analysis message, with our fields beside Istio's."""
    code = code_of(problem)
    kind: dict[str, Json] = {"name": problem.code}
    if code is not None:
        kind["code"] = code.id
    body: dict[str, Json] = {
        "type": kind,
        "level": problem.severity.value.upper(),
        "message": problem.message,
    }
    for name, text in (("field", problem.field), ("hint", problem.hint), ("file", problem.file)):
        if text:
            body[name] = text
    if problem.line is not None:
        body["line"] = problem.line
    if code is not None:
        body["documentationUrl"] = code.page
    return body


def problem_body(problem: LocatedProblem) -> dict[str, Json]:
    """A problem in the answer to an apply."""
    return {
        "file": problem.file,
        "line": problem.line,
        "field": problem.field,
        "code": problem.code,
        "istioCode": code.id if (code := code_of(problem)) else "",
        "message": problem.message,
        "hint": problem.hint,
        "severity": problem.severity.value,
    }


def code_of(problem: LocatedProblem) -> codes.Code | None:
    """Istio's code for it, where Istio has one."""
    if problem.object is None:
        return None
    return codes.find(problem.object.kind, problem.field, problem.code)


def _accepted(
    value: Object, problems: Sequence[LocatedProblem], refused: Sequence[LocatedProblem]
) -> Json:
    errors = [problem for problem in problems if problem.severity is Severity.ERROR]
    if refused:
        generation = value.metadata.generation
        words = (
            f"the last change was refused, generation {generation} stays in force: "
            f"{_words(refused)}"
        )
        return _condition("Accepted", "False", "Invalid", words)
    if errors:
        return _condition("Accepted", "False", errors[0].code, _words(errors))
    return _condition("Accepted", "True", "Accepted", "")


def _distributed(spread: Spread) -> Json:
    words = f"{spread.acknowledged} of {spread.touched} proxies acknowledged"
    if spread.rejected:
        return _condition("Distributed", "False", "Rejected", "; ".join((words, *spread.rejected)))
    if spread.acknowledged < spread.touched:
        return _condition("Distributed", "False", "Pending", words)
    return _condition("Distributed", "True", "Distributed", words)


def _condition(kind: str, status: str, reason: str, words: str) -> Json:
    return {"type": kind, "status": status, "reason": reason, "message": words}


def _words(problems: Sequence[LocatedProblem]) -> str:
    return "; ".join(
        f"{problem.field}: {problem.message}" if problem.field else problem.message
        for problem in problems
    )
