"""Envoy messages as bytes with a version that depends on nothing but the content."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

from google.protobuf.message import Message


@dataclass(frozen=True, slots=True)
class Encoded:
    """A resource: ``parts`` are the deterministic serialization, ``version`` its hash in hex.

    A part may be an object that other resources have too, which are many and long. They never
    print: they may hold a key.
    """

    name: str
    version: str
    parts: tuple[bytes, ...] = field(repr=False)

    @property
    def body(self) -> bytes:
        """The whole message. Made anew each time."""
        return b"".join(self.parts)


def encode(name: str, message: Message) -> Encoded:
    return joined(name, (message.SerializeToString(deterministic=True),))


def joined(name: str, parts: Iterable[bytes]) -> Encoded:
    """A message whose serialization is that of its parts, one after the other."""
    kept = tuple(parts)
    digest = blake2b(digest_size=8)
    for part in kept:
        digest.update(part)
    return Encoded(name, digest.hexdigest(), kept)
