"""Tables, problems and times as text."""

import os
from datetime import UTC, datetime, timedelta

import pytest

from argosy.cli.output import Outlet, age, duration, show_facts, show_problem, show_table
from argosy.cli.status import until


def test_a_table_is_as_wide_as_its_content(capsys: pytest.CaptureFixture[str]) -> None:
    assert show_table(["NAME", "A"], [["x" * 300, "[b]"], ["y", ""]])
    assert capsys.readouterr().out == (f"NAME{' ' * 296}   A\n{'x' * 300}   [b]\ny\n")


def test_a_table_without_rows_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert not show_table(["NAME"], [])
    assert capsys.readouterr().out == ""


def test_facts_stand_below_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    show_facts([("A", "1"), ("Long", "2\n3"), ("None", "")])
    assert capsys.readouterr().out == "A:     1\nLong:  2\n       3\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (-5, "0s"),
        (59.9, "59s"),
        (60, "1m"),
        (192, "3m12s"),
        (3600, "1h"),
        (86399, "23h59m"),
        (86400 * 3 + 7200, "3d2h"),
    ],
)
def test_durations_have_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_ages_and_expiries() -> None:
    now = datetime.now(UTC)
    assert age(None) == "<unknown>"
    assert age((now - timedelta(minutes=2, seconds=1)).isoformat()) == "2m1s"
    assert until(None) == "-"
    assert until((now + timedelta(hours=24)).isoformat()) == "23h59m left"
    assert until((now - timedelta(seconds=1)).isoformat()) == "EXPIRED"


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (
            {
                "file": "a.yaml",
                "line": 3,
                "kind": "VirtualService",
                "namespace": "default",
                "name": "a",
                "field": "spec.http[0]",
                "message": "wrong [bold]",
                "hint": "mend it",
                "severity": "Error",
            },
            "Error: a.yaml:3: VirtualService default/a: spec.http[0]: wrong [bold]\n       mend it\n",
        ),
        ({"file": "a.yaml", "message": "empty", "severity": "Warning"}, "Warning: a.yaml: empty\n"),
        ({"message": "odd", "level": "WARNING"}, "Warning: odd\n"),
    ],
)
def test_a_problem_in_one_line(
    problem: dict[str, object], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    show_problem(problem)
    assert capsys.readouterr().err == text


def test_a_command_can_outlive_its_reader() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        console = Outlet(file=pipe, force_terminal=False)
        console.outlives = True
        console.print("one")
        console.print("two")
        assert os.fstat(writing).st_rdev == os.stat(os.devnull).st_rdev
