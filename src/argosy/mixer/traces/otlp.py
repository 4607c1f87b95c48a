"""OTLP's trace export → spans.

https://opentelemetry.io/docs/specs/otlp/ ; in JSON, ids are hexadecimal and not base64. The
generated code is of an older release, equal on the wire: what is ``scope_spans`` today is called
``instrumentation_library_spans`` there.
"""

import base64
import binascii
import json
from collections.abc import Iterable
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from argosy.mixer.text import short
from argosy.mixer.traces import span as spans
from argosy.mixer.traces.decoded import Decoded, MalformedError
from argosy.mixer.traces.span import BadSpanError, Event, Span, SpanKind

MAX_DEPTH = 8
"""How deep values of attributes may hold others."""

_KINDS = {
    trace_pb2.Span.SPAN_KIND_CLIENT: SpanKind.CLIENT,
    trace_pb2.Span.SPAN_KIND_SERVER: SpanKind.SERVER,
    trace_pb2.Span.SPAN_KIND_PRODUCER: SpanKind.PRODUCER,
    trace_pb2.Span.SPAN_KIND_CONSUMER: SpanKind.CONSUMER,
}
_IDS = ("traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id")
_RESOURCE = ("service.name", "service.namespace", "service.version", "service.instance.id")
"""What of the resource is kept beside the span's own attributes."""


def decode(body: bytes) -> Decoded:
    """Of binary protobuf. Raises ``MalformedError``."""
    try:
        request = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        raise MalformedError(f"it is no ExportTraceServiceRequest: {error}") from error
    return decoded(request)


def decode_json(body: bytes) -> Decoded:
    """Of OTLP's JSON. Raises ``MalformedError``."""
    request = trace_service_pb2.ExportTraceServiceRequest()
    try:
        data = json.loads(body)
        if not isinstance(data, dict):
            raise ValueError("it is not an object")
        _adapt(data)
        json_format.ParseDict(data, request, ignore_unknown_fields=True)
    except (ValueError, RecursionError, json_format.ParseError, binascii.Error) as error:
        raise MalformedError(f"it is no ExportTraceServiceRequest in JSON: {error}") from error
    return decoded(request)


def decoded(request: trace_service_pb2.ExportTraceServiceRequest) -> Decoded:
    found: list[Span] = []
    rejected, reason = 0, ""
    for resource_spans in request.resource_spans:
        resource = _pairs(resource_spans.resource.attributes)
        for scope_spans in resource_spans.instrumentation_library_spans:
            for proto in scope_spans.spans:
                try:
                    found.append(_span(proto, resource))
                except BadSpanError as error:
                    rejected += 1
                    reason = reason or str(error)
    return Decoded(tuple(found), rejected, reason)


def _span(proto: trace_pb2.Span, resource: dict[str, str]) -> Span:
    own = _pairs(proto.attributes)
    kept = {name: resource[name] for name in _RESOURCE if name in resource}
    start = proto.start_time_unix_nano
    return Span(
        trace_id=spans.trace_id(proto.trace_id.hex()),
        span_id=spans.span_id(proto.span_id.hex()),
        parent_id=spans.parent_id(proto.parent_span_id.hex()),
        name=short(proto.name, spans.MAX_NAME),
        service=short(resource.get("service.name", ""), spans.MAX_NAME) or "unknown",
        kind=_KINDS.get(proto.kind, SpanKind.INTERNAL),
        start=start,
        duration=max(proto.end_time_unix_nano - start, 0),
        error=proto.status.code == trace_pb2.Status.STATUS_CODE_ERROR or own.get("error") == "true",
        message=short(proto.status.message, spans.MAX_VALUE),
        attributes=spans.attributes({**kept, **own}.items()),
        events=tuple(
            Event(event.time_unix_nano, short(event.name, spans.MAX_NAME))
            for event in proto.events[: spans.MAX_EVENTS]
        ),
    )


def _pairs(attributes: Iterable[common_pb2.KeyValue]) -> dict[str, str]:
    return {pair.key: _text(_plain(pair.value)) for pair in attributes}


def _text(value: Any) -> str:
    """As people write it: ``true``, ``3``, and JSON for what has parts."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _plain(value: common_pb2.AnyValue, depth: int = 0) -> Any:
    if depth >= MAX_DEPTH:
        return "…"
    match value.WhichOneof("value"):
        case "array_value":
            return [_plain(one, depth + 1) for one in value.array_value.values]
        case "kvlist_value":
            return {one.key: _plain(one.value, depth + 1) for one in value.kvlist_value.values}
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
        case None:
            return ""
        case field:
            return getattr(value, field)


def answer(decoded: Decoded) -> bytes:
    """ExportTraceServiceResponse: field 1 is ``partial_success``, which the generated code lacks.

    That has the number of rejected spans in field 1 and why in field 2.
    """
    if not decoded.rejected:
        return b""
    partial = b"\x08" + _varint(decoded.rejected) + _field(2, decoded.reason.encode())
    return _field(1, partial)


def json_answer(decoded: Decoded) -> dict[str, Any]:
    """The same in JSON, where 64 bits are text."""
    if not decoded.rejected:
        return {}
    told = {"rejectedSpans": str(decoded.rejected), "errorMessage": decoded.reason}
    return {"partialSuccess": told}


def _field(number: int, content: bytes) -> bytes:
    """One with a length before it."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _adapt(data: Any) -> None:
    """To the generated code's names, and ids to base64; in place.

    What is not as it should be is left for the parser to complain of.
    """
    for resource in _lists(data, "resourceSpans", "resource_spans"):
        for name in ("scopeSpans", "scope_spans"):
            if isinstance(resource, dict) and name in resource:
                resource["instrumentationLibrarySpans"] = resource.pop(name)
        for scope in _lists(resource, "instrumentationLibrarySpans"):
            for span in _lists(scope, "spans"):
                for part in (span, *_lists(span, "links")):
                    for name in _IDS:
                        if isinstance(part, dict) and isinstance(part.get(name), str):
                            part[name] = base64.b64encode(bytes.fromhex(part[name])).decode()


def _lists(data: Any, *names: str) -> list[Any]:
    if not isinstance(data, dict):
        return []
    found = [data[name] for name in names if isinstance(data.get(name), list)]
    return [one for several in found for one in several]
