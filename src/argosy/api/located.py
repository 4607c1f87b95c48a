"""Problems with the place where they were written, and paths of fields."""

import re
from dataclasses import dataclass

from argosy.api.meta import Object, Origin, line_of
from argosy.base.names import ObjectKey
from argosy.base.problems import Problem, Severity

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_\-/]+\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class LocatedProblem:
    """A mistake in a file or in an object.

    ``object`` is None when the mistake belongs to no object, such as YAML that does not parse.
    ``file`` is empty and ``line`` (from 1) None when the object came without a file. The other
    fields are those of :class:`~argosy.base.problems.Problem`.
    """

    file: str
    line: int | None
    object: ObjectKey | None
    field: str
    code: str
    message: str
    hint: str = ""
    severity: Severity = Severity.ERROR
    column: int | None = None

    def __str__(self) -> str:
        """``file:line: field: message. hint`` on one line."""
        place = ":".join(str(part) for part in (self.file, self.line) if part)
        parts = [part for part in (place, str(self.object or ""), self.field, self.message) if part]
        return ": ".join(parts) + (f" ({self.hint})" if self.hint else "")


def locate(problem: Problem, where: Object | Origin | None) -> LocatedProblem:
    """``problem`` with the file and line of its field."""
    origin = where.origin if isinstance(where, Object) else where
    return LocatedProblem(
        file=origin.file if origin else "",
        line=line_of(origin, problem.field),
        object=problem.object,
        field=problem.field,
        code=problem.code,
        message=problem.message,
        hint=problem.hint,
        severity=problem.severity,
    )


def child(path: str, key: str) -> str:
    """The path of ``key`` in the mapping at ``path``: ``a.b``, or ``a["b.c"]`` for odd keys."""
    if _PLAIN_KEY.match(key):
        return f"{path}.{key}" if path else key
    return f'{path}["{key}"]'
