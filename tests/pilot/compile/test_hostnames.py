"""Names in rules: https://istio.io/latest/docs/reference/config/networking/virtual-service/"""

import pytest

from argosy.base.names import Hostname, Namespace
from argosy.pilot.compile.hostnames import aliases, covers, intersection, most_specific, resolve


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("reviews", "reviews.bookinfo.svc.cluster.local"),
        ("Reviews", "reviews.bookinfo.svc.cluster.local"),
        ("reviews.default", "reviews.default"),
        ("reviews.default.svc.cluster.local", "reviews.default.svc.cluster.local"),
        ("*.example.com", "*.example.com"),
        ("*", "*"),
        ("fd00::1", "fd00::1"),
    ],
)
def test_only_a_name_without_dots_is_short(written: str, expected: str) -> None:
    assert resolve(written, Namespace("bookinfo")) == expected


@pytest.mark.parametrize(
    ("pattern", "host", "expected"),
    [
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "*.b.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "*.example.com", True),
        ("*.b.example.com", "*.example.com", False),
        ("*", "anything", True),
        ("a.example.com", "a.example.com", True),
        ("a.example.com", "b.a.example.com", False),
        ("*.example.com", "aexample.com", False),
    ],
)
def test_covers(pattern: str, host: str, expected: bool) -> None:
    assert covers(pattern, host) is expected


def test_the_exact_name_is_most_specific_then_the_longest_wildcard() -> None:
    patterns = [Hostname(p) for p in ("*", "*.com", "*.a.com", "x.a.com")]
    assert most_specific(patterns, "x.a.com") == "x.a.com"
    assert most_specific(patterns, "y.a.com") == "*.a.com"
    assert most_specific(patterns, "y.b.com") == "*.com"
    assert most_specific(patterns[1:], "y.org") is None


def test_intersection_is_the_narrower() -> None:
    wide, narrow = Hostname("*.a.com"), Hostname("x.a.com")
    assert intersection(wide, narrow) == intersection(narrow, wide) == narrow
    assert intersection(narrow, Hostname("y.a.com")) is None


def test_aliases_are_those_a_client_may_use() -> None:
    host = Hostname("reviews.default.svc.cluster.local")
    assert aliases(host, Namespace("default")) == (
        "reviews",
        "reviews.default",
        "reviews.default.svc",
    )
    assert aliases(host, Namespace("other")) == ("reviews.default", "reviews.default.svc")
    assert aliases(Hostname("api.example.com"), Namespace("default")) == ()
    assert aliases(Hostname("*.default.svc.cluster.local"), Namespace("default")) == ()
