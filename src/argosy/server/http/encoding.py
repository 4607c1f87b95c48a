"""JSON in and out."""

from collections.abc import Mapping

import msgspec
from starlette.responses import Response

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

_ENCODER = msgspec.json.Encoder()


def encode(value: object) -> bytes:
    """JSON bytes of plain values and of msgspec Structs."""
    return _ENCODER.encode(value)


def json_response(
    value: object, code: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """``value`` may hold msgspec Structs."""
    return Response(encode(value), code, headers, media_type="application/json")
