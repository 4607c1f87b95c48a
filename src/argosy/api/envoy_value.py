"""Envoy configuration written as plain data: into its protobuf message, with every mistake.

``google.protobuf.json_format`` stops at the first mistake and does not say where it is. The walk
here follows data and descriptor side by side and notes all of them with their paths; what it lets
pass, ``json_format`` parses. The rules are those of the JSON mapping:
https://protobuf.dev/programming-guides/json/
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from argosy.api.located import child
from argosy.api.typed import Mistake, described, did_you_mean, short
from argosy.base.envoy_rules import WRAPPERS
from argosy.base.envoy_types import (
    ISTIO_TYPES,
    ISTIO_WASM,
    TYPED_STRUCTS,
    envoy_has,
    get_descriptor,
    known_extensions,
    new_message,
    type_name,
)
from argosy.base.problems import Severity

MESSAGES: Mapping[str, str] = {
    "LISTENER": "envoy.config.listener.v3.Listener",
    "LISTENER_FILTER": "envoy.config.listener.v3.ListenerFilter",
    "FILTER_CHAIN": "envoy.config.listener.v3.FilterChain",
    "NETWORK_FILTER": "envoy.config.listener.v3.Filter",
    "HTTP_FILTER": "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
    "ROUTE_CONFIGURATION": "envoy.config.route.v3.RouteConfiguration",
    "VIRTUAL_HOST": "envoy.config.route.v3.VirtualHost",
    "HTTP_ROUTE": "envoy.config.route.v3.Route",
    "CLUSTER": "envoy.config.cluster.v3.Cluster",
    "EXTENSION_CONFIG": "envoy.config.core.v3.TypedExtensionConfig",
    "BOOTSTRAP": "envoy.config.bootstrap.v3.Bootstrap",
}
"""The type of ``patch.value`` by ``applyTo``."""

ISTIO_ONLY = "IstioOnlyFilter"

_ANY = "google.protobuf.Any"
_FREE_FORM = frozenset(f"google.protobuf.{name}" for name in ("Struct", "Value", "ListValue"))
_TEXTS = {
    "google.protobuf.Duration": (re.compile(r"-?\d{1,12}(\.\d{1,9})?s\Z"), "a duration", "10s"),
    "google.protobuf.Timestamp": (
        re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)\Z"),
        "a time",
        "2026-01-01T00:00:00Z",
    ),
    "google.protobuf.FieldMask": (re.compile(r"[\w.,]*\Z"), "a field mask", "a,b.c"),
}
_WELL_KNOWN = _FREE_FORM | _TEXTS.keys() | WRAPPERS
_BITS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\Z", re.ASCII)
_FLOATS = ("NaN", "Infinity", "-Infinity")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]*={0,2}\Z", re.ASCII)

_UNUSED: Any = object()
"""Stands for data with an error in it."""


@dataclass(frozen=True, slots=True)
class EnvoyValue:
    """``message`` is None when there are errors, or when Envoy cannot have it at all."""

    message: Message | None
    mistakes: tuple[Mistake, ...] = ()


def envoy_value(apply_to: str, value: object, path: str, *, merged: bool = False) -> EnvoyValue:
    """The value of a patch. ``path`` is where it stands; ``merged``: it is laid over what is there."""
    descriptor = get_descriptor(MESSAGES[apply_to])
    assert descriptor is not None, f"the protobuf types of Envoy lack {MESSAGES[apply_to]}"
    walk = _Walk(merged)
    plain = walk.message(value, descriptor, path)
    mistakes = walk.mistakes
    unusable = any(m.severity is Severity.ERROR or m.code == ISTIO_ONLY for m in mistakes)
    if unusable:
        return EnvoyValue(None, tuple(mistakes))
    message = new_message(descriptor)
    try:
        json_format.ParseDict(plain, message)
    except (json_format.ParseError, TypeError, ValueError, RecursionError) as error:
        mistakes.append(Mistake(path, "InvalidValue", f"this is not Envoy's: {error}"))
        return EnvoyValue(None, tuple(mistakes))
    return EnvoyValue(message, tuple(mistakes))


@dataclass(slots=True)
class _Walk:
    merged: bool
    mistakes: list[Mistake] = field(default_factory=list)

    def message(self, data: Any, descriptor: Descriptor, path: str) -> Any:
        name = descriptor.full_name
        if name == _ANY:
            return self._any(data, path)
        if name in _FREE_FORM:
            return self._free_form(data, name, path)
        if name in _TEXTS:
            return self._text(data, name, path)
        if name in WRAPPERS:
            return self._scalar(data, descriptor.fields_by_name["value"], path)
        if not isinstance(data, Mapping):
            return self._wrong("a mapping", data, path)
        return self._fields(data, descriptor, path)

    def _fields(self, data: Mapping[str, Any], descriptor: Descriptor, path: str) -> Any:
        result: dict[str, Any] = {}
        chosen: dict[str, str] = {}
        for key, item in data.items():
            where = child(path, str(key))
            found = descriptor.fields_by_name.get(key) or descriptor.fields_by_camelcase_name.get(
                key
            )
            if found is None:
                self._unknown(str(key), descriptor, where)
                continue
            if found.name in result:
                self._note(where, "DuplicateKey", f"{found.name} is written twice, as {key} too")
                continue
            if item is None:
                continue
            one_of = found.containing_oneof
            if one_of is not None:
                other = chosen.setdefault(one_of.name, key)
                if other != key:
                    message = f"{key} and {other} exclude each other"
                    self._note(where, "ConflictingFields", message, "Keep one of them")
            result[found.name] = self._field(item, found, where)
            self._defaulted(item, found, where)
        return result

    def _field(self, data: Any, of: FieldDescriptor, path: str) -> Any:
        kind = of.message_type
        if kind is not None and kind.GetOptions().map_entry:
            return self._map(data, kind, path)
        if of.is_repeated:
            if not isinstance(data, (list, tuple)):
                return self._wrong("a list", data, path, 'Begin each item with "- "')
            inner = _Walk(False, self.mistakes)
            return [inner._single(item, of, f"{path}[{i}]") for i, item in enumerate(data)]
        return self._single(data, of, path)

    def _single(self, data: Any, of: FieldDescriptor, path: str) -> Any:
        if of.message_type is not None:
            return self.message(data, of.message_type, path)
        return self._scalar(data, of, path)

    def _map(self, data: Any, entry: Descriptor, path: str) -> Any:
        if not isinstance(data, Mapping):
            return self._wrong("a mapping", data, path)
        value = entry.fields_by_name["value"]
        keyed = entry.fields_by_name["key"]
        result = {}
        for key, item in data.items():
            where = child(path, str(key))
            if keyed.cpp_type != FieldDescriptor.CPPTYPE_STRING:
                self._scalar(key, keyed, where)
            result[str(key)] = _Walk(False, self.mistakes)._single(item, value, where)
        return result

    # Types by URL.

    def _any(self, data: Any, path: str) -> Any:
        if not isinstance(data, Mapping):
            return self._wrong('a mapping with "@type"', data, path)
        url = data.get("@type")
        where = child(path, "@type")
        if not isinstance(url, str) or not url:
            hint = 'Write "@type": type.googleapis.com/envoy....'
            return self._note(
                where, "MissingTypeUrl", "the type of the configuration is missing", hint
            )
        rest = {key: item for key, item in data.items() if key != "@type"}
        name = type_name(url)
        if name in TYPED_STRUCTS and get_descriptor(name) is not None:
            return self._typed_struct(url, rest, path)
        descriptor = self._known_type(url, where)
        if descriptor is None:
            return _UNUSED
        if descriptor.full_name in _WELL_KNOWN or descriptor.full_name == _ANY:
            value = self.message(rest.get("value"), descriptor, child(path, "value"))
            return {"@type": url, "value": value}
        if self._is_istio_wasm(name, rest, path):
            return _UNUSED
        fields = self._fields(rest, descriptor, path)
        return {"@type": f"type.googleapis.com/{name}", **fields}

    def _typed_struct(self, url: str, data: Mapping[str, Any], path: str) -> Any:
        """Becomes the message that it stands for, unless that has fields that we do not know."""
        inner_path = child(path, "type_url" if "type_url" in data else "typeUrl")
        inner = data.get("type_url") or data.get("typeUrl")
        value = data.get("value") or {}
        for key in data.keys() - {"type_url", "typeUrl", "value"}:
            self._note(
                child(path, str(key)), "UnknownField", f"TypedStruct has no field {short(str(key))}"
            )
        if not isinstance(inner, str) or not inner:
            return self._note(
                inner_path, "MissingTypeUrl", "the type of the configuration is missing"
            )
        descriptor = self._known_type(inner, inner_path)
        if descriptor is None:
            return _UNUSED
        where = child(path, "value")
        if not isinstance(value, Mapping):
            return self._wrong("a mapping", value, where)
        name = type_name(inner)
        if self._is_istio_wasm(name, value, where):
            return _UNUSED
        attempt = _Walk(self.merged)
        plain = attempt._fields(value, descriptor, where)
        unknown = [m for m in attempt.mistakes if m.code == "UnknownField"]
        if unknown and not self.merged:  # Envoy may know them; it is given what was written.
            for mistake in unknown:
                message = f"{mistake.message}; Envoy may refuse it"
                self._note(mistake.field, "UnknownField", message, mistake.hint, Severity.WARNING)
            self.mistakes += [m for m in attempt.mistakes if m.code != "UnknownField"]
            return {"@type": url, "type_url": inner, "value": value}
        self.mistakes += attempt.mistakes
        return {"@type": f"type.googleapis.com/{name}", **plain}

    def _known_type(self, url: str, path: str) -> Descriptor | None:
        name = type_name(url)
        if name in ISTIO_TYPES:
            self._istio_only(short(name), ISTIO_TYPES[name], path)
            return None
        descriptor = get_descriptor(name)
        if descriptor is not None and envoy_has(name):
            return descriptor
        hint = did_you_mean(name, known_extensions(), 0.8)
        if ".v2." in name or name.startswith("envoy.config.filter."):
            hint = hint or "Envoy's v2 API is gone: use the v3 type"
        why = "there is no such type" if descriptor is None else "this build of Envoy lacks it"
        self._note(path, "UnknownType", f"Envoy cannot use {short(url)}: {why}", hint)
        return None

    def _is_istio_wasm(self, name: str, data: Mapping[str, Any], path: str) -> bool:
        """Code that Istio compiled into its Envoy, started as if it were WebAssembly."""
        if not name.startswith("envoy.extensions.") or ".wasm." not in name:
            return False
        config = data.get("config")
        vm = (
            config.get("vm_config", config.get("vmConfig")) if isinstance(config, Mapping) else None
        )
        code = vm.get("code") if isinstance(vm, Mapping) else None
        local = code.get("local") if isinstance(code, Mapping) else None
        inline = (
            local.get("inline_string", local.get("inlineString"))
            if isinstance(local, Mapping)
            else None
        )
        if inline not in ISTIO_WASM:
            return False
        what = "metadata" if "metadata" in inline else "metrics"
        self._istio_only(short(inline), what, path)
        return True

    def _istio_only(self, what: str, topic: str, path: str) -> None:
        hints = {
            "metrics": "Leave it out: metrics are made by the mesh itself",
            "metadata": "Leave it out: what peers tell each other is done by the mesh itself",
            "alpn": "Leave it out: the mesh chooses the protocol of connections itself",
            "authn": "Use PeerAuthentication and RequestAuthentication",
        }
        message = f"{what} is only in Istio's own build of Envoy: this patch is not applied"
        self._note(path, ISTIO_ONLY, message, hints[topic], Severity.WARNING)

    # Scalars.

    def _scalar(self, data: Any, of: FieldDescriptor, path: str) -> Any:
        match of.cpp_type:
            case FieldDescriptor.CPPTYPE_STRING if of.type == FieldDescriptor.TYPE_BYTES:
                if not isinstance(data, str) or not _BASE64.match(data):
                    return self._wrong("bytes in base64", data, path)
            case FieldDescriptor.CPPTYPE_STRING:
                if not isinstance(data, str):
                    shown = str(data).lower() if isinstance(data, bool) else str(data)[:40]
                    plain = isinstance(data, (bool, int, float))
                    return self._wrong(
                        "text", data, path, f'Put it in quotes: "{shown}"' if plain else ""
                    )
            case FieldDescriptor.CPPTYPE_BOOL:
                if not isinstance(data, bool):
                    quoted = data in ("true", "false")
                    return self._wrong(
                        "true or false", data, path, "Write it without quotes" if quoted else ""
                    )
            case FieldDescriptor.CPPTYPE_ENUM:
                return self._enum(data, of.enum_type, path)
            case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
                return self._float(data, path)
            case _:
                return self._integer(data, of.cpp_type, path)
        return data

    def _enum(self, data: Any, of: EnumDescriptor | None, path: str) -> Any:
        assert of is not None, "a field of an enumeration has one"
        known = tuple(of.values_by_name)
        if isinstance(data, str) and data in of.values_by_name:
            return data
        if type(data) is int and data in of.values_by_number:
            return data
        hint = did_you_mean(str(data), known) or f"Use one of {', '.join(known[:20])}"
        return self._note(path, "InvalidValue", f"{described(data)} is not a value of it", hint)

    def _float(self, data: Any, path: str) -> Any:
        text = isinstance(data, str) and (_NUMBER.match(data) or data in _FLOATS)
        if text or (isinstance(data, (int, float)) and not isinstance(data, bool)):
            return data
        return self._wrong("a number", data, path)

    def _integer(self, data: Any, cpp_type: int, path: str) -> Any:
        number = data
        if isinstance(data, str) and _NUMBER.match(data) and len(data) < 40:
            number = float(data) if set(data) & set(".eE") else int(data)
        if isinstance(number, float) and number.is_integer():
            number = int(number)
        if type(number) is not int:
            return self._wrong("a whole number", data, path)
        low, high = _BITS[cpp_type]
        if not low <= number <= high:
            return self._note(path, "OutOfRange", f"{number} is out of range: {low} to {high}")
        return number

    def _text(self, data: Any, name: str, path: str) -> Any:
        pattern, what, example = _TEXTS[name]
        if isinstance(data, str) and pattern.match(data):
            return data
        unit = type(data) in (int, float) and name.endswith("Duration")
        hint = f"Write {data}s" if unit else f"Write it as {example}"
        return self._wrong(what, data, path, hint)

    def _free_form(self, data: Any, name: str, path: str) -> Any:
        if name.endswith("Struct") and not isinstance(data, Mapping):
            return self._wrong("a mapping", data, path)
        if name.endswith("ListValue") and not isinstance(data, (list, tuple)):
            return self._wrong("a list", data, path)
        return data

    # What is noted.

    def _defaulted(self, data: Any, of: FieldDescriptor, path: str) -> None:
        """Protobuf cannot tell a plain field that has its default from one that is not set."""
        if not self.merged or of.is_repeated or of.has_presence or of.message_type is not None:
            return
        first = of.enum_type.values[0] if of.enum_type is not None else None
        zero = data in (first.name, first.number) if first is not None else data in ("", 0)
        if zero:
            message = "a field's default changes nothing when it is merged, as in Istio"
            hint = "Use operation REPLACE with the whole configuration"
            self._note(path, "DefaultNotMerged", message, hint, Severity.WARNING)

    def _unknown(self, key: str, descriptor: Descriptor, path: str) -> None:
        known = tuple(descriptor.fields_by_name)
        hint = did_you_mean(key, known)
        if not hint and len(known) <= 20:
            hint = f"Known fields: {', '.join(sorted(known))}"
        if key == "@type":
            hint = "This is not a place for any type: remove it"
        message = f"Envoy's {descriptor.name} has no field {short(key)}"
        self._note(path, "UnknownField", message, hint)

    def _wrong(self, wanted: str, data: Any, path: str, hint: str = "") -> Any:
        return self._note(path, "WrongType", f"expected {wanted}, got {described(data)}", hint)

    def _note(
        self,
        path: str,
        code: str,
        message: str,
        hint: str = "",
        severity: Severity = Severity.ERROR,
    ) -> Any:
        self.mistakes.append(Mistake(path, code, message, hint, severity))
        return _UNUSED
