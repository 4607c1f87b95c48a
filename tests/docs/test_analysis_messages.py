"""The page of analysis messages is what the table of codes says."""

from pathlib import Path

import pytest

from argosy.pilot.analyze.documentation import page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "analysis-messages.md"


def test_the_page_is_current(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--regold"):
        PAGE.write_text(page())
    assert PAGE.read_text() == page(), "pytest --regold tests/docs/test_analysis_messages.py"
