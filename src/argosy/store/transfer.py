"""Many objects as bytes, with the places where they were written: parts with a length before each."""

from collections.abc import Iterator, Sequence

import msgspec

from argosy.api.meta import Object
from argosy.store.store import Codec

PART_OBJECTS = 200
_LENGTH = 4
_Rows = list[tuple[str, bytes]]


def parts(objects: Sequence[Object], codec: Codec) -> Iterator[bytes]:
    """Each takes a few milliseconds to make."""
    for start in range(0, len(objects), PART_OBJECTS):
        some = objects[start : start + PART_OBJECTS]
        body = msgspec.msgpack.encode([(value.kind, codec.encode(value)) for value in some])
        yield len(body).to_bytes(_LENGTH, "big") + body


def joined(body: bytes, codec: Codec) -> tuple[Object, ...]:
    """The objects of all parts; raises ``ValueError`` for anything else."""
    found: list[Object] = []
    at = 0
    while at < len(body):
        size = int.from_bytes(body[at : at + _LENGTH], "big")
        at += _LENGTH
        try:
            rows = msgspec.msgpack.decode(body[at : at + size], type=_Rows)
        except msgspec.MsgspecError as error:
            raise ValueError(str(error)) from error
        found += [codec.decode(kind, encoded) for kind, encoded in rows]
        at += size
    return tuple(found)
