"""Log files that processes append to and that stay bounded.

The processes write to the file themselves, so that a log costs no copy through the agent and
survives its restart. A file that grew past the limit is copied to ``NAME.1`` and truncated;
lines written between the two are lost, as with logrotate's ``copytruncate``.
"""

import contextlib
import os
import shutil
from pathlib import Path

LIMIT_BYTES = 10 * 1024 * 1024


def open_log(path: Path) -> int:
    """A descriptor that appends to the file, which only its owner can read."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def keep_bounded(path: Path, limit: int = LIMIT_BYTES) -> bool:
    """Rotate the file if it is larger than ``limit`` bytes; True if it was."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > limit:
            shutil.copyfile(path, path.with_name(f"{path.name}.1"))
            os.truncate(path, 0)
            return True
    return False


def tail(path: Path, lines: int = 15) -> str:
    """The last lines of the file; empty when there is none. Reads at most 64 KiB."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 65536))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
