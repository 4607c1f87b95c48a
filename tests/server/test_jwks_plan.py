"""When keys are fetched: at once, again every 20 minutes, and sooner when it failed."""

from datetime import timedelta

from argosy.model.request_authn import KeySource
from argosy.server.jwks.plan import MAX_AT_ONCE, Fetch, KeyPlan

A, B = KeySource("https://a/k"), KeySource("https://b/k")
WAIT = timedelta(seconds=5)
DAY = 86400.0


def test_a_new_place_is_fetched_at_once_and_then_every_twenty_minutes() -> None:
    plan = KeyPlan()
    assert plan.want({A: WAIT}, 0.0) == ({A}, frozenset())
    assert plan.begin(0.0) == [Fetch(A, WAIT)]
    assert plan.begin(0.0) == []
    assert plan.next_due() is None
    assert plan.succeeded(A, 1.0)
    assert plan.next_due() == 1201.0
    assert plan.begin(1200.9) == []
    assert plan.begin(1201.0) == [Fetch(A, WAIT)]


def test_failures_are_tried_again_ever_later_up_to_a_minute() -> None:
    plan = KeyPlan()
    plan.want({A: WAIT}, 0.0)
    now, pauses = 0.0, []
    for _ in range(9):
        assert plan.begin(now) == [Fetch(A, WAIT)]
        failing = plan.failed(A, now)
        assert failing is not None
        assert (failing.since, failing.kept) == (0.0, False)
        pauses.append(failing.next_try - now)
        now = failing.next_try
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    plan.begin(now)
    plan.succeeded(A, now)
    plan.begin(now + 1200)
    again = plan.failed(A, now + 1200)
    assert again is not None
    assert again.since == now + 1200
    assert again.next_try == now + 1201


def test_last_good_keys_are_kept_for_a_week() -> None:
    plan = KeyPlan()
    plan.want({A: WAIT}, 0.0)
    plan.begin(0.0)
    plan.succeeded(A, 0.0)
    for at, kept in ((1200.0, True), (7 * DAY, True), (7 * DAY + 1, False)):
        plan.begin(at)
        failing = plan.failed(A, at)
        assert failing is not None
        assert failing.kept is kept


def test_keys_of_an_earlier_process_count_as_fetched_then() -> None:
    plan = KeyPlan()
    plan.want({A: WAIT, B: WAIT}, 100.0)
    plan.had(A, 40.0)
    plan.had(B, 100.0 - 8 * DAY)
    assert len(plan.begin(100.0)) == 2
    first, second = plan.failed(A, 101.0), plan.failed(B, 101.0)
    assert first is not None
    assert second is not None
    assert (first.kept, second.kept) == (True, False)


def test_few_at_once_and_who_waits_longest_first() -> None:
    places = [KeySource(f"https://{n:02}/k") for n in range(MAX_AT_ONCE + 3)]
    plan = KeyPlan()
    plan.want({places[-1]: WAIT}, 0.0)
    plan.want(dict.fromkeys(places, WAIT), 1.0)
    begun = [fetch.source for fetch in plan.begin(2.0)]
    assert begun == [places[-1], *places[: MAX_AT_ONCE - 1]]
    assert plan.next_due() is None
    plan.failed(begun[0], 3.0)
    assert [fetch.source for fetch in plan.begin(3.0)] == [places[MAX_AT_ONCE - 1]]


def test_what_is_not_wanted_any_more_is_forgotten() -> None:
    plan = KeyPlan()
    plan.want({A: WAIT, B: WAIT}, 0.0)
    plan.begin(0.0)
    assert plan.want({B: timedelta(seconds=9)}, 1.0) == (frozenset(), {A})
    assert not plan.succeeded(A, 2.0)
    assert plan.failed(A, 2.0) is None
    assert list(plan.untried()) == [B]
    plan.failed(B, 2.0)
    assert list(plan.untried()) == []
    assert plan.begin(3.0) == [Fetch(B, timedelta(seconds=9))]
