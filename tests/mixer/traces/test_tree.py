"""Who called whom."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from argosy.mixer.traces.span import Span, SpanKind
from argosy.mixer.traces.tree import arranged
from argosy.testing.spans import MS, span


def shape(*spans: Span) -> list[tuple[int, int]]:
    """Depth and number."""
    return [(one.depth, int(one.span.span_id, 16)) for one in arranged(spans)]


def test_a_span_stands_before_what_it_caused_and_that_by_its_start() -> None:
    spans = (span(4, 2, start=3), span(3, 1, start=5), span(2, 1, start=2), span(1, ms=9))
    assert shape(*spans) == [(0, 1), (1, 2), (2, 4), (1, 3)]


def test_a_span_whose_cause_is_not_there_stands_for_itself() -> None:
    first, second = arranged([span(1), span(2, 9, start=1)])
    assert (first.orphan, second.orphan, second.depth) == (False, True, 0)


def test_a_server_that_shares_its_clients_id_is_below_it() -> None:
    """https://zipkin.io/pages/instrumenting.html: both write the same span."""
    client = span(1, kind=SpanKind.CLIENT, ms=9)
    server = span(1, kind=SpanKind.SERVER, shared=True, start=1, ms=5)
    further = span(2, 1, kind=SpanKind.CLIENT, start=2)
    found = arranged([server, further, client])
    assert [(one.depth, one.span.shared) for one in found] == [(0, False), (1, True), (2, False)]


def test_own_time_is_what_no_child_covers() -> None:
    root = span(1, start=0, ms=10)
    children = (span(2, 1, start=1, ms=3), span(3, 1, start=3, ms=3), span(4, 1, start=9, ms=5))
    placed = {int(one.span.span_id, 16): one.own for one in arranged([root, *children])}
    assert placed == {1: 4 * MS, 2: 3 * MS, 3: 3 * MS, 4: 5 * MS}


def test_spans_that_are_each_others_parents_are_shown_too() -> None:
    assert sorted(shape(span(1, 2), span(2, 1), span(3, 3))) == [(0, 1), (0, 3), (1, 2)]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9), st.booleans()), max_size=12))
def test_every_span_is_there_once(written: list[tuple[int, int, bool]]) -> None:
    spans = {one.key: one for one in (span(n, p, shared=s) for n, p, s in written)}
    found = arranged(spans.values())
    assert sorted(one.span.key for one in found) == sorted(spans)
    for before, after in pairwise(found):
        assert after.depth <= before.depth + 1
