"""Levels of logs by scope, while the process runs. The lines themselves come from a process of their own."""

import json
import os
import subprocess
import sys

import pytest

from argosy.base.log import LevelError, parse_levels

PROGRAM = """
import structlog
from argosy.base import log
log.configure()
first, other = structlog.get_logger(), structlog.get_logger()
first.info("xds.connected", n=1); first.debug("xds.published", n=2); other.info("jwks.fetched", n=3)
log.set_levels(log.parse_levels("xds:debug,default:warning"))
first.debug("xds.published", n=4); other.info("jwks.fetched", n=5); other.warning("jwks.failed", n=6)
log.set_levels({"default": "none"})
first.error("xds.x", n=7)
log.set_levels({"xds": "error"})
first.warning("xds.x", n=8)
first.exception("xds.x", n=9)
print(log.levels())
"""


def test_levels_while_it_runs() -> None:
    environment = {**os.environ, "ARGOSY_LOG": "json", "ARGOSY_LOG_LEVEL": "default:info"}
    argv = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["n"] for line in lines] == [1, 3, 4, 6, 9]
    assert lines[0].keys() == {"event", "level", "n", "timestamp"}
    assert done.stdout == "{'default': 'none', 'xds': 'error'}\n"


def test_what_is_no_level() -> None:
    assert parse_levels("debug") == {"default": "debug"}
    assert parse_levels("xds:debug, default:none,") == {"xds": "debug", "default": "none"}
    for wrong in ("loud", "xds:", "X/Y:debug", "a:b:info"):
        with pytest.raises(LevelError):
            parse_levels(wrong)
    with pytest.raises(LevelError, match="50 scopes"):
        parse_levels(
            ",".join(f"s{'x' * i}:info" for i in range(41))
            + ",".join(f",t{'x' * i}:info" for i in range(20))
        )
