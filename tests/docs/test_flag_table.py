"""The page of response flags says what the commands say."""

from pathlib import Path

import pytest
from tests.docs.flag_table import page

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/response-flags.md"


def test_the_page_is_current(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--regold"):
        PAGE.write_text(page())
    assert PAGE.read_text() == page(), "pytest --regold tests/docs/test_flag_table.py"
