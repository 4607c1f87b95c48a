"""Spans for tests, by small numbers."""

from argosy.mixer.traces.span import Span, SpanKind, attributes

MS = 1_000_000
START = 1_764_514_800_000_000_000


def span(
    number: int,
    parent: int = 0,
    *,
    trace: int = 1,
    service: str = "reviews.default",
    kind: SpanKind = SpanKind.SERVER,
    start: float = 0.0,
    ms: float = 1.0,
    error: bool = False,
    shared: bool = False,
    claimed: bool = False,
    **tags: str,
) -> Span:
    """``start`` and ``ms`` are in ms, ``start`` after ``START``."""
    return Span(
        trace_id=f"{trace:032x}",
        span_id=f"{number:016x}",
        parent_id=f"{parent:016x}" if parent else "",
        name=f"span {number}",
        service=service,
        kind=kind,
        start=START + int(start * MS),
        duration=int(ms * MS),
        error=error,
        shared=shared,
        claimed=claimed,
        attributes=attributes(tags.items()),
    )
