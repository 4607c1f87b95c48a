import pytest

from argosy.api.yaml_scalar import plain_scalar


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("Yes", True),
        ("off", False),
        ("reviews", "reviews"),
        ("80", 80),
        ("-1", -1),
        ("+1", 1),
        ("0644", 0o644),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b101", 5),
        ("0.5", 0.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("089", 89.0),
    ],
)
def test_plain_scalars(text: str, value: object) -> None:
    result = plain_scalar(text)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    "text",
    ["22:22", "2026-01-01", "2026-01-01T00:00:00Z", "1.2.3", "v1", "10s", ".", "-", "+", "0x_",
     "1e999", ".inf", ".nan", "9" * 50, "١", "1_000", "y", "n"],
)  # fmt: skip
def test_what_only_yaml_of_old_reads_as_numbers_or_dates_stays_text(text: str) -> None:
    assert plain_scalar(text) == text
