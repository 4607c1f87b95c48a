"""The page of response flags says what the commands say."""

import re
from pathlib import Path

import pytest
import typer
from tests.docs.flag_table import page

from argosy.cli.main import application

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/response-flags.md"


def test_the_page_is_current(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--regold"):
        PAGE.write_text(page())
    assert PAGE.read_text() == page(), "pytest --regold tests/docs/test_flag_table.py"


def test_the_commands_that_it_names_are_there() -> None:
    app = typer.main.get_command(application([]))
    named = re.findall(r"argosy ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?", page())
    assert named
    for name, sub in named:
        command = app.commands[name]  # type: ignore[attr-defined]  # a group
        assert not sub or sub in getattr(command, "commands", ()), f"argosy {name} {sub}"
