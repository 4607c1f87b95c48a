"""A user's mistake is a value: what is wrong, where, why, and what to do."""

from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from argosy.base.names import ObjectKey

T_co = TypeVar("T_co", covariant=True)


class Severity(Enum):
    """How bad: an ERROR keeps the object out of force, a WARNING does not.

    INFO is good to know, and often as it should be.
    """

    ERROR = "Error"
    WARNING = "Warning"
    INFO = "Info"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in one object.

    ``field`` is a path as users write it: ``spec.http[0].route[1].destination.host``
    (empty for the whole object). ``code`` is a short CamelCase constant such as
    ``HostNotFound``. ``message`` says what is wrong and why; ``hint`` says what to do.
    """

    object: ObjectKey
    field: str
    code: str
    message: str
    hint: str = ""
    severity: Severity = Severity.ERROR


@dataclass(frozen=True, slots=True)
class Compiled(Generic[T_co]):
    """What a compile function returns: the value, and the mistakes found on the way."""

    value: T_co
    problems: tuple[Problem, ...] = ()
