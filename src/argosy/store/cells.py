"""The store as cells of the engine.

Batches of events go in, changed cells come out. Five kinds of cells exist: an object by its
:class:`~argosy.base.names.ObjectKey`, and four sorted indices, :class:`Names`,
:class:`Namespaces`, :class:`Labeled` and :class:`Annotated`. A cell that has become empty has the value that the feed
was given for absence, so that a feed which saw every event and a feed which saw only the last
state describe the same cells.
"""

from bisect import bisect_left, insort
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field

from argosy.api.core_pod import TEMPLATES_ANNOTATION
from argosy.api.meta import Object
from argosy.api.networking_workload_entry import WorkloadEntry
from argosy.base.names import ObjectKey
from argosy.store.transaction import Event


@dataclass(frozen=True, slots=True)
class Names:
    """The cell of the sorted names of the objects of a kind in a namespace."""

    kind: str
    namespace: str


@dataclass(frozen=True, slots=True)
class Namespaces:
    """The cell of the sorted namespaces that hold objects of a kind."""

    kind: str


@dataclass(frozen=True, slots=True)
class Labeled:
    """The cell of the sorted names of the objects of a kind in a namespace with one label."""

    kind: str
    namespace: str
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Annotated:
    """The cell of the sorted names of the objects of a kind in a namespace with one annotation."""

    kind: str
    namespace: str
    annotation: str


Index = Names | Namespaces | Labeled | Annotated


@dataclass(slots=True)
class CellFeed:
    """Keeps the indices, and says which cells a batch of events changed.

    ``absent`` is the engine's value of a missing cell. ``labeled`` names the kinds whose labels
    are indexed, ``annotated`` the annotations that are.
    """

    absent: object
    labeled: frozenset[str] = frozenset({"EndpointSlice", "Pod", "WorkloadEntry"})
    annotated: frozenset[tuple[str, str]] = frozenset({("Pod", TEMPLATES_ANNOTATION)})
    _members: dict[Index, list[str]] = field(default_factory=dict)

    def cells(self, events: Iterable[Event]) -> Mapping[Hashable, object]:
        """The new values of the cells that ``events`` touched, as one transaction of the engine."""
        cells: dict[Hashable, object] = {}
        touched: dict[Index, None] = {}
        for event in events:
            cells[event.key] = self.absent if event.current is None else event.current
            before = self._indices(event.key, event.previous)
            after = self._indices(event.key, event.current)
            for index in before.keys() - after.keys():
                self._discard(index, before[index])
                touched[index] = None
            for index in after.keys() - before.keys():
                self._add(index, after[index])
                touched[index] = None
            self._move_namespace(event.key, touched)
        for index in touched:
            members = self._members.get(index)
            cells[index] = tuple(members) if members else self.absent
        return cells

    def _indices(self, key: ObjectKey, value: Object | None) -> dict[Index, str]:
        """The indices that ``value`` belongs to, and the member it is there."""
        if value is None:
            return {}
        indices: dict[Index, str] = {Names(key.kind, key.namespace): key.name}
        if key.kind in self.labeled:
            for label, label_value in _labels(value).items():
                indices[Labeled(key.kind, key.namespace, label, label_value)] = key.name
        for kind, annotation in self.annotated:
            if kind == key.kind and annotation in value.metadata.annotations:
                indices[Annotated(kind, key.namespace, annotation)] = key.name
        return indices

    def _move_namespace(self, key: ObjectKey, touched: dict[Index, None]) -> None:
        index = Namespaces(key.kind)
        held = key.namespace in self._members.get(index, ())
        holds = bool(self._members.get(Names(key.kind, key.namespace)))
        if held != holds:
            if holds:
                self._add(index, key.namespace)
            else:
                self._discard(index, key.namespace)
            touched[index] = None

    def _add(self, index: Index, member: str) -> None:
        members = self._members.setdefault(index, [])
        at = bisect_left(members, member)
        if at == len(members) or members[at] != member:
            insort(members, member)

    def _discard(self, index: Index, member: str) -> None:
        members = self._members.get(index, [])
        at = bisect_left(members, member)
        if at < len(members) and members[at] == member:
            del members[at]
        if not members:
            self._members.pop(index, None)


def _labels(value: Object) -> Mapping[str, str]:
    """By which services select it: a WorkloadEntry has labels of its spec too, which count first."""
    if isinstance(value, WorkloadEntry):
        return {**value.metadata.labels, **value.spec.labels}
    return value.metadata.labels
