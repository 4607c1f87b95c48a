"""Objects by kind, namespace and name, with an undo log.

A transaction changes the tables in place and is undone as a whole when it fails, which is safe
because nobody else runs in between: one thread, no awaiting.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from argosy.api.meta import Object
from argosy.base.names import ObjectKey

Claims = Callable[[ObjectKey, Object], Iterable[str]]
"""What an object holds that no second object may hold, for example a cluster IP."""


@dataclass(frozen=True, slots=True)
class Savepoint:
    """A place in the undo log."""

    length: int


class Tables:
    """All objects. ``claims`` is asked once for each object that is put."""

    def __init__(self, claims: Claims = lambda _key, _object: ()) -> None:
        self._kinds: dict[str, dict[tuple[str, str], Object]] = {}
        self._holders: dict[str, dict[ObjectKey, None]] = {}
        self._undo: list[tuple[ObjectKey, Object | None]] = []
        self._claims = claims

    def get(self, key: ObjectKey) -> Object | None:
        return self._kinds.get(key.kind, {}).get((key.namespace, key.name))

    def list(self, kind: str, namespace: str | None = None) -> tuple[Object, ...]:
        """The objects of a kind (in one namespace, if given), sorted by namespace and name."""
        table = self._kinds.get(kind, {})
        return tuple(table[at] for at in sorted(table) if namespace is None or at[0] == namespace)

    def __iter__(self) -> Iterator[ObjectKey]:
        for kind in sorted(self._kinds):
            for namespace, name in sorted(self._kinds[kind]):
                yield ObjectKey(kind, namespace, name)  # type: ignore[arg-type]  # Was a Namespace when put.

    def holder(self, claim: str) -> ObjectKey | None:
        """The object that holds ``claim`` (the first one, should there be several)."""
        return next(iter(self._holders.get(claim, ())), None)

    def put(self, key: ObjectKey, value: Object | None) -> None:
        """Store an object, or remove it with None."""
        self._undo.append((key, self.get(key)))
        self._set(key, value)

    def savepoint(self) -> Savepoint:
        return Savepoint(len(self._undo))

    def rollback(self, to: Savepoint) -> None:
        """Undo everything since the savepoint."""
        while len(self._undo) > to.length:
            self._set(*self._undo.pop())

    def forget_undo(self) -> None:
        """Keep what was done: there is no way back any more."""
        self._undo.clear()

    def _set(self, key: ObjectKey, value: Object | None) -> None:
        table = self._kinds.setdefault(key.kind, {})
        at = (key.namespace, key.name)
        if (old := table.get(at)) is not None:
            for claim in self._claims(key, old):
                holders = self._holders[claim]
                holders.pop(key, None)
                if not holders:
                    del self._holders[claim]
        if value is None:
            table.pop(at, None)
            return
        table[at] = value
        for claim in self._claims(key, value):
            self._holders.setdefault(claim, {})[key] = None
