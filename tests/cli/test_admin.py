"""``argosy admin``, against a control plane in this process."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from argosy.base import log

Argosy = Callable[..., Any]


@pytest.fixture(autouse=True)
def _levels() -> Iterator[None]:
    before = log.levels()
    yield
    log.set_levels(before)


def test_metrics(mesh: Any, argosy: Argosy) -> None:
    assert argosy("admin", "metrics").out == "# TYPE pilot_xds gauge\npilot_xds 0.0\n"


def test_levels(mesh: Any, argosy: Argosy) -> None:
    assert argosy("admin", "log").out == "default: info\n"
    changed = argosy("admin", "log", "--level", "xds:debug,default:error")
    assert changed.out == "default: error\nxds: debug\n"
    wrong = argosy("admin", "log", "--level", "xds:loud")
    assert wrong.code == 2
    assert "'loud' is no level of logs: use debug, info" in wrong.err
