"""Objects → plain data and back, for the wire and for the disk."""

from typing import Any

import msgspec

from argosy.api import registry
from argosy.api.meta import Duration, Object
from argosy.api.typed import decode_hook


def encode(obj: Object) -> dict[str, Any]:
    """What users write: camelCase, without defaults and without the origin."""
    data = _plain(obj)
    data.pop("origin", None)
    return data


def to_json(obj: Object) -> bytes:
    """Everything, with the origin: for a journal. ``from_json`` reads it back to an equal object."""
    return msgspec.json.encode(_plain(obj))


def from_json(text: bytes) -> Object:
    """The object of ``to_json``; raises msgspec.DecodeError when it is not one."""
    data = msgspec.json.decode(text)
    entry = registry.BY_KIND.get(data.get("kind", "")) if isinstance(data, dict) else None
    if entry is None:
        raise msgspec.ValidationError("not an object of a known kind")
    obj = msgspec.convert(data, entry.struct, dec_hook=decode_hook, str_keys=True)
    assert isinstance(obj, Object)
    return obj


def _plain(obj: Object) -> dict[str, Any]:
    data: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(obj, enc_hook=_encode_hook))
    head = {"apiVersion": obj.api_version, "kind": obj.kind}
    return {**head, "metadata": data.pop("metadata", {}), **data, **head}


def _encode_hook(value: object) -> str:
    if isinstance(value, Duration):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} is not a type of the API")
