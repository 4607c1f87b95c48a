"""Plain data against a type: every mistake, not only the first.

``msgspec.convert`` is fast and stops at the first mistake. ``checked`` is the slow twin that
decode asks when the fast one refused: it walks data and type side by side, one mechanism for all
kinds, notes every mistake, and returns the data without what is merely unknown.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from argosy.api.durations import parse_duration
from argosy.api.located import child
from argosy.api.meta import Duration, KubernetesPart
from argosy.api.yaml_scalar import plain_scalar
from argosy.base.problems import Severity


@dataclass(frozen=True, slots=True)
class Mistake:
    """A problem that does not know its object yet."""

    field: str
    code: str
    message: str
    hint: str = ""
    severity: Severity = Severity.ERROR


def decode_hook(kind: type, value: object) -> object:
    """For msgspec: the types that it does not know. Raises ValueError."""
    if kind is not Duration or not isinstance(value, str):
        raise ValueError(f"expected a duration such as 10s, got {described(value)}")
    return parse_duration(value)


def did_you_mean(word: str, known: Sequence[str], cutoff: float = 0.6) -> str:
    """``Did you mean "x"?``, or nothing. Case and underscores do not count."""
    plain = {name.replace("_", "").lower(): name for name in reversed(known)}
    close = difflib.get_close_matches(
        word[:100].replace("_", "").replace("-", "").lower(), plain, n=1, cutoff=cutoff
    )
    return f'Did you mean "{plain[close[0]]}"?' if close else ""


def described(value: object) -> str:
    """``value`` in a person's words."""
    match value:
        case None:
            return "nothing (null)"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {str(value)[:40]}"
        case str():
            return f"the text {short(value)}"
        case bytes():
            return "binary data"
        case Mapping():
            return "a mapping" if value else "an empty mapping"
        case _:
            return "a list" if value else "an empty list"


def short(text: str) -> str:
    return f'"{text if len(text) <= 60 else text[:57] + "..."}"'


def checked(
    data: object, struct: type[msgspec.Struct], path: str = ""
) -> tuple[Any, list[Mistake]]:
    """The data as ``msgspec.convert`` will take it if there are no errors, and all mistakes.

    ``path`` is where the data stands; unknown fields at the very top are errors for every kind.
    """
    mistakes: list[Mistake] = []
    return _Walk(mistakes).value(data, _info(struct), path), mistakes


@cache
def _info(struct: type[msgspec.Struct]) -> inspect.Type:
    return inspect.type_info(struct)


_MAX_HINTS = 200
"""Looking for similar words is slow; nobody reads more hints than these."""

_UNUSABLE: Any = object()
"""Stands for data with an error in it; it is reported, and never converted."""


@dataclass(frozen=True, slots=True)
class _Walk:
    mistakes: list[Mistake]

    def value(self, data: Any, info: inspect.Type, path: str) -> Any:
        match info:
            case inspect.StructType():
                return self._struct(data, info, path)
            case inspect.VarTupleType():
                return self._list(data, info, path)
            case inspect.DictType():
                return self._mapping(data, info, path)
            case inspect.UnionType():
                return self._union(data, info, path)
            case inspect.LiteralType():
                return self._choice(data, info, path)
            case inspect.CustomType() if isinstance(data, str):
                return self._duration(data, path)
            case inspect.AnyType():
                return data
        return self._scalar(data, info, path)

    def _struct(self, data: Any, info: inspect.StructType, path: str) -> Any:
        if isinstance(data, info.cls):
            return data
        if not isinstance(data, Mapping):
            return self._wrong(data, info, path)
        fields = {field.encode_name: field for field in info.fields if field.name != "origin"}
        result = {}
        for key, item in data.items():
            field = fields.get(key)
            if field is None:
                self._unknown(key, tuple(fields), info.cls, path)
            elif item is not None:
                result[key] = self.value(item, field.type, child(path, key))
        for key, field in fields.items():
            if field.required and key not in result:
                where = child(path, key)
                self._note(where, "MissingField", f'the field "{key}" is required')
        return result

    def _unknown(self, key: str, known: Sequence[str], struct: type, path: str) -> None:
        tolerated = path and issubclass(struct, KubernetesPart)
        hint = did_you_mean(key, known) if len(self.mistakes) < _MAX_HINTS else ""
        if not hint and not tolerated:
            hint = f"Known fields: {', '.join(sorted(known))}" if len(known) <= 20 else ""
        message = f"there is no field {short(key)} here"
        if tolerated:
            message = f"the field {short(key)} is not known here and has no effect"
        severity = Severity.WARNING if tolerated else Severity.ERROR
        self._note(child(path, key), "UnknownField", message, hint, severity)

    def _list(self, data: Any, info: inspect.VarTupleType, path: str) -> Any:
        if not isinstance(data, (list, tuple)):
            return self._wrong(data, info, path)
        return [self.value(item, info.item_type, f"{path}[{i}]") for i, item in enumerate(data)]

    def _mapping(self, data: Any, info: inspect.DictType, path: str) -> Any:
        if not isinstance(data, Mapping):
            return self._wrong(data, info, path)
        result = {}
        for key, item in data.items():
            where = child(path, str(key))
            if isinstance(info.key_type, inspect.IntType) and not _is_number(key, info.key_type):
                self._note(where, "WrongType", f"{short(str(key))} is not a port number")
            elif item is None:
                result[key] = "" if isinstance(info.value_type, inspect.StrType) else {}
            else:
                result[key] = self.value(item, info.value_type, where)
        return result

    def _union(self, data: Any, info: inspect.UnionType, path: str) -> Any:
        options = [option for option in info.types if not isinstance(option, inspect.NoneType)]
        if data is None and len(options) < len(info.types):
            return None
        if len(options) == 1:
            return self.value(data, options[0], path)
        for option in options:
            attempt = _Walk([])
            result = attempt.value(data, option, path)
            if not attempt.mistakes:
                return result
        return self._wrong(data, info, path)

    def _choice(self, data: Any, info: inspect.LiteralType, path: str) -> Any:
        if data in info.values:
            return data
        known = [str(value) for value in info.values]
        hint = _meant(data, known) or did_you_mean(str(data), known)
        hint = hint or f"Use one of {', '.join(known)}"
        return self._note(path, "InvalidValue", f"{described(data)} is not a value of it", hint)

    def _duration(self, data: str, path: str) -> Any:
        try:
            parse_duration(data)
        except ValueError as error:
            hint = "Write a duration such as 10s, 500ms or 1h30m"
            return self._note(path, "InvalidDuration", str(error), hint)
        return data

    def _scalar(self, data: Any, info: inspect.Type, path: str) -> Any:
        match info:
            case inspect.IntType():
                fits = type(data) is int or (type(data) is float and data.is_integer())
                if fits and not _in_range(int(data), info):
                    bounds = f"{info.ge} to {info.le}" if info.le is not None else f"{info.ge} up"
                    message = f"{described(data)} is out of range: {bounds}"
                    return self._note(path, "OutOfRange", message)
                data = int(data) if fits else data
            case inspect.FloatType():
                fits = type(data) in (int, float)
            case inspect.StrType():
                fits = type(data) is str
            case inspect.BoolType():
                fits = type(data) is bool
            case inspect.BytesType():
                return self._base64(data, path)
            case _:
                fits = False
        return data if fits else self._wrong(data, info, path)

    def _base64(self, data: Any, path: str) -> Any:
        try:
            msgspec.convert(data, bytes)
        except msgspec.ValidationError:
            hint = "Encode it with base64, or use stringData in a Secret"
            message = "the value is not base64"  # The value may be a secret: it is not shown.
            return self._note(path, "InvalidBase64", message, hint)
        return data

    def _wrong(self, data: Any, info: inspect.Type, path: str) -> Any:
        hint = ""
        wants = _wanted(info)
        if isinstance(info, inspect.StrType) and isinstance(data, (bool, int, float)):
            shown = str(data).lower() if isinstance(data, bool) else str(data)[:40]
            hint = f'Put it in quotes: "{shown}"'
        elif isinstance(info, (inspect.IntType, inspect.FloatType, inspect.BoolType)):
            hint = "Write it without quotes" if isinstance(data, str) and _unquoted(data) else ""
        elif isinstance(info, inspect.CustomType) and type(data) in (int, float):
            hint = f"Write a unit, such as {data}s"
        elif isinstance(info, inspect.VarTupleType):
            hint = 'Begin each item with "- "'
        elif isinstance(info, inspect.StructType) and isinstance(data, (list, tuple)):
            hint = 'Remove the "- "'
        return self._note(path, "WrongType", f"expected {wants}, got {described(data)}", hint)

    def _note(
        self,
        path: str,
        code: str,
        message: str,
        hint: str = "",
        severity: Severity = Severity.ERROR,
    ) -> Any:
        self.mistakes.append(Mistake(path, code, message, hint, severity))
        return _UNUSABLE


def _wanted(info: inspect.Type) -> str:
    match info:
        case inspect.StructType() | inspect.DictType():
            return "a mapping"
        case inspect.VarTupleType():
            return "a list"
        case inspect.IntType():
            return "a whole number"
        case inspect.FloatType():
            return "a number"
        case inspect.BoolType():
            return "true or false"
        case inspect.StrType():
            return "text"
        case inspect.CustomType():
            return "a duration such as 10s"
        case inspect.UnionType():
            options = (t for t in info.types if not isinstance(t, inspect.NoneType))
            return " or ".join(_wanted(option) for option in options)
        case _:
            return "another type"


def _meant(data: Any, known: Sequence[str]) -> str:
    """Of a word that YAML takes for a boolean: how to write it."""
    if not isinstance(data, bool):
        return ""
    words = [word for word in known if word and plain_scalar(word) is data]
    return (
        f'YAML reads a bare {words[0]} as {str(data).lower()}: write "{words[0]}"' if words else ""
    )


def _in_range(number: int, info: inspect.IntType) -> bool:
    low = info.ge if info.ge is not None else -(2**63)
    high = info.le if info.le is not None else 2**64 - 1
    return low <= number <= high


def _is_number(key: object, info: inspect.IntType) -> bool:
    text = str(key)
    return text.isascii() and text.isdigit() and len(text) < 20 and _in_range(int(text), info)


def _unquoted(text: str) -> bool:
    return text in ("true", "false") or text.lstrip("+-").replace(".", "", 1).isdigit()
