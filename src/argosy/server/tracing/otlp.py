"""Spans as an OTLP export request.

https://opentelemetry.io/docs/specs/otlp/ The SDK's own exporters bring the same generated code as
``xds-protos`` in the same place, in another release: one would overwrite the other. The one that is
there is older and equal on the wire (``instrumentation_library_spans`` is ``scope_spans`` today).
"""

from collections.abc import Mapping, Sequence

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

_KINDS = {
    SpanKind.INTERNAL: trace_pb2.Span.SPAN_KIND_INTERNAL,
    SpanKind.SERVER: trace_pb2.Span.SPAN_KIND_SERVER,
}
_STATUS = {
    StatusCode.UNSET: trace_pb2.Status.STATUS_CODE_UNSET,
    StatusCode.OK: trace_pb2.Status.STATUS_CODE_OK,
    StatusCode.ERROR: trace_pb2.Status.STATUS_CODE_ERROR,
}


def encode(spans: Sequence[ReadableSpan]) -> bytes:
    """``spans`` are of one resource, and at least one."""
    request = trace_service_pb2.ExportTraceServiceRequest()
    of_resource = request.resource_spans.add()
    _attributes(of_resource.resource.attributes, spans[0].resource.attributes)
    scope = of_resource.instrumentation_library_spans.add()
    for span in spans:
        _span(scope.spans.add(), span)
    return bytes(request.SerializeToString())


def _span(proto: trace_pb2.Span, span: ReadableSpan) -> None:
    context = span.context
    assert context is not None
    assert span.start_time is not None
    assert span.end_time is not None
    proto.trace_id = context.trace_id.to_bytes(16, "big")
    proto.span_id = context.span_id.to_bytes(8, "big")
    if span.parent is not None:
        proto.parent_span_id = span.parent.span_id.to_bytes(8, "big")
    proto.name = span.name
    proto.kind = _KINDS[span.kind]
    proto.start_time_unix_nano = span.start_time
    proto.end_time_unix_nano = span.end_time
    _attributes(proto.attributes, span.attributes or {})
    proto.status.code = _STATUS[span.status.status_code]
    proto.status.message = _text(span.status.description or "")


def _attributes(protos: Sequence[common_pb2.KeyValue], found: Mapping[str, object]) -> None:
    """Numbers, truths and texts, which is all that the control plane says."""
    for name, value in found.items():
        proto = protos.add(key=name)  # type: ignore[attr-defined]  # a repeated field
        if isinstance(value, bool):
            proto.value.bool_value = value
        elif isinstance(value, int):
            proto.value.int_value = value
        elif isinstance(value, float):
            proto.value.double_value = value
        else:
            proto.value.string_value = _text(str(value))


def _text(text: str) -> str:
    """Protobuf's strings are UTF-8; what a caller sent may be anything."""
    return text.encode(errors="replace").decode()
