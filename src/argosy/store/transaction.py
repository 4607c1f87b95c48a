"""The vocabulary of writing: operations go in, outcomes and events come out.

Errors are what Kubernetes answers: not found, already exists, conflict, invalid, expired.
https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from dataclasses import dataclass
from enum import Enum

from argosy.api.meta import Object
from argosy.base.names import ObjectKey
from argosy.base.problems import Problem


@dataclass(frozen=True, slots=True)
class Create:
    """Add an object that must not exist yet."""

    object: Object


@dataclass(frozen=True, slots=True)
class Replace:
    """Replace an object that must exist. With a resourceVersion it must be the stored one."""

    object: Object


@dataclass(frozen=True, slots=True)
class Put:
    """Create or replace. With a resourceVersion the object must exist and be at that version."""

    object: Object


@dataclass(frozen=True, slots=True)
class SetStatus:
    """Replace only the status of an object that must exist; all else in ``object`` is ignored."""

    object: Object


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove an object that must exist (and have this resourceVersion and uid, when given)."""

    key: ObjectKey
    resource_version: str = ""
    uid: str = ""


Operation = Create | Replace | Put | SetStatus | Delete


class Action(Enum):
    """What an operation did, in kubectl's words."""

    CREATED = "created"
    CONFIGURED = "configured"
    UNCHANGED = "unchanged"
    DELETED = "deleted"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one operation. ``object`` is what is stored now (the last state if deleted).

    ``error`` is set exactly when the action is INVALID.
    """

    key: ObjectKey
    action: Action
    object: Object | None
    error: "StoreError | None" = None


@dataclass(frozen=True, slots=True)
class Commit:
    """A transaction that was done. ``revision`` is the store's after it."""

    revision: int
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """One changed object: added (no ``previous``), modified, or deleted (no ``current``).

    Every event has a revision of its own, so that a watch can be resumed in the middle of a
    transaction. ``last`` is the object to show: its new state, or the last one with the revision
    of the deletion.
    """

    key: ObjectKey
    previous: Object | None
    current: Object | None
    revision: int
    last: Object


class StoreError(Exception):
    """Base of what a caller of the store may do wrong."""


class NotFoundError(StoreError):
    def __init__(self, key: ObjectKey) -> None:
        super().__init__(f"{key} does not exist")
        self.key = key


class AlreadyExistsError(StoreError):
    def __init__(self, key: ObjectKey) -> None:
        super().__init__(f"{key} exists already")
        self.key = key


class ConflictError(StoreError):
    """The object changed since the caller read it."""

    def __init__(self, key: ObjectKey, message: str) -> None:
        super().__init__(f"{key}: {message}")
        self.key = key


class InvalidError(StoreError):
    """Admission refused the object."""

    def __init__(self, key: ObjectKey, problems: tuple[Problem, ...]) -> None:
        super().__init__(f"{key}: " + "; ".join(problem.message for problem in problems))
        self.key = key
        self.problems = problems


class TooOldError(StoreError):
    """The changes since that revision are forgotten: list again, then watch from there."""

    def __init__(self, revision: int, oldest: int) -> None:
        super().__init__(
            f"the changes since revision {revision} are no longer kept (oldest is {oldest}): list again"
        )
        self.revision = revision
