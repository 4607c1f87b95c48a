"""Which field of Istio's API does what, told by the tests: golden cases and live ones."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec.inspect as inspecting
import yaml

from argosy.api import meshconfig, registry

TESTS = Path(__file__).resolve().parents[1]
GOLDEN = TESTS / "golden"
GROUPS = (
    registry.NETWORKING,
    registry.SECURITY,
    registry.TELEMETRY,
    "networking.k8s.io",
    registry.ARGOSY,
)
MESH_CONFIG = "MeshConfig"
_KINDS = {"ConfigMap": MESH_CONFIG}

UNSEEN: Mapping[str, str] = {
    "Gateway.servers[].name": "a label for people; changes nothing in Envoy",
    "Gateway.servers[].port.name": "a label for people; two servers must not have the same",
    "IngressClass.parameters": "for a controller that has settings of its own; Istio's has none",
    "ProxyConfig.image.imageType": "chooses a container image; the proxy here is a program",
    "MeshConfig.serviceSettings[].settings.clusterLocal": "all are in the one cluster there is",
    "MeshConfig.serviceSettings[].hosts[]": "all are in the one cluster there is",
    "MeshConfig.meshMTLS.ecdhCurves[]": "not heeded, as in Istio, and reported so",
}
"""Fields that by their nature change nothing a request experiences, and why: path as in the page."""

_UNSUPPORTED = re.compile(r"\b(?:Field)?NotSupported: (\w+) \S+ (?:spec|data\.mesh)\.([^\s:]+)")
_UNSUPPORTED_LAST = re.compile(r"(\w+) \S+ spec\.([^\s:]+): (?:Field)?NotSupported\b")
_WITHOUT_EFFECT = re.compile(
    r"\b(NoEffect|NotAllowed): (\w+) \S+ spec\.([^\s:]+): (\w+) (?:has no effect|is not supported)\b"
)
_INDEX = re.compile(r"\[[^\]]*\]")


Place = tuple[type, str]
"""A field of a struct: the class, and the field's name as it is written."""


@dataclass(frozen=True, slots=True)
class Field:
    """``path`` is as in ``http[].route[].weight``: of several places, the first in the API."""

    kind: str
    path: str
    place: Place


@dataclass(frozen=True, slots=True)
class Row:
    field: Field
    status: str
    golden: tuple[str, ...]
    live: tuple[str, ...]
    unseen: str = ""
    """Why there can be no live test."""


@cache
def roots() -> Mapping[str, inspecting.StructType]:
    """The type of each kind's spec."""
    found: dict[str, inspecting.StructType] = {}
    for entry in registry.KINDS:
        if entry.group in GROUPS:
            whole = _struct(inspecting.type_info(entry.struct))
            spec = next((f.type for f in whole.fields if f.name == "spec"), None) if whole else None
            struct = _struct(spec) if spec else None
            assert struct is not None, entry.kind
            found[entry.kind] = struct
    mesh = _struct(inspecting.type_info(meshconfig.MeshConfig))
    assert mesh is not None
    found[MESH_CONFIG] = mesh
    return found


@cache
def fields() -> tuple[Field, ...]:
    """Every field; a struct that stands in several places is entered at the first."""
    seen: set[type] = set()
    return tuple(field for kind, root in roots().items() for field in _fields(kind, root, "", seen))


def _fields(
    kind: str, struct: inspecting.StructType, path: str, seen: set[type]
) -> Iterator[Field]:
    seen.add(struct.cls)
    for part in struct.fields:
        inner = _struct(part.type)
        here = f"{path}{part.encode_name}{_brackets(part.type)}"
        if inner is None or inner.cls in seen:
            yield Field(kind, here, (struct.cls, part.encode_name))
        else:
            yield from _fields(kind, inner, f"{here}.", seen)


def written(struct: inspecting.StructType, data: Any) -> Iterator[Place]:
    """The fields that a document writes, all the way down."""
    if isinstance(data, Mapping):
        for part in struct.fields:
            if part.encode_name in data:
                yield struct.cls, part.encode_name
                inner = _struct(part.type)
                if inner is not None:
                    for item in _items(part.type, data[part.encode_name]):
                        yield from written(inner, item)


def place(kind: str, path: str) -> Place | None:
    """The field that a path names, wherever it stands."""
    struct: inspecting.StructType | None = roots()[kind]
    found = None
    for name in path.replace("[]", "").split("."):
        part = next((p for p in struct.fields if p.encode_name == name), None) if struct else None
        if struct is None or part is None:
            return None
        found = (struct.cls, name)
        struct = _struct(part.type)
    return found


def _required(kind: inspecting.Type) -> inspecting.Type:
    if isinstance(kind, inspecting.UnionType):
        some = [t for t in kind.types if not isinstance(t, inspecting.NoneType)]
        return some[0] if len(some) == 1 else kind
    return kind


def _item(kind: inspecting.Type) -> inspecting.Type | None:
    """The type within a list or map."""
    match _required(kind):
        case inspecting.VarTupleType(item_type=item) | inspecting.ListType(item_type=item):
            return item
        case inspecting.DictType(value_type=item):
            return item
    return None


def _struct(kind: inspecting.Type) -> inspecting.StructType | None:
    """The struct that a field holds, itself or in a list or map."""
    found = _required(kind)
    while (item := _item(found)) is not None:
        found = _required(item)
    return found if isinstance(found, inspecting.StructType) else None


def _brackets(kind: inspecting.Type) -> str:
    item = _item(kind)
    return "" if item is None else "[]" + _brackets(item)


def _items(kind: inspecting.Type, data: Any) -> list[Any]:
    item = _item(kind)
    if item is None or data is None:
        return [data]
    inside = data.values() if isinstance(data, Mapping) else data
    return [one for part in inside for one in _items(item, part)]


@cache
def golden_cases() -> Mapping[tuple[str, Place], tuple[str, ...]]:
    """The golden cases that write a field, by kind."""
    found: dict[tuple[str, Place], set[str]] = defaultdict(set)
    for file in sorted(GOLDEN.glob("*/*.yaml")):
        if len(file.suffixes) > 1:
            continue
        _, _, rest = file.read_text().partition("\n---\n")
        for kind, spec in _specs(yaml.safe_load_all(rest)):
            for one in written(roots()[kind], spec):
                found[kind, one].add(f"{file.parent.name}/{file.stem}")
    return {key: tuple(sorted(names)) for key, names in found.items()}


def _specs(documents: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    for document in documents:
        match document:
            case {"kind": "ConfigMap", "data": {"mesh": str(text)}}:
                yield MESH_CONFIG, yaml.safe_load(text) or {}
            case {"kind": str(kind), "spec": spec} if kind in roots():
                yield kind, spec


@cache
def unsupported() -> frozenset[tuple[str, str]]:
    """What golden outputs report as not supported, by kind and path."""
    found = set()
    for file in GOLDEN.glob("*/*.*.yaml"):
        text = " ".join(file.read_text().split())
        for pattern in (_UNSUPPORTED, _UNSUPPORTED_LAST):
            for kind, path in pattern.findall(text):
                found.add((_KINDS.get(kind, kind), _INDEX.sub("[]", path)))
    return frozenset(found)


@cache
def without_effect() -> Mapping[tuple[str, str], str]:
    """Fields of which golden outputs say that they do nothing, anywhere: why the row is no "yes"."""
    found = {}
    for file in GOLDEN.glob("*/*.*.yaml"):
        text = " ".join(file.read_text().split())
        for code, kind, path, name in _WITHOUT_EFFECT.findall(text):
            if path.rpartition(".")[2] == name:
                status = "refused" if code == "NotAllowed" else "no effect"
                found[kind, _INDEX.sub("[]", path)] = status
    return found


@cache
def live_tests() -> Mapping[tuple[str, str], tuple[str, ...]]:
    """The tests that say with ``covers`` that they show a field, by kind and path."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for file in sorted(TESTS.glob("*/**/test_*.py")):
        module = ast.parse(file.read_text())
        constants = _constants(module)
        for function in ast.walk(module):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for name in _covered(function, constants):
                    kind, _, path = name.partition(".")
                    found[kind, path].add(f"{file.stem}::{function.name}")
    return {key: tuple(sorted(names)) for key, names in found.items()}


def _constants(module: ast.Module) -> dict[str, str]:
    """The module's strings, of which names of fields may be made."""
    return {
        target.id: statement.value.value
        for statement in module.body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }


def _covered(
    function: ast.FunctionDef | ast.AsyncFunctionDef, constants: dict[str, str]
) -> Iterator[str]:
    for decorator in function.decorator_list:
        match decorator:
            case ast.Call(func=ast.Attribute(attr="covers"), args=arguments):
                for argument in arguments:
                    yield eval(compile(ast.Expression(argument), "<covers>", "eval"), constants)


@cache
def rows() -> tuple[Row, ...]:
    """Every field there is, by kind, in the order of the API."""
    return tuple(
        Row(
            field,
            status=_status(field),
            golden=golden_cases().get((field.kind, field.place), ()),
            live=tuple(
                sorted(
                    {
                        t
                        for of, tests in live_tests().items()
                        if is_within(field, *of)
                        for t in tests
                    }
                )
            ),
            unseen=UNSEEN.get(f"{field.kind}.{field.path}", ""),
        )
        for field in fields()
    )


def _status(field: Field) -> str:
    if any(is_within(field, *of) for of in unsupported()):
        return "not supported"
    found = (s for (kind, path), s in without_effect().items() if is_within(field, kind, path))
    return next(found, "yes")


def is_within(field: Field, kind: str, path: str) -> bool:
    """Whether a path names the field, something that holds it, or another place of it.

    Or something in it: a row holds others where a part stands that is listed at another place.
    """
    if field.kind != kind:
        return False
    bare, of = field.path.replace("[]", ""), path.replace("[]", "")
    return (
        bare == of
        or bare.startswith(f"{of}.")
        or of.startswith(f"{bare}.")
        or field.place == place(kind, path)
    )


def page() -> str:
    """The page of the documentation."""
    lines = [
        "# Every field and its tests",
        "",
        "Made from the tests (`pytest tests/docs --regold`). *Golden* is a case under `tests/golden`",
        "whose Envoy configuration was read and agreed on, and which Envoy takes; *live* is a test in",
        "which real requests through real Envoys show what the field does; in italics stands why a",
        "field cannot have one. What is not supported, or has no effect in Istio either, is reported as",
        "a problem of the object that has it, which is not in force where it says *refused*. A part of",
        "the API that stands in several places, such as a traffic policy, is listed at the first of them.",
    ]
    kind = ""
    for row in rows():
        if row.field.kind != kind:
            kind = row.field.kind
            lines += [
                "",
                f"## {kind}",
                "",
                "| field | status | golden | live |",
                "|---|---|---|---|",
            ]
        live = f"*{row.unseen}*" if row.unseen else _few(row.live)
        lines.append(f"| `{row.field.path}` | {row.status} | {_few(row.golden)} | {live} |")
    return "\n".join(lines) + "\n"


def _few(names: tuple[str, ...]) -> str:
    """Two names, and how many more there are."""
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return ", ".join(f"`{name}`" for name in names[:2]) + more
