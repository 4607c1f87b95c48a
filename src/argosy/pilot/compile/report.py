"""Where a compile function stands in an object, and what it found wrong there."""

import dataclasses

from argosy.base.names import ObjectKey
from argosy.base.problems import Problem, Severity
from argosy.model.route import Origin


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """A place in an object. Places made with ``at`` share one list of problems."""

    object: ObjectKey
    field: str = ""
    problems: list[Problem] = dataclasses.field(default_factory=list)

    def at(self, path: str) -> "Report":
        """The place ``path`` below this one: ``spec.http[0]`` and ``route[1]``."""
        joined = f"{self.field}.{path}" if self.field and path else self.field or path
        return Report(self.object, joined, self.problems)

    def key(self, key: str) -> "Report":
        """The entry ``key`` of the map at this place: ``set["x-user"]``."""
        return Report(self.object, f'{self.field}["{key}"]', self.problems)

    def elsewhere(self, origin: Origin) -> "Report":
        """A place in another object: a delegate's."""
        return Report(origin.object, origin.field, self.problems)

    def error(self, code: str, message: str, hint: str = "") -> None:
        """What stands at this place is out of force."""
        self.problems.append(Problem(self.object, self.field, code, message, hint))

    def warning(self, code: str, message: str, hint: str = "") -> None:
        """It works, but hardly as meant."""
        self.problems.append(
            Problem(self.object, self.field, code, message, hint, Severity.WARNING)
        )
