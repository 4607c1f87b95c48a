"""Findings as messages for people and programs, in the forms of ``istioctl analyze``.

Text: ``Error [IST0101] (VirtualService default/reviews reviews.yaml:12) what is wrong``. Structures
have Istio's keys (``code``, ``level``, ``origin``, ``reference``, ``message``, ``documentationUrl``)
and ours beside them.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from argosy.api.located import LocatedProblem, locate
from argosy.api.meta import Object
from argosy.base.names import ObjectKey
from argosy.base.problems import Severity
from argosy.pilot.analyze import codes
from argosy.pilot.analyze.findings import Finding

Json = dict[str, str | int]

_RANK = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}


@dataclass(frozen=True, slots=True)
class Message:
    """``object`` is None for what belongs to none, such as a file that is not YAML."""

    code: str
    name: str
    level: Severity
    object: ObjectKey | None
    file: str
    line: int | None
    field: str
    text: str
    hint: str = ""

    @property
    def origin(self) -> str:
        return "" if self.object is None else str(self.object)

    @property
    def reference(self) -> str:
        """``file:line``."""
        if not self.file:
            return ""
        return f"{self.file}:{self.line}" if self.line else self.file

    @property
    def page(self) -> str:
        known = codes.BY_ID.get(self.code)
        return known.page if known else ""

    def __str__(self) -> str:
        place = " ".join(filter(None, (self.origin, self.reference)))
        where = f" ({place})" if place else ""
        about = f"{self.field}: " if self.field else ""
        return f"{self.level.value} [{self.code}]{where} {about}{self.text}"

    def as_json(self) -> Json:
        body: Json = {
            "code": self.code,
            "name": self.name,
            "level": self.level.value,
            "origin": self.origin,
            "reference": self.reference,
            "field": self.field,
            "message": self.text,
            "hint": self.hint,
            "documentationUrl": self.page,
        }
        return {key: value for key, value in body.items() if value}


def message(found: Finding, find: Callable[[ObjectKey], Object | None]) -> Message:
    """``find`` looks the objects up, which know their files and lines."""
    problem = locate(found.problem, find(found.problem.object))
    return _message(problem, found.code, found.name, found.level)


def schema_message(problem: LocatedProblem) -> Message:
    """What was found while files were read: of an object, or of a file alone."""
    if problem.object is None:
        return _message(problem, problem.code, problem.code, problem.severity)
    code = codes.find(problem.object.kind, problem.field, problem.code)
    code = code or codes.schema(problem.severity)
    return _message(problem, code.id, code.name, code.level)


def _message(problem: LocatedProblem, code: str, name: str, level: Severity) -> Message:
    return Message(
        code,
        name,
        level,
        problem.object,
        problem.file,
        problem.line,
        problem.field,
        problem.message,
        problem.hint,
    )


def in_order(messages: Iterable[Message]) -> tuple[Message, ...]:
    """The worst first, then by code and object; none twice."""
    return tuple(sorted(dict.fromkeys(messages), key=_order))


def _order(message: Message) -> tuple[int, str, str, str, int, str, str]:
    return (
        _RANK[message.level],
        message.code,
        message.origin,
        message.file,
        message.line or 0,
        message.field,
        message.text,
    )


def is_at_least(level: Severity, threshold: Severity) -> bool:
    return _RANK[level] <= _RANK[threshold]


@dataclass(frozen=True, slots=True)
class Suppression:
    """``IST0102=Namespace default``: the code, and the object as ``Kind name[.namespace]``.

    ``*`` stands for any text. ``Kind namespace/name`` is understood too.
    """

    code: str
    pattern: re.Pattern[str]

    def matches(self, message: Message) -> bool:
        if message.object is None or self.code not in ("*", message.code, message.name):
            return False
        kind, namespace, name = message.object
        forms = {f"{kind} {name}.{namespace}", f"{kind} {namespace}/{name}"}
        if not namespace:
            forms = {f"{kind} {name}"}
        return any(self.pattern.fullmatch(form) for form in forms)


def suppression(text: str) -> Suppression | None:
    """None for what is not ``CODE=OBJECT``."""
    code, equals, resource = text.partition("=")
    if not equals or not code.strip() or not resource.strip() or "=" in resource:
        return None
    parts = (re.escape(part) for part in resource.strip().split("*"))
    return Suppression(code.strip(), re.compile(".*".join(parts)))
