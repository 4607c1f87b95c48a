"""Traces as the API tells them: JSON values. Times are in µs, starts since 1970."""

from datetime import UTC, datetime
from typing import Any

from argosy.mixer.traces.span import Span
from argosy.mixer.traces.store import Counts, Summary
from argosy.mixer.traces.tree import Placed, arranged

Json = dict[str, Any]


def summary(one: Summary) -> Json:
    return {
        "traceId": one.trace_id,
        "start": _time(one.start),
        "startMicros": one.start // 1000,
        "durationMicros": one.duration / 1000,
        "service": one.service,
        "operation": one.operation,
        "status": one.status,
        "spans": one.spans,
        "errors": one.errors,
        "missingSpans": one.missing,
        "services": list(one.services),
    }


def trace(one: Summary, spans: tuple[Span, ...]) -> Json:
    """The spans as a tree, each before those that it caused."""
    return {**summary(one), "tree": [_placed(placed) for placed in arranged(spans)]}


def counts(one: Counts) -> Json:
    return {
        "traces": one.traces,
        "spans": one.spans,
        "bytes": one.bytes,
        "received": one.received,
        "ofControlPlane": one.own,
        "rejected": one.rejected,
        "evictedTraces": one.evicted,
        "overlongSpans": one.overlong,
    }


def _placed(placed: Placed) -> Json:
    span = placed.span
    return {
        "depth": placed.depth,
        "orphan": placed.orphan,
        "spanId": span.span_id,
        "parentId": span.parent_id,
        "kind": span.kind.value,
        "service": span.service,
        "name": span.name,
        "operation": span.operation,
        "status": span.status,
        "error": span.error,
        "message": span.message,
        "start": _time(span.start),
        "startMicros": span.start / 1000,
        "durationMicros": span.duration / 1000,
        "ownMicros": placed.own / 1000,
        "reporter": span.reporter,
        "claimed": span.claimed,
        "attributes": dict(span.attributes),
        "events": [{"time": _time(one.time), "name": one.name} for one in span.events],
    }


def _time(ns: int) -> str:
    """RFC 3339, or nothing when it is beyond the year 9999."""
    try:
        return datetime.fromtimestamp(ns / 1e9, UTC).isoformat(timespec="microseconds")
    except (ValueError, OverflowError, OSError):
        return ""
