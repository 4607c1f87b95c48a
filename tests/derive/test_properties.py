"""The engine against a naive evaluation, over random graphs of formulas and random events."""

from contextlib import suppress
from typing import TypeVar, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.derive import ABSENT, CycleError, Engine, Failed, Formula, Reader, formula

T = TypeVar("T")
Cells = dict[object, object]

CELLS = [f"c{i}" for i in range(6)]
NODES = range(12)


@formula
def node(get: Reader, i: int) -> int:
    """A program from its own cell: which cells and nodes to read, and how to combine them.

    A program is ``(modulus, reads)``. A read is a cell, or another node; after a read of an odd
    value the next is skipped, so what is read depends on values. A sum of 5 fails.
    """
    program = get.cell(("program", i))
    if program is ABSENT:
        return 0
    modulus, reads = cast("tuple[int, tuple[object, ...]]", program)
    total, skip = 0, False
    for read in reads:
        if skip:
            skip = False
            continue
        value = get(node, read) if isinstance(read, int) else cast("int", get.cell(read) or 0)
        skip = value % 2 == 1
        total += value
    if total == 5:
        raise ValueError(f"node {i} made five")
    return total % modulus


class Naive:
    """A reader that computes everything anew."""

    def __init__(self, cells: Cells) -> None:
        self.cells = cells
        self.read: set[object] = set()

    def __call__(self, formula: Formula[..., T], /, *args: object, **kwargs: object) -> T:
        return formula(self, *args, **kwargs)

    def cell(self, key: object) -> object:
        self.read.add(key)
        return self.cells.get(key, ABSENT)


def outcome(value: object) -> object:
    return str(value.error) if isinstance(value, Failed) else value


def naive(cells: Cells, i: int) -> object:
    try:
        return node(Naive(cells), i)
    except ValueError as error:
        return str(error)


def programs(i: int) -> st.SearchStrategy[object]:
    """Programs of node ``i``: only nodes below it are read, so the graph has no cycle."""
    read: st.SearchStrategy[object] = st.sampled_from(CELLS)
    if i:
        read = st.one_of(read, st.integers(0, i - 1), st.integers(0, i - 1))
    reads = st.lists(read, max_size=5).map(tuple)
    return st.one_of(st.just(ABSENT), st.tuples(st.integers(2, 7), reads))


def writes() -> st.SearchStrategy[tuple[object, object]]:
    plain = st.tuples(st.sampled_from(CELLS), st.one_of(st.just(ABSENT), st.integers(0, 4)))
    program = st.sampled_from(NODES).flatmap(
        lambda i: st.tuples(st.just(("program", i)), programs(i))
    )
    return st.one_of(plain, program, program)


transactions = st.dictionaries(st.integers(), writes(), min_size=1, max_size=12).map(
    lambda drawn: dict(drawn.values())
)
observed = st.sets(st.sampled_from(NODES), min_size=1, max_size=6).map(sorted)


def applied(cells: Cells, transaction: Cells) -> Cells:
    return {k: v for k, v in {**cells, **transaction}.items() if v is not ABSENT}


@settings(max_examples=300, deadline=None)
@given(st.lists(transactions, max_size=8), observed)
def test_incremental_equals_from_scratch_and_reports_exactly_the_changed(
    history: list[Cells], watched: list[int]
) -> None:
    engine = Engine()
    cells: Cells = {}
    values = {i: outcome(engine.observe(node, i)) for i in watched}
    for transaction in history:
        cells = applied(cells, transaction)
        expected = {i: naive(cells, i) for i in watched}
        engine.runs.clear()
        changes = engine.set(transaction)
        assert engine.runs[node] <= len(engine) + len(NODES)
        told = {c.args[0]: (outcome(c.old), outcome(c.new)) for c in changes}
        assert told == {i: (values[i], expected[i]) for i in watched if values[i] != expected[i]}
        engine.runs.clear()
        assert {i: outcome(engine.value(node, i)) for i in watched} == expected
        assert not engine.runs
        for i in watched:
            reader = Naive(cells)
            with suppress(ValueError):
                node(reader, i)
            assert engine.sources(node, i) == reader.read
        values = expected
    for i in watched:
        engine.release(node, i)
    assert len(engine) == 0


@settings(max_examples=100, deadline=None)
@given(st.data(), transactions, observed)
def test_any_order_and_grouping_of_the_same_events(
    data: st.DataObject, events: Cells, watched: list[int]
) -> None:
    results = []
    for _ in range(2):
        engine = Engine()
        order = data.draw(st.permutations(list(events.items())))
        early = data.draw(st.booleans())
        cut = data.draw(st.integers(0, len(order)))
        if early:
            for i in watched:
                engine.observe(node, i)
        engine.set(dict(order[:cut]))
        for key, value in order[cut:]:
            engine.set({key: value})
        results.append([engine.value(node, i) for i in watched])
    assert results[0] == results[1]


@settings(max_examples=200, deadline=None)
@given(st.lists(transactions, max_size=4), transactions, transactions, observed)
def test_a_trial_tells_what_set_would_and_leaves_no_trace(
    history: list[Cells], tried: Cells, after: Cells, watched: list[int]
) -> None:
    engine, untouched = Engine(), Engine()
    for each in (engine, untouched):
        for transaction in history:
            each.set(transaction)
        for i in watched:
            each.observe(node, i)
    told = engine.trial(tried)
    assert len(engine) == len(untouched)
    engine.runs.clear()
    for i in watched:
        assert engine.value(node, i) == untouched.value(node, i)
        assert engine.sources(node, i) == untouched.sources(node, i)
    assert not engine.runs
    untouched.runs.clear()
    assert engine.set(after) == untouched.set(after)
    assert engine.runs == untouched.runs
    fresh = Engine()
    for transaction in history:
        fresh.set(transaction)
    for i in watched:
        fresh.observe(node, i)
    assert told == fresh.set(tried)


@formula
def linked(get: Reader, i: int) -> int:
    """Reads the nodes that its cell lists, in any direction: cycles and all."""
    reads = cast("tuple[int, ...]", get.cell(i) or ())
    return 1 + max((get(linked, read) for read in reads), default=0)


def on_cycle_or_above(cells: Cells, start: int) -> bool:
    """Whether the reads from ``start``, up to the first failure, run into a cycle."""

    def walk(i: int, path: tuple[int, ...]) -> bool:
        if i in path:
            return True
        return any(walk(read, (*path, i)) for read in cast("tuple[int, ...]", cells.get(i, ())))

    return walk(start, ())


links = st.dictionaries(
    st.integers(0, 5),
    st.one_of(st.just(ABSENT), st.lists(st.integers(0, 5), max_size=2).map(tuple)),
    min_size=1,
    max_size=4,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(links, max_size=6), st.sets(st.integers(0, 5), min_size=1).map(sorted))
def test_cycles_come_and_go(history: list[Cells], watched: list[int]) -> None:
    engine = Engine()
    cells: Cells = {}
    for i in watched:
        engine.observe(linked, i)
    for transaction in history:
        cells = applied(cells, transaction)
        engine.set(transaction)
        engine.trial({0: (1,), 1: (0,)})
        fresh = Engine()
        fresh.set(cells)
        for i in watched:
            value = engine.value(linked, i)
            cyclic = isinstance(value, Failed) and isinstance(value.error, CycleError)
            assert cyclic == on_cycle_or_above(cells, i)
            if not cyclic:
                assert value == fresh.value(linked, i)
    for i in watched:
        engine.release(linked, i)
    assert len(engine) == 0
