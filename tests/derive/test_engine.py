"""What recomputes, what is reported, what is kept: counted, not guessed."""

import pytest

from argosy.derive import ABSENT, Change, CycleError, Engine, Failed, Formula, Reader, formula


@formula
def number(get: Reader, key: str) -> int:
    value = get.cell(key)
    return value if isinstance(value, int) else 0


@formula
def parity(get: Reader, key: str) -> int:
    return get(number, key) % 2


@formula
def label(get: Reader, key: str) -> str:
    return "odd" if get(parity, key) else "even"


@formula
def both(get: Reader, left: str, right: str) -> tuple[str, str]:
    return get(label, left), get(label, right)


@formula
def chosen(get: Reader) -> int:
    """Reads one of two, as a third cell says."""
    return get(number, "left") if get.cell("which") == "left" else get(number, "right")


@formula
def checked(get: Reader, key: str) -> int:
    value = get(number, key)
    if value < 0:
        raise ValueError(f"{key} is negative")
    return value


@formula
def doubled(get: Reader, key: str) -> int:
    return 2 * get(checked, key)


@formula
def guarded(get: Reader, key: str) -> int:
    try:
        return get(doubled, key)
    except ValueError:
        return -1


@formula
def ring(get: Reader, name: str) -> int:
    """Reads the ring named by its cell, or ends there."""
    after = get.cell(name)
    return 1 + get(ring, after) if isinstance(after, str) else 0


@formula
def chain(get: Reader, length: int) -> int:
    return get(number, "end") if length == 0 else get(chain, length - 1) + 1


def counts(engine: Engine, *formulas: Formula[..., object]) -> list[int]:
    return [engine.runs[f] for f in formulas]


def test_a_value_follows_its_cell() -> None:
    engine = Engine()
    engine.set({"a": 1})
    assert engine.observe(label, "a") == "odd"
    assert engine.set({"a": 2}) == (Change(label, ("a",), "odd", "even"),)
    assert engine.value(label, "a") == "even"


def test_only_what_read_the_cell_runs_again() -> None:
    engine = Engine()
    engine.set({"a": 1, "b": 1})
    engine.observe(both, "a", "b")
    engine.runs.clear()
    engine.set({"b": 2})
    assert counts(engine, number, parity, label, both) == [1, 1, 1, 1]
    assert engine.value(both, "a", "b") == ("odd", "even")


def test_an_equal_value_ends_the_work() -> None:
    engine = Engine()
    engine.set({"a": 1, "b": 1})
    engine.observe(both, "a", "b")
    engine.runs.clear()
    assert engine.set({"a": 3}) == ()
    assert counts(engine, number, parity, label, both) == [1, 1, 0, 0]


def test_an_equal_cell_runs_nothing() -> None:
    engine = Engine()
    engine.set({"a": (1, 2)})
    engine.observe(number, "a")
    engine.runs.clear()
    assert engine.set({"a": (1, 2), "unread": 5}) == ()
    assert not engine.runs


def test_true_is_not_one() -> None:
    @formula
    def kind(get: Reader) -> str:
        return repr(get.cell("a"))

    engine = Engine()
    engine.set({"a": 1})
    engine.observe(kind)
    assert engine.set({"a": True}) == (Change(kind, (), "1", "True"),)


def test_a_diamond_runs_its_top_once() -> None:
    @formula
    def total(get: Reader) -> int:
        return get(number, "a") + get(parity, "a") + get.cell("a").__hash__()

    engine = Engine()
    engine.set({"a": 4})
    engine.observe(total)
    engine.runs.clear()
    (change,) = engine.set({"a": 7})
    assert (change.old, change.new) == (8, 15)
    assert counts(engine, total, number, parity) == [1, 1, 1]


def test_one_transaction_of_many_cells_is_one_run() -> None:
    engine = Engine()
    engine.observe(both, "a", "b")
    engine.runs.clear()
    (change,) = engine.set({"a": 1, "b": 3})
    assert change.new == ("odd", "odd")
    assert engine.runs[both] == 1


def test_an_absent_cell_is_a_read() -> None:
    engine = Engine()
    assert engine.observe(number, "a") == 0
    assert engine.sources(number, "a") == {"a"}
    assert engine.set({"a": 5}) == (Change(number, ("a",), 0, 5),)
    assert engine.set({"a": ABSENT}) == (Change(number, ("a",), 5, 0),)
    assert engine.cell("a") is ABSENT
    assert not ABSENT


def test_reads_follow_the_last_run() -> None:
    engine = Engine()
    engine.set({"which": "left", "left": 1, "right": 2})
    engine.observe(chosen)
    engine.runs.clear()
    assert engine.set({"right": 3}) == ()
    assert not engine.runs
    assert engine.set({"which": "right"}) == (Change(chosen, (), 1, 3),)
    assert engine.sources(chosen) == {"which", "right"}
    engine.runs.clear()
    assert engine.set({"left": 9}) == ()
    assert not engine.runs


def test_reads_are_checked_in_order_so_nothing_useless_runs() -> None:
    @formula
    def fragile(get: Reader) -> int:
        assert get.cell("which") == "fragile", "ran where it must not"
        return get(number, "n")

    @formula
    def guard(get: Reader) -> bool:
        return get.cell("which") == "fragile"

    @formula
    def top(get: Reader) -> int:
        return get(fragile) if get(guard) else -1

    engine = Engine()
    engine.set({"which": "fragile", "n": 1})
    engine.observe(top)
    engine.runs.clear()
    assert engine.set({"which": "other", "n": 2}) == (Change(top, (), 1, -1),)
    assert counts(engine, fragile, guard, top) == [0, 1, 1]


def test_unobserved_nodes_are_not_kept() -> None:
    engine = Engine()
    engine.set({"a": 1})
    assert engine.value(label, "a") == "odd"
    assert len(engine) == 0
    engine.runs.clear()
    engine.set({"a": 2})
    assert not engine.runs


def test_release_drops_what_only_it_needed() -> None:
    engine = Engine()
    engine.observe(both, "a", "b")
    engine.observe(label, "a")
    engine.observe(label, "a")
    assert len(engine) == 7
    engine.release(both, "a", "b")
    assert len(engine) == 3
    engine.release(label, "a")
    assert len(engine) == 3
    engine.release(label, "a")
    assert len(engine) == 0
    with pytest.raises(KeyError, match="label"):
        engine.release(label, "a")


def test_what_is_no_longer_read_is_dropped() -> None:
    engine = Engine()
    engine.set({"which": "left"})
    engine.observe(chosen)
    engine.set({"which": "right"})
    assert len(engine) == 2
    engine.runs.clear()
    engine.set({"left": 4})
    assert not engine.runs


def test_changes_come_in_the_order_of_observation() -> None:
    engine = Engine()
    keys = ["e", "b", "d", "a", "c"]
    for key in keys:
        engine.observe(number, key)
    changes = engine.set(dict.fromkeys(sorted(keys), 1))
    assert [change.args for change in changes] == [(key,) for key in keys]


def test_who_has_a_clock_hears_of_each_observed_node_that_was_stale() -> None:
    engine = Engine()
    engine.set({"a": 1, "b": 1})
    for key in ("a", "b"):
        engine.observe(parity, key)
        engine.observe(label, key)
    heard: list[tuple[Formula[..., object], tuple[object, ...]]] = []
    engine.set({"a": 3}, lambda of, args: heard.append((of, args)))
    assert heard == [(parity, ("a",)), (label, ("a",))], "of what did not change in the end too"


def test_a_failure_is_a_value_and_poisons_its_readers() -> None:
    engine = Engine()
    engine.set({"a": -1, "b": 1})
    failed = engine.observe(doubled, "a")
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, ValueError)
    assert str(failed) == "checked('a'): ValueError: a is negative"
    assert "a is negative" in failed.trace
    assert failed.error.__traceback__ is None
    assert engine.observe(doubled, "b") == 2
    assert engine.value(guarded, "a") == -1
    assert engine.sources(doubled, "a") == {"a"}
    (change,) = engine.set({"a": 2})
    assert (change.old, change.new) == (failed, 4)


def test_the_same_failure_is_no_change() -> None:
    engine = Engine()
    engine.set({"a": -1})
    engine.observe(doubled, "a")
    engine.runs.clear()
    assert engine.set({"a": -2}) == ()
    assert counts(engine, number, checked, doubled) == [1, 1, 0]


def test_a_cycle_names_its_path_and_heals() -> None:
    engine = Engine()
    engine.set({"b": "c", "c": "a", "a": "b"})
    failed = engine.observe(ring, "c")
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, CycleError)
    assert str(failed.error) == "ring('a') -> ring('b') -> ring('c') -> ring('a')"
    assert engine.observe(ring, "a") == failed
    assert engine.observe(ring, "outside") == 0
    (outside,) = engine.set({"outside": "b"})
    assert outside.new == failed
    changes = engine.set({"b": ABSENT})
    assert [(c.args, c.new) for c in changes] == [(("c",), 2), (("a",), 1), (("outside",), 1)]


def test_a_cycle_that_appears_is_the_same_from_every_side() -> None:
    cells: dict[object, object] = {"a": "b", "b": "c", "c": "d"}
    expected = Engine()
    expected.set({**cells, "d": "b"})
    for first in "abcd":
        engine = Engine()
        engine.set(cells)
        for name in [first, *"abcd"]:
            engine.observe(ring, name)
        engine.set({"d": "b"})
        for name in "abcd":
            assert engine.value(ring, name) == expected.value(ring, name)
        engine.set({"c": 0})
        assert [engine.value(ring, name) for name in "abcd"] == [2, 1, 0, 2]


def test_a_formula_cannot_swallow_its_own_cycle() -> None:
    @formula
    def stubborn(get: Reader) -> int:
        try:
            return get(stubborn) if get.cell("self") else 0
        except CycleError:
            return 5

    engine = Engine()
    assert engine.observe(stubborn) == 0
    (change,) = engine.set({"self": True})
    assert isinstance(change.new, Failed)
    assert str(change.new.error) == "stubborn() -> stubborn()"
    (change,) = engine.set({"self": False})
    assert change.new == 0


def test_a_cycle_is_dropped_with_its_last_observer() -> None:
    engine = Engine()
    engine.set({"a": "b", "b": "a", "x": "a"})
    engine.observe(ring, "b")
    engine.observe(ring, "x")
    engine.release(ring, "b")
    assert len(engine) == 3
    engine.release(ring, "x")
    assert len(engine) == 0
    engine.observe(ring, "x")
    engine.set({"x": ABSENT})
    assert len(engine) == 1


def test_a_trial_reports_and_leaves_no_trace() -> None:
    engine = Engine()
    engine.set({"which": "left", "left": 1, "right": 2})
    engine.observe(chosen)
    engine.observe(label, "left")
    size = len(engine)
    changes = engine.trial({"which": "right", "right": 4, "left": 6, "new": 1})
    assert changes == (
        Change(chosen, (), 1, 4),
        Change(label, ("left",), "odd", "even"),
    )
    assert len(engine) == size
    assert [engine.cell(key) for key in ("which", "left", "right", "new")] == ["left", 1, 2, ABSENT]
    engine.runs.clear()
    assert engine.value(chosen) == 1
    assert engine.value(label, "left") == "odd"
    assert not engine.runs
    assert engine.sources(chosen) == {"which", "left"}
    assert engine.set({"right": 3}) == ()
    assert engine.set({"left": 2}) == (
        Change(chosen, (), 1, 2),
        Change(label, ("left",), "odd", "even"),
    )


def test_a_trial_may_break_things() -> None:
    engine = Engine()
    engine.set({"a": "b"})
    engine.observe(ring, "a")
    (change,) = engine.trial({"b": "a"})
    assert isinstance(change.new, Failed)
    assert engine.value(ring, "a") == 1
    assert engine.set({"b": "c"}) == (Change(ring, ("a",), 1, 2),)


def test_a_long_chain_is_checked_without_recursion() -> None:
    engine = Engine()
    engine.set({"end": 0})
    for length in range(0, 5_000, 50):
        engine.observe(chain, length)
    engine.runs.clear()
    changes = engine.set({"end": 1})
    assert changes[-1].new == 4_951
    assert engine.runs[chain] == 4_951


def test_a_first_run_two_hundred_deep_is_fine() -> None:
    assert Engine().value(chain, 200) == 200


def test_too_deep_leaves_the_engine_usable() -> None:
    engine = Engine()
    engine.set({"end": 0})
    engine.observe(chain, 10)
    with pytest.raises(RecursionError):
        engine.observe(chain, 100_000)
    assert len(engine) == 12
    (change,) = engine.set({"end": 5})
    assert (change.old, change.new) == (10, 15)


def test_an_interrupted_change_is_reported_later() -> None:
    @formula
    def touchy(get: Reader) -> object:
        value = get.cell("a")
        if value == 2:
            raise KeyboardInterrupt
        return value

    engine = Engine()
    engine.set({"a": 1, "b": 1})
    engine.observe(number, "b")
    engine.observe(touchy)
    with pytest.raises(KeyboardInterrupt):
        engine.set({"b": 5, "a": 2})
    assert engine.set({"a": 3}) == (Change(number, ("b",), 1, 5), Change(touchy, (), 1, 3))


def test_reading_after_the_run_is_caught() -> None:
    leaked: list[Reader] = []

    @formula
    def leaky(get: Reader) -> int:
        leaked.append(get)
        return 0

    engine = Engine()
    engine.observe(leaky)
    with pytest.raises(AssertionError, match="after the run"):
        leaked[0](number, "a")
    with pytest.raises(AssertionError, match="after the run"):
        leaked[0].cell("a")


def test_a_formula_cannot_go_round_its_get() -> None:
    engine = Engine()

    @formula
    def cheat(get: Reader) -> object:
        return engine.value(number, "a")

    failed = engine.value(cheat)
    assert isinstance(failed, Failed)
    assert "instead of its get" in str(failed)


def test_arguments_are_positional() -> None:
    engine = Engine()
    with pytest.raises(TypeError, match="positional"):
        engine.value(number, key="a")


def test_a_formula_runs_bare_with_a_reader_of_your_own() -> None:
    class Fixed:
        def __call__(self, formula: object, /, *args: object, **kwargs: object) -> int:
            return 3

        def cell(self, key: object) -> object:
            return ABSENT

    assert parity(Fixed(), "a") == 1  # type: ignore[arg-type]  # a fake of one type
    assert repr(parity) == "<formula parity>"
