"""What the library asks of its user: resources, who gets them, and who may connect.

A *group* is a set of clients that get equal resources; a *layer* is a set of
resource names that groups share. A group's wildcard set for a type is the union
of the names of its layers of that type. Both are any hashable value; the library
never looks inside them. All calls happen on the event loop's thread.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2b
from typing import Protocol

Group = Hashable
Layer = Hashable


class Framed:
    """``frame``: what stands before and after a resource in responses, once it was in one."""

    __slots__ = ("frame",)

    frame: tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Resource(Framed):
    """One resource: ``parts`` are the serialized message, ``version`` a hash of its content.

    The version must depend on the message alone, so that a restarted or a different
    server sends nothing to a client that already has it. Large messages that differ in little
    are given in several parts, of which most are objects that other resources have too.
    They never print: they may hold a key.
    """

    name: str
    version: str
    parts: tuple[bytes, ...] = field(repr=False)

    @property
    def body(self) -> bytes:
        """The parts joined: the whole message. Made anew each time."""
        return b"".join(self.parts)

    @property
    def size(self) -> int:
        """Bytes of the message."""
        return sum(map(len, self.parts))


def resource(name: str, body: bytes) -> Resource:
    """A resource whose version is the 8-byte BLAKE2b hash of its body, in hex."""
    return Resource(name, blake2b(body, digest_size=8).hexdigest(), (body,))


class Source(Protocol):
    """Where resources come from. Cheap and synchronous: answers from memory."""

    def layers(self, group: Group, type_url: str) -> tuple[Layer, ...]:
        """The layers whose changes concern the group. Kept until ``publish`` says otherwise."""
        ...

    def names(self, layer: Layer, type_url: str) -> Iterable[str]:
        """The layer's part of the wildcard set. Names outside it are served to who asks for them."""
        ...

    def resource(self, group: Group, type_url: str, name: str) -> Resource | None:
        """The resource as this group gets it, or None when there is none."""
        ...

    def forget(self, group: Group) -> None:
        """The last client of the group has gone."""
        ...


@dataclass(frozen=True, slots=True)
class Change:
    """What became different in one layer for one type.

    ``changed``: content differs; also names that are served by explicit request only,
    when they appear, change or vanish. ``appeared`` and ``vanished``: names that came
    into and went out of the layer's wildcard set.
    """

    layer: Layer
    type_url: str
    changed: frozenset[str] = frozenset()
    appeared: frozenset[str] = frozenset()
    vanished: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of the connection, as the transport proved it.

    ``identities`` are the URI names of the client's certificate (SPIFFE ids),
    empty when the connection is not mutual TLS. ``certificate_pem`` is what it showed, its own
    certificate first.
    """

    address: str
    identities: tuple[str, ...] = ()
    certificate_pem: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Admission:
    """The peer may have the resources of ``group``. ``client_id`` names it in statuses."""

    group: Group
    client_id: str
    labels: tuple[tuple[str, str], ...] = ()


class RefusalKind(Enum):
    """Why a peer is turned away; each is a gRPC status code."""

    UNAUTHENTICATED = "unauthenticated"
    PERMISSION_DENIED = "permission denied"
    INVALID_ARGUMENT = "invalid argument"
    RESOURCE_EXHAUSTED = "resource exhausted"
    DEADLINE_EXCEEDED = "deadline exceeded"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Refusal:
    """The peer gets nothing; ``message`` is sent to it."""

    message: str
    kind: RefusalKind = RefusalKind.PERMISSION_DENIED


Admit = Callable[[Peer, bytes], Admission | Refusal]
"""Decides by the peer's proved identity and the serialized ``envoy.config.core.v3.Node`` it sent."""
