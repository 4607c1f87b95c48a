"""What proxies tell of limits that they count by themselves: who is near one, or over it."""

import pytest

from argosy.api.shared_limits import CountedLimit
from argosy.mixer.limits.usage import RECENT, Usage, Used

WEB = ("shop", "web", "10.0.0.1")


def limit(requests: int = 10, period: int = 3600, **more: object) -> CountedLimit:
    facts: dict[str, object] = {"id": "shop/a/0", "requests": requests, "period": period}
    return CountedLimit(**({"burst": requests} | facts | more))  # type: ignore[arg-type]  # as written in the tests


def only(usage: Usage, of: CountedLimit, now: float) -> Used:
    (one,) = usage.of([of], now)[of.id]
    return one


def test_near_from_80_percent_and_over_for_a_minute() -> None:
    usage, hourly = Usage(), limit()
    for now, allowed, refused, expected in (
        (0.0, 7, 0, "OK"),
        (5.0, 1, 0, "OK"),
        (10.0, 1, 0, "NEAR"),
        (15.0, 1, 2, "OVER"),
        (15.0 + RECENT, 0, 0, "OVER"),
        (16.0 + RECENT, 0, 0, "NEAR"),
    ):
        usage.add(hourly, WEB, allowed, refused, now)
        assert only(usage, hourly, now).state == expected, now
    seen = only(usage, hourly, 80.0).seen
    assert (seen.allowed, seen.refused) == (10, 2)
    assert only(usage, hourly, 1900.0).remaining == 5


def test_a_bucket_fills_while_it_is_used() -> None:
    """Fifty a second of a hundred: it is full all the time, though more than it holds was taken."""
    usage, quick = Usage(), limit(100, 1)
    usage.add(quick, WEB, 0, 0, 0.0)
    for now in (5.0, 10.0, 15.0):
        usage.add(quick, WEB, 250, 0, now)
        assert only(usage, quick, now).remaining == 100
    usage.add(quick, WEB, 590, 0, 20.0)
    assert only(usage, quick, 20.0).state == "NEAR"
    usage.add(quick, WEB, 5000, 0, 25.0)
    assert only(usage, quick, 25.0).remaining == 0
    assert only(usage, quick, 25.5).remaining == 50


@pytest.mark.parametrize(
    ("more", "allowed", "counted"), [({}, None, False), ({"keys": ("request.host",)}, 20, True)]
)
def test_what_a_proxy_cannot_tell(
    more: dict[str, object], allowed: int | None, counted: bool
) -> None:
    usage, partly = Usage(), limit(**more)
    usage.add(partly, WEB, allowed, 1, 0.0)
    found = only(usage, partly, 0.0)
    assert (found.seen.counted, found.seen.measured, found.state) == (counted, False, "OVER")
    assert only(usage, partly, RECENT + 1).state == "OK"


def test_proxies_that_are_gone_are_forgotten() -> None:
    usage, hourly = Usage(), limit()
    usage.add(hourly, WEB, 1, 0, 0.0)
    usage.add(hourly, ("shop", "web", "10.0.0.2"), 1, 0, 1.0)
    usage.add(hourly, WEB, 0, 0, 30.0)
    usage.forget(20.0)
    assert only(usage, hourly, 30.0).seen.values == WEB
