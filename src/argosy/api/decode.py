"""Text or JSON → objects, and every mistake in it with its line.

One bad object or document never hides the others. What is returned has the preferred version of
its API group, a namespace, and Kubernetes' defaults. Mistakes that need more than types and names
to see are ``validate``'s.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from argosy.api import registry
from argosy.api.located import LocatedProblem
from argosy.api.meta import Metadata, Object, Origin, key_of, line_of
from argosy.api.typed import Mistake, checked, decode_hook, described, did_you_mean, short
from argosy.api.unsupported import UNSUPPORTED
from argosy.api.validate_metadata import check_metadata
from argosy.api.yaml_document import YamlError, documents
from argosy.base.names import ObjectKey
from argosy.base.problems import Severity

MAX_FILE_BYTES = 16 * 2**20
MAX_FILE_PROBLEMS = 1000
_ITEM = re.compile(r"items\[(\d+)\]\.")
MAX_PROBLEMS = 200
"""Of one object: beyond it the rest is counted, not listed."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """``objects`` are those without errors (they may have warnings), in the order written."""

    objects: tuple[Object, ...] = ()
    problems: tuple[LocatedProblem, ...] = ()

    @property
    def errors(self) -> tuple[LocatedProblem, ...]:
        return tuple(p for p in self.problems if p.severity is Severity.ERROR)


def decode_yaml(text: str | bytes, file: str, *, namespace: str = "default") -> Decoded:
    """All objects of a file. ``namespace`` is that of objects that name none."""
    return decode_files([(file, text)], namespace=namespace)


def decode_files(
    files: Iterable[tuple[str, str | bytes]], *, namespace: str = "default"
) -> Decoded:
    """All objects of several ``(path, text)``, which are one input: none may be written twice."""
    decoding = _Decoding(namespace)
    for file, text in files:
        decoding.file(file, text)
    return Decoded(tuple(decoding.objects.values()), tuple(decoding.problems))


def decode_json(
    data: bytes | str | Mapping[str, Any], *, file: str = "", namespace: str = "default"
) -> Decoded:
    """One object (or a List of objects) as JSON or plain data; its problems have no lines."""
    decoding = _Decoding(namespace)
    value: Any = data
    if isinstance(data, (bytes, str)):
        try:
            value = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            what = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
            decoding.fail(file, None, "", "InvalidJson", f"this is not JSON: {what}")
            return Decoded((), tuple(decoding.problems))
    decoding.document(value, _Place(file, None, {}))
    return Decoded(tuple(decoding.objects.values()), tuple(decoding.problems))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a document is; ``line`` is None when nobody knows."""

    file: str
    line: int | None
    lines: Mapping[str, int]

    def line_of(self, path: str) -> int | None:
        return line_of(self.origin, path)

    @property
    def origin(self) -> Origin | None:
        if self.line is None:
            return None
        return Origin(file=self.file, line=self.line, fields=self.lines)

    def items(self, count: int) -> "list[_Place]":
        """The places of the items of a List, with paths as the items see them."""
        lines: list[dict[str, int]] = [{} for _ in range(count)]
        for path, line in self.lines.items():
            item = _ITEM.match(path)
            if item is not None:
                lines[int(item[1])][path[item.end() :]] = line
        return [
            _Place(self.file, self.lines.get(f"items[{index}]", self.line), lines[index])
            for index in range(count)
        ]


@dataclass(slots=True)
class _Decoding:
    namespace: str
    objects: dict[ObjectKey, Object] = field(default_factory=dict)
    problems: list[LocatedProblem] = field(default_factory=list)
    _seen: dict[ObjectKey, _Place] = field(default_factory=dict)
    _count: int = 0

    def file(self, file: str, content: str | bytes) -> None:
        if len(content) > MAX_FILE_BYTES:
            size = f"{len(content) / 2**20:.0f} MB; the limit is {MAX_FILE_BYTES // 2**20} MB"
            self.fail(file, None, "", "FileTooLarge", f"the file has {size}", "Split the file")
            return
        text = _text(content)
        if text is None:
            message = "this is not a text file, so it cannot be YAML"
            self.fail(file, None, "", "BinaryFile", message, "Give a YAML file in UTF-8")
            return
        found = False
        for document in documents(text):
            found = True
            if isinstance(document, YamlError):
                self._yaml_error(file, document, None)
                continue
            place = _Place(file, document.line, document.lines)
            self.document(document.data, place, document.problems)
        if not found:
            message = "the file holds no objects" if text.strip() else "the file is empty"
            self.fail(file, None, "", "EmptyFile", message, severity=Severity.WARNING)

    def document(
        self,
        data: object,
        place: _Place,
        yaml_problems: Iterable[YamlError] = (),
        *,
        in_list: bool = False,
    ) -> None:
        if data is None:
            return
        yaml_errors = list(yaml_problems)
        if not isinstance(data, Mapping):
            message = f"expected an object with apiVersion and kind, got {described(data)}"
            self.fail(place.file, place.line, "", "NotAnObject", message)
            return
        kind, items = data.get("kind"), data.get("items")
        is_list = isinstance(kind, str) and kind.endswith("List") and not in_list
        if is_list and isinstance(items, (list, tuple)):
            for error in yaml_errors:
                self._yaml_error(place.file, error, None)
            for item, where in zip(items, place.items(len(items)), strict=True):
                self.document(item, where, in_list=True)
            return
        self._object(data, place, yaml_errors)

    def _object(self, data: Mapping[str, Any], place: _Place, yaml_errors: list[YamlError]) -> None:
        key = self._key(data)
        for error in yaml_errors:
            self._yaml_error(place.file, error, key)
        entry, mistakes = _kind(data)
        obj = None
        if entry is not None:
            obj, mistakes = self._typed(data, entry, place)
        self._report(key, mistakes, place)
        if obj is None or yaml_errors or any(m.severity is Severity.ERROR for m in mistakes):
            return
        first = self._seen.setdefault(obj.key, place)
        if first is place:
            self.objects[obj.key] = obj
            return
        where = ":".join(str(part) for part in (first.file, first.line) if part)
        message = f"{obj.key} is written twice" + (
            f"; the first one is at {where}" if where else ""
        )
        hint = "Remove or rename one of them; until then neither is used"
        self._report(key, [Mistake("metadata.name", "DuplicateObject", message, hint)], place)

    def _typed(
        self, data: Mapping[str, Any], entry: registry.Registered, place: _Place
    ) -> tuple[Object | None, list[Mistake]]:
        data = {**data, "apiVersion": entry.api_version}
        foreign_origin = data.pop("origin", None) is not None
        mistakes: list[Mistake] = []
        try:
            obj = msgspec.convert(data, entry.struct, dec_hook=decode_hook, str_keys=True)
        except (msgspec.ValidationError, RecursionError):
            cleaned, mistakes = checked(data, entry.struct)
            if entry.kind == "Secret":
                mistakes = [_redacted(mistake) for mistake in mistakes]
            if any(m.severity is Severity.ERROR for m in mistakes):
                mistakes += _metadata_mistakes(data, entry.kind)
                return None, mistakes
            obj = msgspec.convert(cleaned, entry.struct, dec_hook=decode_hook, str_keys=True)
        if foreign_origin:
            mistakes.append(Mistake("origin", "UnknownField", 'there is no field "origin" here'))
        mistakes += check_metadata(obj.metadata, entry.kind)
        namespace = obj.metadata.namespace or self.namespace
        if not entry.namespaced:
            namespace = ""
        if namespace != obj.metadata.namespace:
            metadata = msgspec.structs.replace(obj.metadata, namespace=namespace)
            obj = msgspec.structs.replace(obj, metadata=metadata)
        if place.line is not None:
            obj = msgspec.structs.replace(obj, origin=place.origin)
        return obj, mistakes

    def _key(self, data: Mapping[str, Any]) -> ObjectKey | None:
        """Which object the user means, as far as can be seen."""
        metadata = data.get("metadata")
        metadata = metadata if isinstance(metadata, Mapping) else {}
        kind, name, namespace = data.get("kind"), metadata.get("name"), metadata.get("namespace")
        if not isinstance(kind, str) or not isinstance(name, str):
            return None
        entry = registry.BY_KIND.get(kind)
        namespace = namespace if namespace and isinstance(namespace, str) else self.namespace
        return key_of(kind, namespace, name, namespaced=entry is None or entry.namespaced)

    def _report(self, key: ObjectKey | None, mistakes: list[Mistake], place: _Place) -> None:
        for mistake in mistakes[:MAX_PROBLEMS]:
            self._add(_located(key, mistake, place))
        if len(mistakes) > MAX_PROBLEMS:
            message = f"and {len(mistakes) - MAX_PROBLEMS} more mistakes in this object"
            self._add(_located(key, Mistake("", "MoreProblems", message), place))

    def _add(self, problem: LocatedProblem) -> None:
        """Note a problem, unless there are too many in this input to be read by anybody."""
        self._count += 1
        if self._count <= MAX_FILE_PROBLEMS:
            self.problems.append(problem)
        elif self._count == MAX_FILE_PROBLEMS + 1:
            message = f"and more: only the first {MAX_FILE_PROBLEMS} problems are listed"
            self.problems.append(
                LocatedProblem(problem.file, None, None, "", "MoreProblems", message)
            )

    def _yaml_error(self, file: str, error: YamlError, key: ObjectKey | None) -> None:
        self._add(
            LocatedProblem(
                file,
                error.line,
                key,
                error.path,
                error.code,
                error.message,
                error.hint,
                column=error.column,
            )
        )

    def fail(
        self,
        file: str,
        line: int | None,
        path: str,
        code: str,
        message: str,
        hint: str = "",
        severity: Severity = Severity.ERROR,
    ) -> None:
        """Note a problem that belongs to no object."""
        self._add(LocatedProblem(file, line, None, path, code, message, hint, severity))


def _located(key: ObjectKey | None, mistake: Mistake, place: _Place) -> LocatedProblem:
    return LocatedProblem(
        place.file,
        place.line_of(mistake.field),
        key,
        mistake.field,
        mistake.code,
        mistake.message,
        mistake.hint,
        mistake.severity,
    )


def _redacted(mistake: Mistake) -> Mistake:
    """A mistake in a secret's value, without the value."""
    if mistake.code != "WrongType" or not mistake.field.startswith(("data.", "stringData.")):
        return mistake
    return Mistake(mistake.field, mistake.code, "the value must be text", "Put it in quotes")


def _text(content: str | bytes) -> str | None:
    """The text, or None when it is binary."""
    if isinstance(content, str):
        return None if "\0" in content else content.removeprefix("\ufeff")
    if b"\0" in content:
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _kind(data: Mapping[str, Any]) -> tuple[registry.Registered | None, list[Mistake]]:
    """Which kind a document is, or why not."""
    mistakes = list(_missing_header(data))
    if mistakes:
        return None, mistakes
    api_version, kind = data["apiVersion"], data["kind"]
    entry = registry.get_kind(api_version, kind)
    if entry is not None:
        return entry, []
    group = api_version.rpartition("/")[0]
    same = registry.BY_KIND.get(kind)
    if same is not None and same.group == group:
        known = ", ".join(f"{same.group}/{v}".removeprefix("/") for v in same.versions)
        message = f"{kind} has no version {short(api_version)}"
        return None, [Mistake("apiVersion", "UnknownVersion", message, f"Use one of {known}")]
    if (group, kind) in UNSUPPORTED or (same is None and kind in {k for _, k in UNSUPPORTED}):
        message = f"kind {kind} of {api_version} is not supported yet"
        return None, [Mistake("kind", "UnsupportedKind", message, "Leave it out")]
    if same is not None:
        message = f"{kind} is not a kind of {short(api_version)}"
        hint = f"Write apiVersion: {same.api_version}"
        return None, [Mistake("apiVersion", "UnknownVersion", message, hint)]
    known_kinds = tuple(registry.BY_KIND)
    hint = did_you_mean(kind, known_kinds, 0.75)
    if not hint:
        message = f"kind {short(kind)} of {short(api_version)} is not supported"
        hint = f"Supported kinds: {', '.join(known_kinds)}"
        return None, [Mistake("kind", "UnsupportedKind", message, hint)]
    return None, [Mistake("kind", "UnknownKind", f"there is no kind {short(kind)}", hint)]


def _missing_header(data: Mapping[str, Any]) -> Iterator[Mistake]:
    for key, example in (("apiVersion", "v1"), ("kind", "Service")):
        value = data.get(key)
        if value is None or value == "":
            message = f'the field "{key}" is required'
            close = did_you_mean(key, [k for k in data if k not in ("metadata", "spec")])
            hint = f"Write {key}: {example}, or what the object is"
            if close:
                wrong = close.removeprefix("Did you mean ").removesuffix("?")
                hint = f'Rename {wrong} to "{key}"' if wrong != f'"{key}"' else hint
            yield Mistake(key, "MissingField", message, hint)
        elif not isinstance(value, str):
            yield Mistake(key, "WrongType", f"expected text, got {described(value)}")


def _metadata_mistakes(data: Mapping[str, Any], kind: str) -> list[Mistake]:
    """Mistakes in the metadata of an object that has other errors too."""
    metadata = data.get("metadata")
    cleaned, mistakes = checked({} if metadata is None else metadata, Metadata)
    if any(m.severity is Severity.ERROR for m in mistakes):
        return []  # Already told.
    return list(check_metadata(msgspec.convert(cleaned, Metadata), kind))
