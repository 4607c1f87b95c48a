"""Zipkin v2: https://zipkin.io/zipkin-api/#/default/post_spans"""

import json
from typing import Any

import pytest

from argosy.mixer.traces import zipkin
from argosy.mixer.traces.decoded import MalformedError
from argosy.mixer.traces.span import SpanKind

SPAN: dict[str, Any] = {
    "traceId": "5af7183fb1d4cf5f",
    "parentId": "6b221d5bc9e6496c",
    "id": "352bff9a74ca9ad2",
    "kind": "CLIENT",
    "name": "get /api",
    "timestamp": 1556604172355737,
    "duration": 1431,
    "localEndpoint": {"serviceName": "backend", "ipv4": "192.168.99.1", "port": 3306},
    "remoteEndpoint": {"serviceName": "db"},
    "annotations": [{"timestamp": 1556604172355800, "value": "ws"}],
    "tags": {"http.method": "GET", "http.url": "http://db/api?x=1"},
}


def test_a_span() -> None:
    (span,) = zipkin.decode(json.dumps([SPAN]).encode()).spans
    assert span.trace_id == "0" * 16 + "5af7183fb1d4cf5f"
    assert (span.span_id, span.parent_id) == ("352bff9a74ca9ad2", "6b221d5bc9e6496c")
    assert (span.service, span.kind, span.name) == ("backend", SpanKind.CLIENT, "get /api")
    assert (span.start, span.duration) == (1556604172355737000, 1431000)
    assert span.operation == "GET /api"
    assert (span.error, span.shared) == (False, False)
    assert span.events[0].name == "ws"


def test_the_tag_error_is_an_error_whatever_it_says() -> None:
    told = {**SPAN, "tags": {"error": "connection refused"}}
    silent = {**SPAN, "tags": {"error": "true"}}
    first, second = zipkin.decode(json.dumps([told, silent]).encode()).spans
    assert (first.error, first.message) == (True, "connection refused")
    assert (second.error, second.message) == (True, "")


def test_bad_spans_are_rejected_and_the_rest_is_kept() -> None:
    late = {**SPAN, "annotations": [{"timestamp": 2**64, "value": "of no calendar"}]}
    bad = [{"id": 1}, {**SPAN, "id": "xyz"}, {**SPAN, "timestamp": -1}, {**SPAN, "duration": 2**63}]
    found = zipkin.decode(json.dumps([SPAN, *bad, late]).encode())
    assert (len(found.spans), found.rejected) == (1, 5)
    assert found.reason


@pytest.mark.parametrize("body", [b"", b"{}", b"[", b"<spans/>"])
def test_what_is_no_list(body: bytes) -> None:
    with pytest.raises(MalformedError, match="no list of Zipkin spans"):
        zipkin.decode(body)
