"""Watching a directory of configuration files.

Polling, because it works on every file system (network mounts and containers included) and cannot
lose an event: each look compares the signature of every file with the last one. A changed file is
reported once it stood still for one interval, so that a file in the middle of being written is not
taken for a shorter one; the first look is reported at once.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from argosy.sources.files import SourceFile, Unreadable, files_below, read_file

Signature = tuple[int, int, int]
"""Modification time in ns, size in bytes, inode."""


@dataclass(frozen=True, slots=True)
class DirectoryChange:
    """Files that are new or differ (whole texts), that cannot be read, and that are gone."""

    changed: tuple[SourceFile, ...]
    unreadable: tuple[Unreadable, ...]
    removed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.changed or self.unreadable or self.removed)


@dataclass(slots=True)
class DirectoryWatch:
    """The state between two looks; ``look`` reads the disk and decides what to report."""

    path: str
    _reported: dict[str, Signature] = field(default_factory=dict)
    _moving: dict[str, Signature] = field(default_factory=dict)

    def look(self, *, settled: bool = True) -> DirectoryChange:
        """One look at the directory. With ``settled`` a change must have been seen twice."""
        found = {path: sign for path in files_below(self.path) if (sign := _signature(path))}
        changed: list[SourceFile] = []
        unreadable: list[Unreadable] = []
        moving: dict[str, Signature] = {}
        for path, signature in found.items():
            if self._reported.get(path) == signature:
                continue
            if settled and self._moving.get(path) != signature:
                moving[path] = signature
                continue
            result = read_file(path)
            if _signature(path) != signature:
                moving[path] = signature
                continue
            self._reported[path] = signature
            if isinstance(result, SourceFile):
                changed.append(result)
            else:
                unreadable.append(result)
        removed = tuple(sorted(self._reported.keys() - found.keys()))
        for path in removed:
            del self._reported[path]
        self._moving = moving
        return DirectoryChange(tuple(changed), tuple(unreadable), removed)


async def watch_directory(path: str, interval: float = 0.25) -> AsyncIterator[DirectoryChange]:
    """What the directory holds now, then every change; never ends by itself.

    ``interval`` is the time between two looks in seconds. A directory that does not exist holds
    nothing until it is made. The disk is read in a worker thread.
    """
    watch = DirectoryWatch(path)
    yield await asyncio.to_thread(watch.look, settled=False)
    while True:
        await asyncio.sleep(interval)
        change = await asyncio.to_thread(watch.look)
        if change:
            yield change


def _signature(path: str) -> Signature | None:
    """None for a file that is gone."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size, status.st_ino)
