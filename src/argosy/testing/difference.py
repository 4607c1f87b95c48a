"""What a change did to Envoy configuration, as people would point at it."""

import json
from collections.abc import Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

Json = Any
"""What JSON can hold."""

GONE = "gone"
"""The key under which a difference lists the names that are there no more."""

_UNCHANGED = object()


def plain(message: Message) -> Json:
    """Envoy's own field names, sorted; maps as plain dictionaries, every ``Any`` unpacked."""
    data = MessageToDict(message, preserving_proto_field_name=True)
    return json.loads(json.dumps(data, sort_keys=True))


def difference(before: Json, after: Json) -> Json:
    """The part of ``after`` that ``before`` does not say, None when they are equal.

    Objects keep the fields that differ and name those that are ``gone``. Lists whose items all
    have names of their own keep the items that differ, each with its name, and their order when
    that differs; other lists of objects keep those that differ by their places, if there are as
    many as before; any other list that differs is kept whole.
    """
    found = _difference(before, after)
    return None if found is _UNCHANGED else found


def _difference(before: Json, after: Json) -> Json:
    if before == after:
        return _UNCHANGED
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return _of_objects(before, after)
    if isinstance(before, list) and isinstance(after, list):
        old, new = _by_name(before), _by_name(after)
        if old is not None and new is not None:
            return _of_named(old, new)
        if len(before) == len(after) and all(isinstance(i, Mapping) for i in (*before, *after)):
            return _of_placed(before, after)
    return after


def _of_objects(before: Mapping[str, Json], after: Mapping[str, Json]) -> Json:
    found = {}
    for key, value in after.items():
        part = _difference(before[key], value) if key in before else value
        if part is not _UNCHANGED:
            found[key] = part
    gone = sorted(before.keys() - after.keys())
    return {**found, GONE: gone} if gone else found


def _of_named(before: Mapping[str, Json], after: Mapping[str, Json]) -> Json:
    changed = []
    for name, item in after.items():
        part = _difference(before[name], item) if name in before else item
        if part is not _UNCHANGED:
            changed.append({"name": name, **part})
    found: dict[str, Json] = {"changed": changed} if changed else {}
    kept = [name for name in before if name in after]
    if len(kept) < len(before):
        found[GONE] = [name for name in before if name not in after]
    if list(after)[: len(kept)] != kept:
        found["order"] = list(after)
    return found


def _of_placed(before: list[Json], after: list[Json]) -> Json:
    parts = (
        (i, _difference(old, new)) for i, (old, new) in enumerate(zip(before, after, strict=True))
    )
    return {f"[{i}]": part for i, part in parts if part is not _UNCHANGED}


def _by_name(items: list[Json]) -> dict[str, Json] | None:
    """The items by their names; None unless each has one that no other has."""
    found: dict[str, Json] = {}
    for item in items:
        name = item.get("name") if isinstance(item, Mapping) else None
        if not isinstance(name, str) or not name or name in found:
            return None
        found[name] = item
    return found
