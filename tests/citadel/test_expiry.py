"""Warnings grow as the end comes nearer."""

from datetime import UTC, datetime, timedelta

import pytest

from argosy.base.names import TrustDomain
from argosy.citadel.expiry import Level, authority_warning, leaf_warning
from argosy.citadel.signer import create_root

NOW = datetime(2026, 11, 23, tzinfo=UTC)
ROOT = create_root(TrustDomain("cluster.local"), NOW).certificate
END = ROOT.not_valid_after_utc


@pytest.mark.parametrize(
    ("before_end", "level"),
    [
        (timedelta(weeks=13), None),
        (timedelta(weeks=11), Level.NOTICE),
        (timedelta(weeks=3), Level.WARNING),
        (timedelta(days=6), Level.ERROR),
        (timedelta(0), Level.ERROR),
    ],
)
def test_a_root_is_spoken_of_weeks_before_its_end(
    before_end: timedelta, level: Level | None
) -> None:
    warning = authority_warning("the root", ROOT, END - before_end, "rotate it")
    assert (warning.level if warning else None) is level
    if warning is not None:
        assert "rotate it" in warning.message


def test_a_short_life_is_not_spoken_of_from_its_first_day() -> None:
    short = create_root(TrustDomain("cluster.local"), NOW, timedelta(days=4)).certificate
    assert authority_warning("it", short, NOW + timedelta(days=1), "") is None
    late = authority_warning("it", short, NOW + timedelta(days=3.9), "")
    assert late is not None
    assert late.level is Level.ERROR


@pytest.mark.parametrize(
    ("hours", "level"),
    [(1, None), (12.5, None), (14, Level.NOTICE), (19, Level.WARNING), (23, Level.ERROR)],
)
def test_a_leaf_that_was_not_renewed_in_its_half_life(hours: float, level: Level | None) -> None:
    end = NOW + timedelta(hours=24)
    warning = leaf_warning("web.default", NOW, end, NOW + timedelta(hours=hours), "refused")
    assert (warning.level if warning else None) is level
    if warning is not None:
        assert "web.default was not renewed at half of its life" in warning.message
        assert warning.message.endswith("refused")
