"""The rules that Envoy's protobuf messages carry, as Envoy itself checks them on arrival.

Fields of Envoy's API have options of ``protoc-gen-validate``
(https://github.com/bufbuild/protoc-gen-validate); a message that breaks one is refused.
"""

import ipaddress
from collections.abc import Iterator
from functools import cache
from typing import Any

import re2
from google.protobuf import any_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from validate import validate_pb2

from argosy.base.envoy_types import get_descriptor, new_message, type_name

_HEADER_NAME = re2.compile(r"^:?[0-9a-zA-Z!#$%&'*+\-.^_|~`]+$")
_HEADER_VALUE = re2.compile("^[^\x00-\x08\x0a-\x1f\x7f]*$")
_NOT_STRICT = re2.compile("^[^\x00\x0a\x0d]*$")
_DROPPED = frozenset({"envoy.extensions.access_loggers.stats.v3.Config.stat_prefix"})
"""Fields whose rules our messages still have, and Envoy no more."""

WRAPPERS = frozenset(
    f"google.protobuf.{name}Value"
    for name in ("Bool", "Bytes", "Double", "Float", "Int32", "Int64", "String", "UInt32", "UInt64")
)
"""Plain values that can be told from values that are not set."""


def unpacked(value: any_pb2.Any) -> Message | None:
    """The message inside; None for a type that is not known, or bytes that are not of it."""
    descriptor = get_descriptor(type_name(value.type_url))
    if descriptor is None:
        return None
    message = new_message(descriptor)
    try:
        message.ParseFromString(value.value)
    except DecodeError:
        return None
    return message


def violations(message: Message, path: str = "") -> Iterator[tuple[str, str]]:
    """What Envoy would refuse: the path inside the message, and why. Looks into any type."""
    if isinstance(message, any_pb2.Any):
        inner = unpacked(message)
        if inner is not None:
            yield from violations(inner, path)
        return
    descriptor = message.DESCRIPTOR
    for field, rules in _ruled(descriptor):
        where = f"{path}.{field.name}" if path else field.name
        yield from _field(message, field, rules, where)
    for name in _required_choices(descriptor):
        if message.WhichOneof(name) is None:
            yield (f"{path}.{name}" if path else name, "one of its kinds must be written")
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        where = f"{path}.{field.name}" if path else field.name
        entry = field.message_type
        if not field.is_repeated:
            yield from violations(value, where)
        elif not entry.GetOptions().map_entry:
            for i, item in enumerate(value):
                yield from violations(item, f"{where}[{i}]")
        elif entry.fields_by_name["value"].message_type is not None:
            for key, item in value.items():
                yield from violations(item, f'{where}["{key}"]')


@cache
def _ruled(descriptor: Descriptor) -> tuple[tuple[FieldDescriptor, Any], ...]:
    """The fields that have rules. Fields of maps' entries are looked at with the map."""
    found = []
    for field in descriptor.fields:
        options = field.GetOptions()
        if options.HasExtension(validate_pb2.rules) and field.full_name not in _DROPPED:
            found.append((field, options.Extensions[validate_pb2.rules]))
    return tuple(found)


@cache
def _required_choices(descriptor: Descriptor) -> tuple[str, ...]:
    return tuple(
        one.name for one in descriptor.oneofs if one.GetOptions().Extensions[validate_pb2.required]
    )


def _field(
    message: Message, field: FieldDescriptor, rules: Any, path: str
) -> Iterator[tuple[str, str]]:
    kind = rules.WhichOneof("type")
    if field.is_repeated:
        yield from _many(getattr(message, field.name), kind, rules, path)
        return
    is_set = message.HasField(field.name) if field.has_presence else True
    if not is_set:
        one_of = field.containing_oneof
        if one_of is not None and message.WhichOneof(one_of.name) != field.name:
            return  # another kind was chosen
        required = rules.HasField("message") and rules.message.required
        required = required or (
            kind in ("any", "duration", "timestamp") and getattr(rules, kind).required
        )
        if required:
            yield path, "it must be written"
        return
    if kind is None:
        return
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.full_name in WRAPPERS:
        value = getattr(value, "value", value)  # a wrapped number or text
    yield from _one(value, kind, getattr(rules, kind), path)


def _many(values: Any, kind: str | None, rules: Any, path: str) -> Iterator[tuple[str, str]]:
    if kind == "repeated":
        rule = rules.repeated
        if rule.ignore_empty and not len(values):
            return
        if rule.HasField("min_items") and len(values) < rule.min_items:
            yield path, f"it needs at least {rule.min_items} item(s)"
        if rule.HasField("max_items") and len(values) > rule.max_items:
            yield path, f"it may have at most {rule.max_items} items"
        if rule.unique and len(set(map(str, values))) < len(values):
            yield path, "an item is there twice"
        inner = rule.items.WhichOneof("type") if rule.HasField("items") else None
        if inner is not None:
            for i, value in enumerate(values):
                yield from _one(value, inner, getattr(rule.items, inner), f"{path}[{i}]")
    elif kind == "map":
        rule = rules.map
        if rule.HasField("min_pairs") and len(values) < rule.min_pairs:
            yield path, f"it needs at least {rule.min_pairs} entries"
        if rule.HasField("max_pairs") and len(values) > rule.max_pairs:
            yield path, f"it may have at most {rule.max_pairs} entries"
        keyed = rule.keys.WhichOneof("type") if rule.HasField("keys") else None
        if keyed is not None:
            for key in values:
                yield from _one(key, keyed, getattr(rule.keys, keyed), f'{path}["{key}"]')


def _one(value: Any, kind: str, rule: Any, path: str) -> Iterator[tuple[str, str]]:
    match kind:
        case "string" | "bytes":
            for why in _text(value, rule, is_bytes=kind == "bytes"):
                yield path, why
        case "enum":
            if rule.HasField("const") and value != rule.const:
                yield path, f"it must be {rule.const}"
            if list(rule.not_in) and value in rule.not_in:
                yield path, "this value is not allowed"
            if list(getattr(rule, "in")) and value not in getattr(rule, "in"):
                yield path, "this value is not allowed"
        case "bool":
            if rule.HasField("const") and value != rule.const:
                yield path, f"it must be {str(rule.const).lower()}"
        case "any" if isinstance(value, any_pb2.Any):
            allowed = list(getattr(rule, "in"))
            if (allowed and value.type_url not in allowed) or value.type_url in rule.not_in:
                yield path, f"{value.type_url} is not allowed"
        case "duration":
            seconds = _seconds(value)
            for why in _bounds(seconds, rule, _seconds):
                yield path, f"{why} s"
        case "any" | "timestamp" | "message" | "repeated" | "map":
            return
        case _:
            if rule.ignore_empty and not value:
                return
            for why in _bounds(value, rule, float):
                yield path, why


def _seconds(value: Any) -> float:
    return float(value.seconds + value.nanos / 1e9)


def _bounds(value: float, rule: Any, number: Any) -> Iterator[str]:
    """A range whose ends are the wrong way round excludes what lies between."""
    low = next((name for name in ("gt", "gte") if rule.HasField(name)), None)
    high = next((name for name in ("lt", "lte") if rule.HasField(name)), None)
    above = low is None or (
        value > number(rule.gt) if low == "gt" else value >= number(getattr(rule, low))
    )
    below = high is None or (
        value < number(rule.lt) if high == "lt" else value <= number(getattr(rule, high))
    )
    reversed_range = low and high and number(getattr(rule, low)) > number(getattr(rule, high))
    if reversed_range:
        if not (above or below):
            yield f"it may not be between {number(getattr(rule, high or '')):g} and {number(getattr(rule, low or '')):g}"
    else:
        words = {"gt": "more than", "gte": "at least", "lt": "less than", "lte": "at most"}
        if low and not above:
            yield f"it must be {words[low]} {number(getattr(rule, low)):g}"
        if high and not below:
            yield f"it must be {words[high]} {number(getattr(rule, high)):g}"
    if rule.HasField("const") and value != number(rule.const):
        yield f"it must be {number(rule.const):g}"
    allowed = [number(item) for item in getattr(rule, "in")]
    if allowed and value not in allowed:
        yield f"it must be one of {allowed}"
    if value in [number(item) for item in rule.not_in]:
        yield "this value is not allowed"


def _text(value: Any, rule: Any, *, is_bytes: bool) -> Iterator[str]:
    if rule.ignore_empty and not value:
        return
    length = len(value)
    encoded = length if is_bytes else len(value.encode())
    if rule.HasField("const") and value != rule.const:
        yield f"it must be {rule.const!r}"
    if rule.HasField("min_len") and length < rule.min_len:
        yield "it must not be empty" if rule.min_len == 1 else f"it needs {rule.min_len} characters"
    if rule.HasField("max_len") and length > rule.max_len:
        yield f"it may have at most {rule.max_len} characters"
    if rule.HasField("len") and length != rule.len:
        yield f"it must have {rule.len} characters"
    if not is_bytes:
        if rule.HasField("min_bytes") and encoded < rule.min_bytes:
            yield (
                "it must not be empty"
                if rule.min_bytes == 1
                else f"it needs {rule.min_bytes} bytes"
            )
        if rule.HasField("max_bytes") and encoded > rule.max_bytes:
            yield f"it may have at most {rule.max_bytes} bytes"
    if rule.HasField("prefix") and not value.startswith(rule.prefix):
        yield f"it must begin with {rule.prefix!r}"
    if rule.HasField("suffix") and not value.endswith(rule.suffix):
        yield f"it must end with {rule.suffix!r}"
    if rule.HasField("contains") and rule.contains not in value:
        yield f"it must contain {rule.contains!r}"
    allowed = list(getattr(rule, "in"))
    if allowed and value not in allowed:
        yield f"it must be one of {', '.join(map(str, allowed))}"
    if value in rule.not_in:
        yield "this value is not allowed"
    if is_bytes:
        return
    if rule.HasField("not_contains") and rule.not_contains in value:
        yield f"it may not contain {rule.not_contains!r}"
    if rule.HasField("pattern") and not re2.search(rule.pattern, value):
        yield f"it must match {rule.pattern}"
    yield from _well_known(value, rule)


def _well_known(value: str, rule: Any) -> Iterator[str]:
    kind = rule.WhichOneof("well_known")
    if kind == "well_known_regex":
        strict = rule.strict if rule.HasField("strict") else True
        name = rule.well_known_regex == validate_pb2.HTTP_HEADER_NAME
        pattern = (_HEADER_NAME if name else _HEADER_VALUE) if strict else _NOT_STRICT
        if not pattern.search(value) or (name and not value):
            yield f"it is not an HTTP header {'name' if name else 'value'}"
    elif kind in ("ip", "ipv4", "ipv6") and getattr(rule, kind):
        try:
            ipaddress.ip_address(value)
        except ValueError:
            yield "it is not an IP address"
    elif kind == "address" and rule.address and not value:
        yield "it is not an address"
    elif kind in ("uri", "hostname") and getattr(rule, kind) and not value:
        yield f"it is not a {kind}"
