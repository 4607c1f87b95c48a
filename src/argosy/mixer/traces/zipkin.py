"""Zipkin's spans, version 2 in JSON → spans. https://zipkin.io/zipkin-api/#/default/post_spans"""

from collections.abc import Mapping

import msgspec

from argosy.mixer.text import short
from argosy.mixer.traces import span as spans
from argosy.mixer.traces.decoded import Decoded, MalformedError
from argosy.mixer.traces.span import BadSpanError, Event, Span, SpanKind

_US = 1000
_MAX_NS = 2**63 - 1
_KINDS = {kind.value: kind for kind in SpanKind}


class _Endpoint(msgspec.Struct, rename="camel"):
    service_name: str | None = None


class _Annotation(msgspec.Struct):
    timestamp: int = 0
    value: str = ""


class _ZipkinSpan(msgspec.Struct, rename="camel"):
    """``timestamp`` and ``duration`` are in µs."""

    trace_id: str
    id: str
    parent_id: str | None = None
    kind: str | None = None
    name: str | None = None
    timestamp: int | None = None
    duration: int | None = None
    shared: bool | None = None
    local_endpoint: _Endpoint | None = None
    annotations: list[_Annotation] | None = None
    tags: Mapping[str, str] | None = None


_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_span_decoder = msgspec.json.Decoder(_ZipkinSpan)


def decode(body: bytes) -> Decoded:
    """Raises ``MalformedError``."""
    try:
        written = _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise MalformedError(f"it is no list of Zipkin spans in JSON: {error}") from error
    found: list[Span] = []
    rejected, reason = 0, ""
    for one in written:
        try:
            found.append(_span(_span_decoder.decode(one)))
        except (msgspec.DecodeError, BadSpanError) as error:
            rejected += 1
            reason = reason or str(error)
    return Decoded(tuple(found), rejected, reason)


def _span(written: _ZipkinSpan) -> Span:
    tags = written.tags or {}
    kind = (written.kind or "").lower()
    start = _nanoseconds(written.timestamp or 0)
    duration = _nanoseconds(written.duration or 0)
    name = (written.local_endpoint or _Endpoint()).service_name or "unknown"
    return Span(
        trace_id=spans.trace_id(written.trace_id),
        span_id=spans.span_id(written.id),
        parent_id=spans.parent_id(written.parent_id or ""),
        name=short(written.name or "", spans.MAX_NAME),
        service=short(name, spans.MAX_NAME),
        kind=_KINDS.get(kind, SpanKind.INTERNAL),
        start=start,
        duration=duration,
        # That the tag is there is the error, whatever it says.
        error="error" in tags,
        message=""
        if tags.get("error", "true") == "true"
        else short(tags["error"], spans.MAX_VALUE),
        shared=bool(written.shared),
        attributes=spans.attributes(tags.items()),
        events=tuple(
            Event(_nanoseconds(one.timestamp), short(one.value, spans.MAX_NAME))
            for one in (written.annotations or ())[: spans.MAX_EVENTS]
        ),
    )


def _nanoseconds(micros: int) -> int:
    """JSON's numbers have no bound, and what is kept has 64 bits."""
    found = micros * _US
    if not 0 <= found <= _MAX_NS:
        raise BadSpanError("its time is out of range")
    return found
