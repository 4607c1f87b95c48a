"""What Mixer holds of a million spans: the process of ``bench.mixer``, fed by gRPC over mutual TLS."""

import asyncio
import secrets
from typing import Any

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from bench import machine, mixer
from bench.process_facts import usage

_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_OF_A_TRACE = 8
_TRACES_AT_ONCE = 25
_FULL = 100_000
"""As many as Mixer keeps, if they are small."""

Json = dict[str, Any]


def measure(spans: int) -> Json:
    """Memory of the process, and its processor time for a thousand spans."""
    with mixer.serving(1) as (pid, facts):
        return asyncio.run(_feed(pid, facts, spans))


async def _feed(pid: int, facts: Json, spans: int) -> Json:
    at_once = _OF_A_TRACE * _TRACES_AT_ONCE
    async with mixer.dial(facts, 0) as channel:
        export = channel.unary_unary(_EXPORT)
        idle = first = usage(pid)
        for sent in range(0, spans, at_once):
            if sent == _FULL:
                first = usage(pid)
            await export(_traces(), timeout=60)
        end = usage(pid)
    return {
        "machine": machine.facts(),
        "spans": spans,
        "milliseconds_per_thousand": 1e6 * (end.cpu - idle.cpu) / spans,
        "bytes": {"idle": idle.rss, "first": first.rss, "end": end.rss},
    }


def _traces() -> bytes:
    """Traces of a call through four sidecars, with the tags that a proxy writes."""
    request = trace_service_pb2.ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "s0.shop"
    found = resource.instrumentation_library_spans.add().spans
    for _ in range(_TRACES_AT_ONCE):
        trace, above = secrets.token_bytes(16), b""
        for place in range(_OF_A_TRACE):
            own = secrets.token_bytes(8)
            span = found.add(
                trace_id=trace,
                span_id=own,
                parent_span_id=above,
                name=f"s{place}.shop.svc.cluster.local:8080/*",
                kind=2 + place % 2,
                start_time_unix_nano=1_800_000_000_000_000_000 + place * 1_000_000,
                end_time_unix_nano=1_800_000_000_050_000_000 - place * 1_000_000,
            )
            for key, value in _TAGS.items():
                span.attributes.add(key=key).value.string_value = value
            above = own
    return request.SerializeToString()


_TAGS = {
    "component": "proxy",
    "node_id": "sidecar~10.244.0.7~s0-7d4f9c6b5-x2x9q.shop~shop.svc.cluster.local",
    "guid:x-request-id": "0f8e1c9a-8a53-9c6d-b2b9-2f1f6f3f7a11",
    "http.url": "http://s0.shop:8080/products/17?detail=full",
    "http.method": "GET",
    "downstream_cluster": "-",
    "user_agent": "curl/8.11.1",
    "http.protocol": "HTTP/1.1",
    "peer.address": "10.244.0.9",
    "request_size": "0",
    "response_size": "1024",
    "upstream_cluster": "outbound|8080||s1.shop.svc.cluster.local;",
    "upstream_cluster.name": "outbound|8080||s1.shop.svc.cluster.local;",
    "http.status_code": "200",
    "response_flags": "-",
    "istio.mesh_id": "cluster.local",
    "istio.canonical_service": "s0",
    "istio.canonical_revision": "v1",
    "istio.namespace": "shop",
}
"""What Envoy and Istio's configuration write in each span."""
