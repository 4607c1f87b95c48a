"""Bytes in, bytes out: requests decoded to one shape for both protocols, responses built by hand.

A response is concatenated from the resources' own bytes and shared: streams that need
the same resources get the very same ``bytes`` object. Its nonce is a global push
number, unique on every stream because a stream is never given one object twice.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2b
from weakref import WeakValueDictionary

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError

from argosy.xds.source import Resource


class Protocol(Enum):
    """The two variants of the aggregated stream."""

    DELTA = "delta"
    SOTW = "sotw"


class MalformedRequestError(Exception):
    """The peer sent something that is not a discovery request."""


@dataclass(frozen=True, slots=True)
class Request:
    """One discovery request. ``error`` is None for an ACK and for a plain subscription.

    ``subscribe`` holds all names in state-of-the-world, the added ones in delta;
    ``unsubscribe`` and ``initial_versions`` are delta's. ``version`` is state-of-the-world's
    last accepted version: not empty on a first request when the client reconnects.
    """

    type_url: str
    nonce: str = ""
    error: str | None = None
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = field(default_factory=dict)
    version: str = ""


def decode(protocol: Protocol, raw: bytes) -> tuple[Request, bytes]:
    """The request and the serialized ``Node`` (empty when the message has none)."""
    try:
        return _decode_delta(raw) if protocol is Protocol.DELTA else _decode_sotw(raw)
    except DecodeError as error:
        raise MalformedRequestError(f"not a discovery request: {error}") from error


def _decode_delta(raw: bytes) -> tuple[Request, bytes]:
    message = discovery_pb2.DeltaDiscoveryRequest.FromString(raw)
    request = Request(
        type_url=message.type_url,
        nonce=message.response_nonce,
        error=_error(message),
        subscribe=tuple(message.resource_names_subscribe)
        + tuple(locator.name for locator in message.resource_locators_subscribe),
        unsubscribe=tuple(message.resource_names_unsubscribe)
        + tuple(locator.name for locator in message.resource_locators_unsubscribe),
        initial_versions=dict(message.initial_resource_versions),
    )
    return request, _node(message)


def _decode_sotw(raw: bytes) -> tuple[Request, bytes]:
    message = discovery_pb2.DiscoveryRequest.FromString(raw)
    request = Request(
        type_url=message.type_url,
        nonce=message.response_nonce,
        error=_error(message),
        subscribe=tuple(message.resource_names)
        + tuple(locator.name for locator in message.resource_locators),
        version=message.version_info,
    )
    return request, _node(message)


def _error(
    message: discovery_pb2.DiscoveryRequest | discovery_pb2.DeltaDiscoveryRequest,
) -> str | None:
    if not message.HasField("error_detail"):
        return None
    return str(message.error_detail.message) or "rejected without a reason"


def _node(message: discovery_pb2.DiscoveryRequest | discovery_pb2.DeltaDiscoveryRequest) -> bytes:
    return bytes(message.node.SerializeToString()) if message.HasField("node") else b""


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _opening(tag: int, size: int) -> bytes:
    """What stands before the content of a field."""
    return bytes((tag,)) + _varint(size)


def _field(tag: int, value: bytes) -> bytes:
    return _opening(tag, len(value)) + value


def _any(url: bytes, resource: Resource) -> bytes:
    """What stands before the parts of a resource in an ``Any``."""
    return _field(0x0A, url) + _opening(0x12, resource.size)


def _frame(url: bytes, resource: Resource) -> tuple[bytes, bytes]:
    """What stands around the parts of a resource in a ``DeltaDiscoveryResponse``.

    Kept with the resource, which is of one type: it goes to many streams.
    """
    try:
        return resource.frame
    except AttributeError:
        pass
    opening = _any(url, resource)
    size = len(opening) + resource.size
    head = _field(0x0A, resource.version.encode()) + _opening(0x12, size)
    tail = _field(0x1A, resource.name.encode())
    frame = _opening(0x12, len(head) + size + len(tail)) + head + opening, tail
    object.__setattr__(resource, "frame", frame)
    return frame


def delta_response(
    type_url: str, resources: Iterable[Resource], removed: Iterable[str], nonce: str
) -> bytes:
    """A serialized ``DeltaDiscoveryResponse``."""
    url = type_url.encode()
    parts: list[bytes] = []
    for resource in resources:
        head, tail = _frame(url, resource)
        parts.append(head)
        parts += resource.parts
        parts.append(tail)
    parts.append(_field(0x22, url))
    parts.append(_field(0x2A, nonce.encode()))
    parts.extend(_field(0x32, name.encode()) for name in removed)
    return b"".join(parts)


def sotw_response(type_url: str, resources: Iterable[Resource], version: str, nonce: str) -> bytes:
    """A serialized ``DiscoveryResponse``."""
    url = type_url.encode()
    parts = [_field(0x0A, version.encode())]
    for resource in resources:
        opening = _any(url, resource)
        parts.append(_opening(0x12, len(opening) + resource.size) + opening)
        parts += resource.parts
    parts.append(_field(0x22, url))
    parts.append(_field(0x2A, nonce.encode()))
    return b"".join(parts)


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """Everything of one type that a state-of-the-world client has; shared between streams."""

    resources: Mapping[str, Resource] = field(default_factory=dict)


EMPTY = Snapshot()


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Response:
    """One encoded response, shared by the streams that need exactly this."""

    type_url: str
    nonce: str
    body: bytes
    resources: tuple[Resource, ...]
    removed: tuple[str, ...] = ()
    snapshot: Snapshot | None = None


class Encoder:
    """Builds responses that streams share, so that a push to many of them is encoded once.

    A response is known as long as any stream waits for its answer, which in a burst is as long
    as others may need it. The latest few, of ``capacity`` bytes, are known beyond that.
    """

    def __init__(self, capacity: int = 1 << 20) -> None:
        self._capacity = capacity
        self._size = 0
        self._known: WeakValueDictionary[object, Response] = WeakValueDictionary()
        self._latest: deque[Response] = deque()
        self._number = 0
        self.encoded = 0

    def response(
        self,
        protocol: Protocol,
        type_url: str,
        resources: tuple[Resource, ...],
        removed: tuple[str, ...],
        base: Snapshot | None,
        last_nonce: int,
    ) -> Response:
        """A response with these resources, fresh or shared.

        ``base`` is given when the response must hold everything: the resources and removals
        are then applied to it. Only a response newer than ``last_nonce``, the last number the
        stream was given, is shared with it.
        """
        key = (
            protocol,
            type_url,
            tuple((resource.name, resource.version) for resource in resources),
            removed,
            base,
        )
        known = self._known.get(key)
        if known is not None and int(known.nonce) > last_nonce:
            return known
        response = self._encode(protocol, type_url, resources, removed, base)
        self._known[key] = response
        self._latest.append(response)
        self._size += len(response.body)
        while self._size > self._capacity:
            self._size -= len(self._latest.popleft().body)
        return response

    def _encode(
        self,
        protocol: Protocol,
        type_url: str,
        resources: tuple[Resource, ...],
        removed: tuple[str, ...],
        base: Snapshot | None,
    ) -> Response:
        self._number += 1
        self.encoded += 1
        nonce = str(self._number)
        if protocol is Protocol.DELTA:
            body = delta_response(type_url, resources, removed, nonce)
            return Response(type_url, nonce, body, resources, removed)
        if base is None:
            version = _version(resources)
            body = sotw_response(type_url, resources, version, nonce)
            return Response(type_url, nonce, body, resources, removed)
        everything = dict(base.resources)
        for name in removed:
            everything.pop(name, None)
        for resource in resources:
            everything[resource.name] = resource
        ordered = [everything[name] for name in sorted(everything)]
        body = sotw_response(type_url, ordered, _version(ordered), nonce)
        return Response(type_url, nonce, body, resources, removed, Snapshot(everything))


def _version(resources: Iterable[Resource]) -> str:
    digest = blake2b(digest_size=8)
    for resource in resources:
        digest.update(f"{resource.name}\0{resource.version}\n".encode())
    return digest.hexdigest()
