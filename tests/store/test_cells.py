"""The feed of the engine: incremental equals from scratch, for any order of events."""

from collections.abc import Hashable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from argosy.api.core_pod import TEMPLATES_ANNOTATION, Pod
from argosy.api.meta import Metadata, Object
from argosy.api.security import PeerAuthentication
from argosy.base.clock import SystemClock
from argosy.base.names import Namespace, ObjectKey
from argosy.store.cells import Annotated, CellFeed, Labeled, Names, Namespaces
from argosy.store.store import Store
from argosy.store.transaction import Delete, Operation, Put

ABSENT = object()


def pod(namespace: str, name: str, **labels: str) -> Pod:
    return Pod(metadata=Metadata(name=name, namespace=namespace, labels=labels))


def new_store() -> Store:
    return Store(clock=SystemClock(), uids=lambda: "uid")


class Cells:
    """What an engine would hold after all transactions."""

    def __init__(self, store: Store) -> None:
        self.feed = CellFeed(ABSENT)
        self.values: dict[Hashable, object] = {}
        self.take(self.feed.cells(store.snapshot()))
        store.subscribe(lambda events, _: self.take(self.feed.cells(events)))

    def take(self, cells: Any) -> None:
        self.values |= cells

    def present(self) -> dict[Hashable, object]:
        return {cell: value for cell, value in self.values.items() if value is not ABSENT}


def test_the_cells_of_a_pod() -> None:
    store = new_store()
    cells = Cells(store)
    store.apply([Put(pod("x", "b", app="web")), Put(pod("x", "a", app="web", tier="1"))])
    stored = {name: store.get(ObjectKey("Pod", Namespace("x"), name)) for name in "ab"}
    assert cells.present() == {
        ObjectKey("Pod", Namespace("x"), "a"): stored["a"],
        ObjectKey("Pod", Namespace("x"), "b"): stored["b"],
        Names("Pod", "x"): ("a", "b"),
        Namespaces("Pod"): ("x",),
        Labeled("Pod", "x", "app", "web"): ("a", "b"),
        Labeled("Pod", "x", "tier", "1"): ("a",),
    }


def test_only_touched_cells_are_reported() -> None:
    store = new_store()
    store.apply([Put(pod("x", "a", app="web")), Put(pod("x", "b", app="web"))])
    feed = CellFeed(ABSENT)
    feed.cells(store.snapshot())
    seen: list[Any] = []
    store.subscribe(lambda events, _: seen.append(feed.cells(events)))
    store.apply([Put(pod("x", "b", app="db"))])
    assert set(seen[0]) == {
        ObjectKey("Pod", Namespace("x"), "b"),
        Labeled("Pod", "x", "app", "web"),
        Labeled("Pod", "x", "app", "db"),
    }
    assert seen[0][Labeled("Pod", "x", "app", "web")] == ("a",)
    store.apply([Delete(ObjectKey("Pod", Namespace("x"), "b"))])
    assert seen[1][ObjectKey("Pod", Namespace("x"), "b")] is ABSENT
    assert seen[1][Labeled("Pod", "x", "app", "db")] is ABSENT
    assert seen[1][Names("Pod", "x")] == ("a",)


def test_labels_of_other_kinds_are_not_indexed() -> None:
    store = new_store()
    cells = Cells(store)
    store.apply([Put(PeerAuthentication(metadata=Metadata(name="p", labels={"app": "web"})))])
    assert not [cell for cell in cells.values if isinstance(cell, Labeled)]


def test_pods_with_an_injection_template_are_listed() -> None:
    store = new_store()
    cells = Cells(store)
    annotations = {TEMPLATES_ANNOTATION: "gateway"}
    gateway = Pod(metadata=Metadata(name="gw", namespace="x", annotations=annotations))
    store.apply([Put(gateway), Put(pod("x", "a"))])
    index = Annotated("Pod", "x", TEMPLATES_ANNOTATION)
    assert cells.values[index] == ("gw",)
    store.apply([Delete(gateway.key)])
    assert cells.values[index] is ABSENT


_values: st.SearchStrategy[Object] = st.one_of(
    st.builds(
        pod,
        st.sampled_from(["x", "y", "z"]),
        st.sampled_from(["a", "b", "c"]),
        app=st.sampled_from(["web", "db"]),
        tier=st.sampled_from(["1", "2"]),
    ),
    st.builds(
        lambda namespace, name: PeerAuthentication(
            metadata=Metadata(name=name, namespace=namespace)
        ),
        st.sampled_from(["x", "y"]),
        st.sampled_from(["a", "b"]),
    ),
)
_operations = st.lists(
    st.lists(
        st.one_of(st.builds(Put, _values), st.builds(lambda v: Delete(v.key), _values)), max_size=4
    ),
    max_size=25,
)


@given(_operations)
def test_incremental_equals_from_scratch(transactions: list[list[Operation]]) -> None:
    store = new_store()
    incremental = Cells(store)
    for operations in transactions:
        store.apply_valid(operations)
    assert incremental.present() == Cells(store).present()


@given(st.lists(_values, max_size=12, unique_by=lambda value: value.key), st.randoms())
def test_any_order_gives_the_same_cells(values: list[Object], random: Any) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)
    present = []
    for order in (values, shuffled):
        store = new_store()
        cells = Cells(store)
        for value in order:
            store.apply([Put(value)])
        present.append({c: v for c, v in cells.present().items() if not isinstance(c, ObjectKey)})
    assert present[0] == present[1]
