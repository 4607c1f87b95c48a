"""A span: what one program or proxy did in the course of a request. OTLP and Zipkin decode to it.

Everything that a sender chooses is bounded here, so that no span is larger than about 60 kB.
"""

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from argosy.mixer.text import short
from argosy.model.span_tags import ABOUT

MAX_ATTRIBUTES = 64
MAX_EVENTS = 16
MAX_NAME = 256
MAX_VALUE = 1024
_NO_ID = frozenset("0")
_HEX = frozenset("0123456789abcdef")

REQUEST_ID = "guid:x-request-id"
"""Envoy's tag of the request's id."""


class BadSpanError(ValueError):
    """A span that cannot be placed in any trace; the message says why."""


class SpanKind(StrEnum):
    CLIENT = "client"
    SERVER = "server"
    PRODUCER = "producer"
    CONSUMER = "consumer"
    INTERNAL = "internal"


class Event(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """``time`` is in ns since 1970."""

    time: int
    name: str


class Span(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """``trace_id`` has 32 hexadecimal digits and ``span_id`` 16; ``parent_id`` too, or it is empty.

    ``start`` is in ns since 1970, ``duration`` in ns. ``shared``: a server took its client's span
    as its own, as Zipkin's libraries may. ``attributes`` are sorted by name. ``reporter`` is who
    sent it, ``namespace/service account`` as its certificate proves; ``claimed``: its service is
    not one of the reporter's.
    """

    trace_id: str
    span_id: str
    name: str
    service: str
    start: int
    duration: int
    parent_id: str = ""
    kind: SpanKind = SpanKind.INTERNAL
    error: bool = False
    message: str = ""
    shared: bool = False
    attributes: tuple[tuple[str, str], ...] = ()
    events: tuple[Event, ...] = ()
    reporter: str = ""
    claimed: bool = False

    @property
    def end(self) -> int:
        return self.start + self.duration

    @property
    def key(self) -> str:
        """Unlike that of any other span of the trace: a client and a server may share an id."""
        return f"{self.span_id}s" if self.shared else self.span_id

    @property
    def operation(self) -> str:
        """``GET /reviews/0`` of a request, else the span's name, with what it is about."""
        method = self.attribute("http.method", "http.request.method")
        url = self.attribute("http.url", "url.full", "http.target", "url.path")
        if not method or not url:
            return short(f"{self.name} {self.attribute(ABOUT)}".rstrip(), MAX_NAME)
        rest = url.partition("://")[2]
        path = "/" + rest.partition("/")[2] if rest else url
        return short(f"{method} {path.partition('?')[0]}", MAX_NAME)

    @property
    def status(self) -> str:
        """``200``, ``503 UH`` with Envoy's response flags, gRPC's number, or nothing."""
        code = self.attribute(
            "http.status_code", "http.response.status_code", "rpc.grpc.status_code"
        )
        flags = self.attribute("response_flags")
        return f"{code} {flags}" if flags.strip("-") else code

    def attribute(self, *names: str) -> str:
        """The value of the first that is there; empty if none is."""
        known = dict(self.attributes)
        return next((known[name] for name in names if name in known), "")


def trace_id(text: str) -> str:
    """64 and 128 bits in hexadecimal → 32 digits. Raises ``BadSpanError``."""
    return _identifier(text, 32, "trace id")


def span_id(text: str) -> str:
    return _identifier(text, 16, "span id")


def parent_id(text: str) -> str:
    """None and all zeros mean that there is no parent."""
    return span_id(text) if text and not _NO_ID.issuperset(text) else ""


def attributes(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Sorted and bounded; of two with one name the last counts."""
    found: dict[str, str] = {}
    for name, value in pairs:
        if len(found) < MAX_ATTRIBUTES or name in found:
            found[short(name, MAX_NAME)] = short(value, MAX_VALUE)
    return tuple(sorted(found.items()))


def _identifier(text: str, digits: int, what: str) -> str:
    lower = text.lower()
    if not lower or len(lower) > digits or not _HEX.issuperset(lower) or _NO_ID.issuperset(lower):
        raise BadSpanError(f"{what} {short(text, 40)!r} is not up to {digits} hexadecimal digits")
    return lower.rjust(digits, "0")
