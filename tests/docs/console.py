"""Reads ``console`` blocks of Markdown pages, and compares what commands print with what is shown.

A block marked ``console`` holds commands behind ``$ `` and below each, if anything, what it prints.
A command goes on over lines that end in a backslash, and to the end of its here-document. A line
``...`` stands for any lines, ``...`` within a line for any text; pod names, addresses, times and
durations match any other. ``console exit=1`` says how the last command of the block ends.

A comment at the top of a page says what must run: ``<!-- mesh: FILES -->``, or ``<!-- mesh: none -->``.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"(?P<indent> *)(?P<ticks>`{3,})(?P<info>.*)")
_SETUP = re.compile(r"<!-- mesh: (?P<files>[^>]+?) -->")
_HEREDOC = re.compile(r"<<-?\s*(['\"]?)(?P<word>\w+)\1")
_EXIT = re.compile(r"\bexit=(\d+)")
_ANYTHING = "..."
_VOLATILE = (
    (re.compile(r"-[a-z0-9]{10}-[a-z0-9]{5}\b"), "-POD"),
    (re.compile(r"\b[0-9a-f]{30,}\b"), "HEX"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| UTC)?"), "TIME"),
    (re.compile(r"\b127\.0\.0\.1:\d{4,5}\b"), "HOST:PORT"),
    (re.compile(r"\b10\.(\d+\.){2}\d+\b"), "ADDRESS"),
    (re.compile(r"\b\d+(\.\d+)? (ms|s|MB)\b"), r"N \2"),
    (re.compile(r"\b(\d+[dhms])+\b"), "AGE"),
    (re.compile(r"^((?:Objects|Revision): +)\d+"), r"\1N"),
    (re.compile(r"\((?:root|rootless)\)"), "(MODE)"),
    (re.compile(r"\s+"), " "),
)


@dataclass(frozen=True, slots=True)
class Command:
    """``text`` as typed, ``shown`` as printed below it. ``line`` is where it stands in the page."""

    text: str
    shown: tuple[str, ...]
    line: int
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """``setup`` is None for a page without a mesh comment, ``()`` for one that makes its own."""

    path: Path
    setup: tuple[str, ...] | None
    commands: tuple[Command, ...]


def page(path: Path) -> Page:
    text = path.read_text(encoding="utf-8")
    found = _SETUP.search(text)
    setup = None
    if found:
        files = found["files"].split()
        setup = () if files == ["none"] else tuple(files)
    return Page(path, setup, tuple(_commands(text.splitlines())))


def _commands(lines: Sequence[str]) -> Iterator[Command]:
    i = 0
    while i < len(lines):
        fence = _FENCE.fullmatch(lines[i])
        i += 1
        if fence is None:
            continue
        start = i
        while i < len(lines) and lines[i].strip() != fence["ticks"]:
            i += 1
        info = fence["info"].strip()
        if info.partition(" ")[0] == "console":
            indent = len(fence["indent"])
            yield from _of_block([line[indent:] for line in lines[start:i]], start + 1, info)
        i += 1


def _of_block(lines: Sequence[str], first: int, info: str) -> Iterator[Command]:
    found = _EXIT.search(info)
    last = int(found[1]) if found else 0
    i = 0
    while i < len(lines):
        assert lines[i].startswith("$ "), f"line {first + i}: a console block begins with '$ '"
        at = first + i
        typed = [lines[i][2:]]
        i += 1
        end: str | None = None
        while True:
            if end is None and (here := _HEREDOC.search(typed[-1])):
                end = here["word"]
            elif typed[-1] == end or (end is None and not typed[-1].endswith("\\")):
                break
            typed.append(lines[i])
            i += 1
        shown = []
        while i < len(lines) and not lines[i].startswith("$ "):
            shown.append(lines[i])
            i += 1
        while shown and not shown[-1].strip():
            shown.pop()
        yield Command("\n".join(typed), tuple(shown), at, last if i >= len(lines) else 0)


def matches(shown: Sequence[str], printed: Sequence[str]) -> bool:
    """Whether what is printed is what is shown; a command that shows nothing may print anything."""
    if not shown:
        return True
    patterns = [_pattern(line) for line in shown]
    return _match(patterns, [plain(line) for line in printed])


def _match(patterns: Sequence[re.Pattern[str] | None], printed: Sequence[str]) -> bool:
    if not patterns:
        return not printed
    first, rest = patterns[0], patterns[1:]
    if first is None:
        return any(_match(rest, printed[i:]) for i in range(len(printed) + 1))
    return bool(printed) and bool(first.fullmatch(printed[0])) and _match(rest, printed[1:])


def _pattern(line: str) -> re.Pattern[str] | None:
    if line.strip() == _ANYTHING:
        return None
    return re.compile(".*".join(re.escape(part.strip()) for part in plain(line).split(_ANYTHING)))


def plain(line: str) -> str:
    """The line with what differs from run to run replaced."""
    for pattern, replacement in _VOLATILE:
        line = pattern.sub(replacement, line)
    return line.strip()
