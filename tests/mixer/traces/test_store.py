"""The bounded store: what is kept, what goes, and what is found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.mixer.traces.reporter import of_control_plane
from argosy.mixer.traces.store import AmbiguousError, Limits, Query, TraceStore
from argosy.testing.spans import span

KIB = 1024


def test_a_trace_is_found_by_id_by_its_beginning_and_by_request() -> None:
    store = TraceStore()
    store.add([span(1, trace=0xABCDEF12, **{"guid:x-request-id": "7c9f-1"}), span(2, 1, trace=2)])
    for name in ("0" * 24 + "abcdef12", "ABCDEF12", "abcd", "7c9f-1"):
        found = store.find(name)
        assert found is not None, name
        assert found[0].trace_id.endswith("abcdef12")
    assert store.find("abd0") is None
    assert store.find("7c9f-2") is None


def test_a_beginning_of_several_traces_is_refused() -> None:
    store = TraceStore()
    store.add([span(1, trace=0xABCD1), span(1, trace=0xABCD2)])
    with pytest.raises(AmbiguousError, match="2 traces begin with abcd"):
        store.find("abcd")


def test_a_summary_is_of_the_span_without_parent() -> None:
    store = TraceStore()
    late = span(2, 1, start=1, ms=5, service="ratings.default")
    root = span(
        1,
        start=0,
        ms=4,
        **{"http.method": "GET", "http.url": "http://x/a?b", "http.status_code": "200"},
    )
    store.add([late, root])
    (one,) = store.search(Query())
    assert (one.service, one.operation, one.status) == ("reviews.default", "GET /a", "200")
    assert (one.duration, one.spans) == (6_000_000, 2)
    assert one.services == ("ratings.default", "reviews.default")


def test_search() -> None:
    store = TraceStore()
    for number in range(1, 21):
        service = "a.default" if number % 2 else "b.default"
        store.add(
            [
                span(1, trace=number, start=number, ms=100 - number, service=service),
                span(2, 1, trace=number, start=number, error=number == 5, service="c.default"),
            ]
        )

    def traces(query: Query) -> list[int]:
        return [int(one.trace_id, 16) for one in store.search(query)]

    assert traces(Query(limit=3)) == [20, 19, 18]
    assert traces(Query(limit=3, slow=True)) == [1, 2, 3]
    assert traces(Query(errors=True)) == [5]
    assert traces(Query(limit=2, service="b")) == [20, 18]
    assert traces(Query(limit=2, service="b.default", slow=True)) == [2, 4]
    assert traces(Query(service="b.other")) == []
    assert traces(Query(min_duration=98_000_000)) == [2, 1]


def test_a_span_that_is_sent_again_is_kept_once() -> None:
    store = TraceStore()
    store.add([span(1), span(1)])
    assert store.counts.spans == 1


def test_the_oldest_trace_goes_as_a_whole() -> None:
    store = TraceStore(Limits(spans=5))
    store.add([span(1, trace=1, **{"guid:x-request-id": "first"}), span(1, trace=2)])
    store.add([span(n, 1, trace=1) for n in (2, 3, 4)])
    assert store.find("first") is not None
    store.add([span(2, 1, trace=2)])
    assert store.find("first") is None
    assert (store.counts.traces, store.counts.spans, store.counts.evicted) == (1, 2, 1)


def test_one_trace_cannot_fill_the_store() -> None:
    store = TraceStore(Limits(trace_spans=10))
    store.add(span(n + 1, 1) for n in range(100))
    (one,) = store.search(Query())
    assert (one.spans, one.missing, store.counts.overlong) == (10, 90, 90)


@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(1, 6), st.integers(0, 400)), max_size=120)
)
def test_it_never_grows_over_its_bounds(sent: list[tuple[int, int, int]]) -> None:
    limits = Limits(spans=20, bytes=24 * KIB, trace_spans=8)
    store = TraceStore(limits)
    for trace, number, size in sent:
        store.add([span(number, trace=trace, filler="x" * size)])
        assert store.counts.spans <= limits.spans
        assert store.counts.bytes <= limits.bytes
    shown = store.search(Query(limit=100))
    assert store.counts.traces == len(shown)
    assert store.counts.spans == sum(one.spans for one in shown)


def test_the_control_planes_own_work_is_listed_by_itself() -> None:
    store = TraceStore()
    own = [span(1, trace=1, service="istiod.istio-system"), span(2, 1, trace=1)]
    store.add(of_control_plane(own))
    store.add([span(1, trace=2, start=1)])
    store.add([span(1, trace=3, start=2)])
    store.add(of_control_plane([span(2, 1, trace=3, start=2, service="istiod.istio-system")]))

    def traces(query: Query) -> list[int]:
        return [int(one.trace_id, 16) for one in store.search(query)]

    assert (store.counts.received, store.counts.own) == (5, 3)
    assert traces(Query()) == [3, 2], "somebody's own trace goes on in the control plane"
    assert traces(Query(control_plane=True)) == [3, 1]
    assert traces(Query(service="istiod")) == [3, 1]
