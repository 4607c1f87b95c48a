"""Which resource was meant: Envoy's real words, and splitting that always ends."""

from hypothesis import given
from hypothesis import strategies as st

from argosy.xds.rejection import mentioned, split
from argosy.xds.source import Resource


def named(*names: str) -> tuple[Resource, ...]:
    return tuple(Resource(name, "1", (b"",)) for name in names)


def test_names_in_the_words_of_envoy() -> None:
    error = (
        "Error adding/updating cluster(s) outbound|80||a.b: cannot create an EDS cluster "
        "without an EDS config, bad: Unable to parse JSON"
    )
    several = named("outbound|80||a.b", "outbound|80||a", "bad", "ba", "good", "EDS-x")
    assert mentioned(error, several) == ("outbound|80||a.b", "bad")
    assert mentioned("Error adding/updating listener(s) in: no such filter", named("in")) == ("in",)


def test_without_a_name_the_response_is_halved() -> None:
    assert split("missing ]: [", named("a1", "b1", "c1")) == (("a1",), ("b1", "c1"))


def test_named_ones_are_tried_alone_after_the_rest() -> None:
    assert split("b1: no", named("a1", "b1", "c1")) == (("a1", "c1"), ("b1",))


@given(
    st.sets(st.text("abc|.", min_size=1, max_size=4), min_size=2, max_size=30), st.text("abc|. :")
)
def test_parts_are_smaller_and_lose_nothing(names: set[str], error: str) -> None:
    parts = split(error, named(*sorted(names)))
    assert sorted(name for part in parts for name in part) == sorted(names)
    assert all(0 < len(part) < len(names) for part in parts)
