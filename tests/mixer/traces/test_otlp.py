"""OTLP: https://opentelemetry.io/docs/specs/otlp/ and its example of JSON."""

import json

import pytest
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from argosy.mixer.traces import otlp
from argosy.mixer.traces.decoded import Decoded, MalformedError
from argosy.mixer.traces.span import MAX_ATTRIBUTES, MAX_VALUE, SpanKind

EXAMPLE = {
    "resourceSpans": [
        {
            "resource": {
                "attributes": [
                    {"key": "service.name", "value": {"stringValue": "my.service"}},
                    {"key": "host.name", "value": {"stringValue": "unwanted"}},
                ]
            },
            "scopeSpans": [
                {
                    "scope": {"name": "my.library", "version": "1.0.0"},
                    "spans": [
                        {
                            "traceId": "5B8EFFF798038103D269B633813FC60C",
                            "spanId": "EEE19B7EC3C1B174",
                            "parentSpanId": "EEE19B7EC3C1B173",
                            "name": "I'm a server span",
                            "startTimeUnixNano": "1544712660000000000",
                            "endTimeUnixNano": "1544712661000000000",
                            "kind": 2,
                            "attributes": [
                                {"key": "text", "value": {"stringValue": "some value"}},
                                {"key": "number", "value": {"intValue": "50"}},
                                {"key": "yes", "value": {"boolValue": True}},
                                {
                                    "key": "list",
                                    "value": {"arrayValue": {"values": [{"stringValue": "a"}]}},
                                },
                            ],
                            "events": [{"timeUnixNano": "1544712660500000000", "name": "half"}],
                            "status": {"code": 2, "message": "it broke"},
                            "somethingNew": 1,
                        }
                    ],
                }
            ],
        }
    ]
}


def test_a_span_in_json() -> None:
    (span,) = otlp.decode_json(json.dumps(EXAMPLE).encode()).spans
    assert span.trace_id == "5b8efff798038103d269b633813fc60c"
    assert (span.span_id, span.parent_id) == ("eee19b7ec3c1b174", "eee19b7ec3c1b173")
    assert (span.service, span.name, span.kind) == (
        "my.service",
        "I'm a server span",
        SpanKind.SERVER,
    )
    assert (span.start, span.duration) == (1544712660000000000, 1000000000)
    assert (span.error, span.message) == (True, "it broke")
    assert dict(span.attributes) == {
        "service.name": "my.service",
        "text": "some value",
        "number": "50",
        "yes": "true",
        "list": '["a"]',
    }
    assert [(one.time, one.name) for one in span.events] == [(1544712660500000000, "half")]


def test_the_same_in_protobuf() -> None:
    """As today's libraries write it: field 2 of ResourceSpans is scope_spans."""
    in_json = otlp.decode_json(json.dumps(EXAMPLE).encode())
    request = trace_service_pb2.ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    attribute = resource_spans.resource.attributes.add(key="service.name")
    attribute.value.string_value = "my.service"
    written = resource_spans.instrumentation_library_spans.add().spans.add(
        trace_id=bytes.fromhex("5B8EFFF798038103D269B633813FC60C"),
        span_id=bytes.fromhex("EEE19B7EC3C1B174"),
        parent_span_id=bytes.fromhex("EEE19B7EC3C1B173"),
        name="I'm a server span",
        kind=2,
        start_time_unix_nano=1544712660000000000,
        end_time_unix_nano=1544712661000000000,
    )
    written.status.code = 2
    (span,) = otlp.decode(request.SerializeToString()).spans
    (expected,) = in_json.spans
    assert (span.trace_id, span.span_id, span.parent_id) == (
        expected.trace_id,
        expected.span_id,
        expected.parent_id,
    )
    assert (span.service, span.kind, span.error) == (expected.service, expected.kind, True)


@pytest.mark.parametrize(
    "body", [b"no protobuf", b"\xff", b"\x0a\x05\x0a"], ids=["text", "byte", "cut"]
)
def test_what_is_no_protobuf(body: bytes) -> None:
    with pytest.raises(MalformedError, match="no ExportTraceServiceRequest"):
        otlp.decode(body)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"resourceSpans": 3}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xyz"}]}]}]}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_json_of_spans(body: bytes) -> None:
    with pytest.raises(MalformedError):
        otlp.decode_json(body)


def test_spans_without_ids_are_rejected_and_counted() -> None:
    data = json.loads(json.dumps(EXAMPLE))
    spans = data["resourceSpans"][0]["scopeSpans"][0]["spans"]
    spans += [{**spans[0], "traceId": "0" * 32}, {**spans[0], "spanId": ""}]
    found = otlp.decode_json(json.dumps(data).encode())
    assert (len(found.spans), found.rejected) == (1, 2)
    assert "trace id" in found.reason
    assert otlp.json_answer(found)["partialSuccess"]["rejectedSpans"] == "2"


def test_the_answer_tells_what_was_rejected() -> None:
    assert otlp.answer(Decoded(())) == b""
    assert otlp.answer(Decoded((), 300, "bad")) == b"\n\x08\x08\xac\x02\x12\x03bad"


def test_a_span_is_bounded() -> None:
    data = json.loads(json.dumps(EXAMPLE))
    span = data["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    span["attributes"] = [
        {"key": f"k{i}", "value": {"stringValue": "x" * 100_000}} for i in range(500)
    ]
    span["name"] = "a\x1b[2Jb" + "n" * 10_000
    (found,) = otlp.decode_json(json.dumps(data).encode()).spans
    assert len(found.attributes) == MAX_ATTRIBUTES
    assert all(len(value) <= MAX_VALUE for _, value in found.attributes)
    assert len(found.name) == 256
    assert "\x1b" not in found.name


def test_deep_values_are_cut() -> None:
    value: dict[str, object] = {"stringValue": "deep"}
    for _ in range(30):
        value = {"arrayValue": {"values": [value]}}
    data = json.loads(json.dumps(EXAMPLE))
    data["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"] = [
        {"key": "k", "value": value}
    ]
    (found,) = otlp.decode_json(json.dumps(data).encode()).spans
    assert dict(found.attributes)["k"] == "[" * 8 + '"…"' + "]" * 8


def test_protobuf_raises_what_is_caught() -> None:
    with pytest.raises(DecodeError):
        trace_service_pb2.ExportTraceServiceRequest.FromString(b"\xff")
