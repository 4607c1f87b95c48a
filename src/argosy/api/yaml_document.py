"""Text → YAML documents: plain data, and the line of every field.

Documents are split at ``---`` before they are parsed, so that one that does not parse hides no
other. Input is not trusted: depth, size and the expansion of aliases are bounded, and keys become
text as in JSON. Tags other than YAML's own scalars are refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml import _yaml

from argosy.api.located import child
from argosy.api.yaml_scalar import plain_scalar

MAX_DEPTH = 64
MAX_DOCUMENT_CHARACTERS = 3 * 2**20
"""As Kubernetes' limit of a request."""
MAX_NODES = 100_000
"""Values of one document."""
MAX_TEXT_NODES = 1_000_000
"""Values of all documents of a text."""
MAX_ALIASED_NODES = 20_000
MAX_DUPLICATE_KEYS = 100
"""So many are told for a document."""
MAX_LINES = 5_000
"""So many fields of a document get a line of their own; the rest that of what encloses them."""

_SEPARATOR = re.compile(r"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)
_CONTENT = re.compile(r"^(?!\s*(?:#|%|$)|---\s*(?:#|$))", re.MULTILINE)


@dataclass(slots=True)
class YamlError(Exception):
    """A mistake in the YAML itself; ``line`` and ``column`` count from 1."""

    line: int
    column: int | None
    path: str
    code: str
    message: str
    hint: str = ""


@dataclass(slots=True)
class Document:
    """One document. ``lines`` maps field paths to lines; ``problems`` leave the data usable.

    ``nodes`` counts its values, those behind aliases each time.
    """

    line: int
    nodes: int = 0
    data: Any = None
    lines: dict[str, int] = field(default_factory=dict)
    problems: list[YamlError] = field(default_factory=list)


def documents(text: str) -> Iterator[Document | YamlError]:
    """All documents that hold something; a problem stands for one that cannot be used at all."""
    starts = [0, *(match.start() for match in _SEPARATOR.finditer(text))]
    first_line = 1
    nodes_left = MAX_TEXT_NODES
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        chunk = text[start:end]
        content = _CONTENT.search(chunk)
        if content is not None:
            try:
                blank_lines = chunk.count("\n", 0, content.start())
                document = _document(chunk, first_line, blank_lines, nodes_left)
                nodes_left -= document.nodes
                yield document
            except YamlError as problem:
                if problem.code == "TooManyValues":
                    nodes_left -= min(MAX_NODES, nodes_left)
                yield problem
        first_line += chunk.count("\n")


def _document(chunk: str, first_line: int, blank_lines: int, nodes_left: int) -> Document:
    line = first_line + blank_lines
    if len(chunk) > MAX_DOCUMENT_CHARACTERS:
        raise YamlError(
            line,
            None,
            "",
            "DocumentTooLarge",
            f"the document has {len(chunk) / 2**20:.1f} MB; the limit is 3 MB",
            "Put objects into documents of their own, separated by ---",
        )
    builder = _Builder(Document(line), first_line, min(MAX_NODES, nodes_left))
    try:
        parser = _yaml.CParser(chunk)
        while True:
            event = parser.get_event()
            if event is None or isinstance(event, yaml.StreamEndEvent):
                return builder.document
            builder.handle(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what, hint = _words(str(error.problem or error.context or "it is not YAML"))
        began = error.context_mark
        if what.endswith("is not closed") and mark and began and began.line != mark.line:
            what += f" (see line {first_line + began.line})"
        raise YamlError(
            first_line + (mark.line if mark else 0),
            mark.column + 1 if mark else None,
            "",
            "InvalidYaml",
            f"this is not YAML: {what}",
            hint,
        ) from None
    except (yaml.YAMLError, UnicodeError) as error:
        reason = getattr(error, "reason", "") or "it holds characters that YAML does not allow"
        raise YamlError(line, None, "", "InvalidYaml", f"this is not YAML: {reason}") from None


_WORDS_OF_LIBYAML = {
    "found character that cannot start any token": (
        "a tab, or a character such as @ or ` that must be quoted, starts a word here",
        "Indent with spaces, and put the value in quotes",
    ),
    "mapping values are not allowed in this context": (
        "a ':' stands where no field can begin",
        "Check the indentation, and put values that contain ': ' in quotes",
    ),
    "did not find expected key": (
        "a field should begin here",
        "Check that this line is indented as its neighbours are",
    ),
    "did not find expected '-' indicator": (
        "a list item ('- ...') should begin here",
        "Check that this line is indented as the items above are",
    ),
    "could not find expected ':'": (
        "the line above should be 'field: value'",
        "Check for a missing ':' or a missing closing quote",
    ),
    "did not find expected ',' or ']'": ("a list that began with '[' is not closed", "Add a ']'"),
    "did not find expected ',' or '}'": (
        "a mapping that began with '{' is not closed",
        "Add a '}'",
    ),
    "found unexpected end of stream": ("a quote is not closed", "Add the missing quote"),
}


def _words(problem: str) -> tuple[str, str]:
    return _WORDS_OF_LIBYAML.get(problem, (problem, ""))


_NO_KEY = object()


@dataclass(slots=True)
class _Frame:
    """A mapping or list that is being read. ``key`` is the key whose value comes next."""

    value: Any
    path: str
    anchor: str | None
    nodes_before: int
    key: Any = _NO_KEY
    key_lines: dict[str, int] = field(default_factory=dict)
    merges: list[Any] = field(default_factory=list)


class _Builder:
    """Builds data from parser events, with a stack of its own instead of recursion."""

    def __init__(self, document: Document, first_line: int, max_nodes: int) -> None:
        self.document = document
        self._first_line = first_line
        self._stack: list[_Frame] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._max_nodes = max_nodes
        self._aliased = 0
        self._done = False

    def handle(self, event: yaml.Event) -> None:
        match event:
            case yaml.ScalarEvent():
                self._count(1, event)
                self._scalar(event)
            case yaml.MappingStartEvent():
                self._open({}, event)
            case yaml.SequenceStartEvent():
                self._open([], event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._close(event)
            case yaml.AliasEvent():
                self._alias(event)
            case yaml.DocumentStartEvent() if self._done:
                raise self._problem(event, "InvalidYaml", "a second document begins without ---")

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        frame = self._stack[-1] if self._stack else None
        if frame is not None and type(frame.value) is dict and frame.key is _NO_KEY:
            self._key(frame, event)
            return
        value = self._value(event)
        if event.anchor:
            self._anchors[event.anchor] = (value, 1)
        self._put(value, event)

    def _value(self, event: yaml.ScalarEvent) -> Any:
        plain, quoted = event.implicit
        if plain:
            return plain_scalar(event.value)
        if quoted or event.tag in ("!", "tag:yaml.org,2002:str"):
            return event.value
        if event.tag in _SCALAR_TAGS:
            return plain_scalar(event.value)
        raise self._problem(
            event,
            "UnsupportedTag",
            f"the YAML tag {event.tag!r} is not allowed",
            "Write the plain value",
        )

    def _key(self, frame: _Frame, event: yaml.ScalarEvent) -> None:
        key = event.value
        line = self._line(event)
        if key == "<<" and event.implicit[0]:
            frame.key = _MERGE
            return
        path = child(frame.path, key)
        before = frame.key_lines.get(key)
        if before is not None and len(self.document.problems) < MAX_DUPLICATE_KEYS:
            self.document.problems.append(
                YamlError(
                    line,
                    _column(event),
                    path,
                    "DuplicateKey",
                    f"{key!r} is written twice; the first one is in line {before}",
                    "Remove one of them, or merge them",
                )
            )
        frame.key_lines[key] = line
        frame.key = key
        if len(self.document.lines) < MAX_LINES:
            self.document.lines[path] = line

    def _open(self, value: Any, event: yaml.CollectionStartEvent) -> None:
        frame = self._stack[-1] if self._stack else None
        if frame is not None and type(frame.value) is dict and frame.key is _NO_KEY:
            raise self._problem(event, "InvalidKey", "a list or mapping cannot be a key")
        if len(self._stack) >= MAX_DEPTH:
            raise self._problem(
                event, "TooDeep", f"the document is nested deeper than {MAX_DEPTH} levels"
            )
        if event.tag is not None and not event.implicit and event.tag not in _COLLECTION_TAGS:
            raise self._problem(
                event, "UnsupportedTag", f"the YAML tag {event.tag!r} is not allowed"
            )
        path = self._path()
        self._note_item(path, event)
        self._count(1, event)
        self._stack.append(_Frame(value, path, event.anchor, self.document.nodes - 1))

    def _close(self, event: yaml.Event) -> None:
        frame = self._stack.pop()
        value = frame.value
        for merged in frame.merges:
            for key, item in merged.items():
                value.setdefault(key, item)
        if frame.anchor:
            self._anchors[frame.anchor] = (value, self.document.nodes - frame.nodes_before)
        self._put(value, event, noted=True)

    def _alias(self, event: yaml.AliasEvent) -> None:
        frame = self._stack[-1] if self._stack else None
        if frame is not None and type(frame.value) is dict and frame.key is _NO_KEY:
            raise self._problem(event, "InvalidKey", "an alias cannot be a key")
        if event.anchor not in self._anchors:
            raise self._problem(
                event,
                "UnknownAlias",
                f"the alias *{event.anchor} has no anchor &{event.anchor} before it",
            )
        value, nodes = self._anchors[event.anchor]
        self._count(nodes, event)
        self._aliased += nodes
        if self._aliased > MAX_ALIASED_NODES:
            raise self._problem(
                event,
                "TooManyAliases",
                f"its aliases stand for more than {MAX_ALIASED_NODES} values",
                "Write the values out",
            )
        self._put(value, event)

    def _put(self, value: Any, event: yaml.Event, *, noted: bool = False) -> None:
        if not self._stack:
            self.document.data = value
            self._done = True
            return
        frame = self._stack[-1]
        if type(frame.value) is list:
            if not noted:
                self._note_item(self._path(), event)
            frame.value.append(value)
        elif frame.key is _MERGE:
            merged = value if type(value) is list else [value]
            if not all(type(item) is dict for item in merged):
                raise self._problem(event, "InvalidMerge", "<< merges mappings only")
            frame.merges.extend(merged)
            frame.key = _NO_KEY
        else:
            frame.value[frame.key] = value
            frame.key = _NO_KEY

    def _count(self, nodes: int, event: yaml.Event) -> None:
        self.document.nodes += nodes
        if self.document.nodes > self._max_nodes:
            raise self._problem(
                event,
                "TooManyValues",
                f"it holds too many values; the limits are {MAX_NODES} in a document and "
                f"{MAX_TEXT_NODES} in a file",
                "Split it",
            )

    def _path(self) -> str:
        """The path of the value that comes next."""
        if not self._stack:
            return ""
        frame = self._stack[-1]
        if type(frame.value) is list:
            return f"{frame.path}[{len(frame.value)}]"
        return frame.path if frame.key is _MERGE else child(frame.path, frame.key)

    def _note_item(self, path: str, event: yaml.Event) -> None:
        """Items of lists have no key of which the line was noted."""
        if path.endswith("]") and len(self.document.lines) < MAX_LINES:
            self.document.lines.setdefault(path, self._line(event))

    def _problem(self, event: yaml.Event, code: str, message: str, hint: str = "") -> YamlError:
        return YamlError(
            self._line(event), _column(event), self._path_or_root(), code, message, hint
        )

    def _line(self, event: yaml.Event) -> int:
        mark = event.start_mark
        return self._first_line + (mark.line if mark is not None else 0)

    def _path_or_root(self) -> str:
        frame = self._stack[-1] if self._stack else None
        return frame.path if frame is not None else ""


def _column(event: yaml.Event) -> int:
    mark = event.start_mark
    return mark.column + 1 if mark is not None else 1


_MERGE = object()
_SCALAR_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "null"))
_COLLECTION_TAGS = frozenset(("!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"))
