"""Programs of Debian that tests run: the machine's own, or those that ``tools/debian.sh`` unpacked."""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

UNPACKED = Path(sys.prefix) / "debian"


@dataclass(frozen=True)
class Program:
    """``environment`` is what it must have besides the usual one to find its libraries."""

    path: str
    environment: dict[str, str]


def find(name: str) -> Program | None:
    """The program, where it is there."""
    own = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if own is not None:
        return Program(own, {})
    found = UNPACKED / "usr" / "bin" / name
    if not found.is_file():
        return None
    libraries = [str(path) for path in (UNPACKED / "usr" / "lib").glob("*-linux-gnu")]
    return Program(str(found), {"LD_LIBRARY_PATH": ":".join(libraries)} if libraries else {})


def require(name: str) -> Program:
    """The program; skips the test where it cannot be had."""
    found = find(name)
    if found is None:
        pytest.skip(
            f"{name} is not there: `make debian` unpacks it, where Debian's packages can be had"
        )
    return found
