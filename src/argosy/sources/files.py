"""Reading configuration files.

Paths go in: files, directories (searched for ``*.yaml``, ``*.yml`` and ``*.json``, hidden entries
left out), or ``-`` for standard input. Texts come out, in the order of the paths and sorted inside
a directory. What cannot be read is a value, :class:`Unreadable`, so that one bad file hides no other.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

SUFFIXES = (".yaml", ".yml", ".json")
STDIN = "-"
MAX_FILE_BYTES = 16 * 1024 * 1024
"""A file larger than this is refused: the API takes no larger request either."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One readable file. ``path`` is as the user would write it (``-`` for standard input)."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A path that gave no text: what happened, and what to try."""

    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" + (f" ({self.hint})" if self.hint else "")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a list of paths held."""

    files: tuple[SourceFile, ...]
    unreadable: tuple[Unreadable, ...] = ()


def read_paths(paths: Sequence[str], stdin: BinaryIO | None = None) -> Reading:
    """Read all of ``paths``. A file named twice is read once."""
    files: list[SourceFile] = []
    unreadable: list[Unreadable] = []
    seen: set[str] = set()
    for path in paths:
        if path == STDIN:
            if STDIN not in seen:
                seen.add(STDIN)
                _sort_in(_read_stdin(stdin), files, unreadable)
            continue
        if not os.path.isdir(path):
            _read_once(path, seen, files, unreadable)
            continue
        found = False
        for file in files_below(path):
            found = True
            _read_once(file, seen, files, unreadable)
        if not found:
            message = "this directory holds no .yaml, .yml or .json file"
            unreadable.append(Unreadable(path, message))
    return Reading(tuple(files), tuple(unreadable))


def files_below(directory: str) -> Iterator[str]:
    """The configuration files of a directory, recursively and sorted.

    Links are followed (a mounted ConfigMap is made of them), each directory is visited once.
    """
    yield from _walk(directory, set())


def read_file(path: str) -> SourceFile | Unreadable:
    """Read one file. A path that is no regular file, and text that is not UTF-8, is unreadable."""
    try:
        with open(path, "rb") as file:
            if stat.S_ISDIR(os.fstat(file.fileno()).st_mode):
                return Unreadable(path, "is a directory")
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        return Unreadable(path, _words(error))
    return _text(path, data)


def _walk(directory: str, visited: set[tuple[int, int]]) -> Iterator[str]:
    try:
        status = os.stat(directory)
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError:
        return  # Gone or closed to us between two looks: it holds nothing that we could read.
    if (status.st_dev, status.st_ino) in visited:
        return
    visited.add((status.st_dev, status.st_ino))
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(entry.path, visited)
        elif entry.name.lower().endswith(SUFFIXES) and not _is_special(entry):
            yield entry.path


def _is_special(entry: os.DirEntry[str]) -> bool:
    """A device or FIFO would block the reader; a dangling link is reported when it is read."""
    try:
        mode = entry.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode)


def _read_once(
    path: str, seen: set[str], files: list[SourceFile], unreadable: list[Unreadable]
) -> None:
    real = os.path.realpath(path)
    if real not in seen:
        seen.add(real)
        _sort_in(read_file(path), files, unreadable)


def _sort_in(
    result: SourceFile | Unreadable, files: list[SourceFile], unreadable: list[Unreadable]
) -> None:
    if isinstance(result, SourceFile):
        files.append(result)
    else:
        unreadable.append(result)


def _read_stdin(stdin: BinaryIO | None) -> SourceFile | Unreadable:
    if stdin is None:
        return Unreadable(STDIN, "there is no standard input here")
    return _text(STDIN, stdin.read(MAX_FILE_BYTES + 1))


def _text(path: str, data: bytes) -> SourceFile | Unreadable:
    if len(data) > MAX_FILE_BYTES:
        limit = MAX_FILE_BYTES // (1024 * 1024)
        return Unreadable(path, f"is larger than {limit} MiB", "split the file")
    if b"\0" in data and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return Unreadable(path, "is a binary file, not YAML or JSON")
    try:
        return SourceFile(path, data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        message = f"is not UTF-8 text (byte {error.start})"
        return Unreadable(path, message, "save the file as UTF-8")


def _words(error: OSError) -> str:
    match error:
        case FileNotFoundError():
            return "does not exist"
        case PermissionError():
            return "may not be read by this user"
        case IsADirectoryError():
            return "is a directory"
    return error.strerror or str(error)
