import pytest

from argosy.api.durations import parse_duration
from argosy.api.meta import Duration


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("10s", 10_000),
        ("1.5s", 1_500),
        (".5s", 500),
        ("100ms", 100),
        ("1h30m", 5_400_000),
        ("1h15m30.918s", 4_530_918),
        ("2000us", 2),
        ("-3s", -3_000),
        ("+3s", 3_000),
    ],
)
def test_durations_are_read_as_go_reads_them(text: str, milliseconds: int) -> None:
    assert parse_duration(text) == milliseconds
    assert isinstance(parse_duration(text), Duration)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a duration"),
        ("10", "not a duration"),
        ("s", "not a duration"),
        (".s", "not a duration"),
        ("2 s", "not a duration"),
        ("1d", "not a duration"),
        ("ten seconds", "not a duration"),
        ("1s\n", "not a duration"),
        ("٣s", "not a duration"),
        ("1us", "finer than a millisecond"),
        ("1.0005s", "finer than a millisecond"),
        ("999999999h", "longer than 292 years"),
    ],
)
def test_what_is_no_duration_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0s", "1ms", "1500ms", "10s", "90s", "2m", "1h", "-5s"])
def test_durations_print_in_the_largest_unit_that_divides_them(text: str) -> None:
    assert str(parse_duration(text)) == text
