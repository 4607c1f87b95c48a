"""Objects → plain data for the wire. ``decode`` is the way back."""

from typing import Any

import msgspec

from argosy.api.meta import Duration, Object


def encode(obj: Object) -> dict[str, Any]:
    """What users write: camelCase, without defaults and without the origin."""
    data: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(obj, enc_hook=_encode_hook))
    data.pop("origin", None)
    head = {"apiVersion": obj.api_version, "kind": obj.kind}
    return {**head, "metadata": data.pop("metadata", {}), **data, **head}


def _encode_hook(value: object) -> str:
    if isinstance(value, Duration):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} is not a type of the API")
