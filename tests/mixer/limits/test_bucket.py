"""A bucket never gives more than it may, and gives all that it may."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.mixer.limits.bucket import remaining, take
from argosy.model.rate_limit import Rate

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def test_a_bucket_is_full_at_first_and_fills_again() -> None:
    rate = Rate(2, MINUTE, 2)
    first = take(None, 0.0, rate, 1)
    second = take(first.full_at, 1.0, rate, 1)
    third = take(second.full_at, 2.0, rate, 1)
    assert [one.allowed for one in (first, second, third)] == [True, True, False]
    assert [one.remaining for one in (first, second, third)] == [1, 0, 0]
    assert third.retry == pytest.approx(28.0)
    assert third.reset == pytest.approx(58.0)
    assert take(third.full_at, 29.9, rate, 1).allowed is False
    assert take(third.full_at, 30.0, rate, 1).allowed is True
    assert remaining(third.full_at, 60.0, rate) == 2


def test_several_tokens_at_once_or_none() -> None:
    rate = Rate(10, SECOND, 10)
    assert take(None, 0.0, rate, 10).allowed
    assert not take(None, 0.0, rate, 11).allowed
    held = take(None, 0.0, rate, 8)
    refused = take(held.full_at, 0.0, rate, 3)
    assert (refused.allowed, refused.remaining) == (False, 2)
    assert take(refused.full_at, 0.0, rate, 2).allowed


@pytest.mark.parametrize(("requests", "burst"), [(100, 1), (100, 10), (100, 100), (7, 3)])
def test_who_asks_all_the_time_gets_the_rate_and_one_burst(requests: int, burst: int) -> None:
    rate = Rate(requests, SECOND, burst)
    full_at, passed = None, 0
    for step in range(100_000):  # 10 s
        taken = take(full_at, step / 10_000, rate, 1)
        full_at = taken.full_at
        passed += taken.allowed
    assert 10 * requests <= passed <= 10 * requests + burst


@given(
    st.integers(1, 1000),
    st.integers(1, 1000),
    st.sampled_from([SECOND, MINUTE, timedelta(hours=1)]),
    st.lists(st.tuples(st.floats(0, 100), st.integers(1, 5)), max_size=200),
)
def test_no_window_sees_more_than_the_bound(
    requests: int, burst: int, period: timedelta, asked: list[tuple[float, int]]
) -> None:
    rate = Rate(requests, period, burst)
    full_at = None
    passed: list[tuple[float, int]] = []
    now = 0.0
    for pause, hits in asked:
        now += pause
        taken = take(full_at, now, rate, hits)
        full_at = taken.full_at
        assert 0 <= taken.remaining <= burst
        if taken.allowed:
            passed.append((now, hits))
        else:
            assert take(full_at, now + taken.retry + 1e-6, rate, hits).allowed or hits > burst
    for first in range(0, len(passed), 7):
        begin = passed[first][0]
        total = 0
        for at, hits in passed[first:]:
            total += hits
            allowed = burst + (at - begin) * requests / period.total_seconds()
            assert total <= allowed + 1e-3
