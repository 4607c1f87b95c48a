"""Options and fixtures of all tests."""

import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from argosy.testing.golden import Golden

# A shell's background jobs, and all that they start, would ignore the interrupts that tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples every time; ``--hypothesis-profile=wide`` looks for new ones.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("wide", deadline=None, derandomize=False)
settings.load_profile("same")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regold", action="store_true", help="rewrite golden files, and delete stale ones"
    )


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest) -> Iterator[Golden]:
    """Compares with golden files, or rewrites them under ``--regold``."""
    judge = Golden(bool(request.config.getoption("--regold")))
    yield judge
    is_part = request.config.option.keyword or hasattr(request.config, "workerinput")
    if not request.session.testsfailed and not is_part:
        judge.delete_stale()
