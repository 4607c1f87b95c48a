"""Envoy messages as bytes with a version that depends on nothing but the content."""

from dataclasses import dataclass
from hashlib import blake2b

from google.protobuf.message import Message


@dataclass(frozen=True, slots=True)
class Encoded:
    """A resource: ``body`` is the deterministic serialization, ``version`` its hash in hex."""

    name: str
    version: str
    body: bytes


def encode(name: str, message: Message) -> Encoded:
    body = message.SerializeToString(deterministic=True)
    return Encoded(name, blake2b(body, digest_size=8).hexdigest(), body)
