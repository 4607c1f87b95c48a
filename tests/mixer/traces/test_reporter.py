"""Who sent a span is proven; what it says of itself is marked where it is not so."""

import pytest

from argosy.mixer.traces.reporter import Reporter, reported
from argosy.testing.spans import span

KNOWN = Reporter("default", "bookinfo-reviews", frozenset({"reviews-v1", "reviews"}))
UNKNOWN = Reporter("default", "bookinfo-reviews")


@pytest.mark.parametrize(
    ("reporter", "service", "claimed"),
    [
        (KNOWN, "reviews.default", False),
        (KNOWN, "reviews", False),
        (KNOWN, "reviews-v1.default", False),
        (KNOWN, "ratings.default", True),
        (KNOWN, "ratings", True),
        (KNOWN, "reviews.bank", True),
        (UNKNOWN, "ratings.default", False),
        (UNKNOWN, "ratings.bank", True),
    ],
)
def test_a_service_that_is_not_the_senders_is_marked(
    reporter: Reporter, service: str, claimed: bool
) -> None:
    (found,) = reported([span(1, service=service)], reporter)
    assert (found.claimed, found.reporter) == (claimed, "default/bookinfo-reviews")
