"""The last traces, in memory: bounded by spans and by bytes; the oldest go first, each as a whole.

A trace is as old as its first span. Spans are kept encoded. Nothing here does I/O.
"""

import heapq
import sys
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from argosy.mixer.traces.reporter import CONTROL_PLANE
from argosy.mixer.traces.span import REQUEST_ID, Span

MIN_PREFIX = 4
"""So many digits of a trace's id name it at least."""

_SPAN_COST = 500
_TRACE_COST = 1500
"""What containers, keys and the summary take, in bytes: measured, so that the bound is a real one."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Span)


@dataclass(frozen=True, slots=True)
class Limits:
    """``trace_spans`` bounds one trace: what it has more is counted and not kept."""

    spans: int = 100_000
    bytes: int = 48 * 1024 * 1024
    trace_spans: int = 2_000


@dataclass(frozen=True, slots=True)
class Query:
    """``min_duration`` is in ns. ``service`` is a whole name, or one up to its first dot.

    ``slow``: the longest first, else the last first. ``control_plane``: those in which the control
    plane had a part, else those that are more than its own work, unless a service is named.
    """

    limit: int = 10
    slow: bool = False
    errors: bool = False
    control_plane: bool = False
    service: str = ""
    min_duration: int = 0


@dataclass(slots=True)
class Summary:
    """What a list shows of a trace. Times are in ns.

    ``service``, ``operation`` and ``status`` are of the span that has no parent, or of the first
    that there is. ``services`` are sorted. ``missing``: how many spans were over the limit. ``own`` are the control
    plane's.
    """

    trace_id: str
    start: int
    end: int
    service: str = ""
    operation: str = ""
    status: str = ""
    spans: int = 0
    errors: int = 0
    missing: int = 0
    own: int = 0
    services: tuple[str, ...] = ()

    @property
    def duration(self) -> int:
        return self.end - self.start


@dataclass(slots=True)
class Counts:
    """Since the process began, but for ``traces``, ``spans`` and ``bytes``, which are kept now.

    Of the ``received`` spans, ``own`` are the control plane's. ``evicted`` traces gave way to newer ones. ``overlong`` spans belonged to traces that are full.
    """

    traces: int = 0
    spans: int = 0
    bytes: int = 0
    received: int = 0
    own: int = 0
    rejected: int = 0
    evicted: int = 0
    overlong: int = 0


class _Trace:
    __slots__ = ("bytes", "rank", "request_id", "spans", "summary")

    def __init__(self, summary: Summary) -> None:
        self.summary = summary
        self.spans: dict[str, bytes] = {}
        self.bytes = _TRACE_COST
        self.request_id = ""
        self.rank: tuple[bool, int, int] | None = None


class AmbiguousError(LookupError):
    """Several traces begin with what was given."""


class TraceStore:
    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._traces: OrderedDict[str, _Trace] = OrderedDict()
        self._by_request: dict[str, str] = {}
        self.counts = Counts()

    def add(self, spans: Iterable[Span]) -> None:
        for span in spans:
            self._add(span)

    def find(self, name: str) -> tuple[Summary, tuple[Span, ...]] | None:
        """By the trace's id, the beginning of it, or the ``x-request-id`` of a request of it.

        Raises ``AmbiguousError``.
        """
        trace = self._traces.get(self._by_request.get(name, "")) or self._traces.get(
            name.lower().rjust(32, "0")
        )
        if trace is None and len(name) >= MIN_PREFIX:
            found = [one for key, one in self._traces.items() if _begins(key, name.lower())]
            if len(found) > 1:
                raise AmbiguousError(f"{len(found)} traces begin with {name}")
            trace = found[0] if found else None
        if trace is None:
            return None
        spans = (_decoder.decode(one) for one in trace.spans.values())
        return trace.summary, tuple(sorted(spans, key=lambda one: (one.start, -one.end, one.key)))

    def search(self, query: Query) -> list[Summary]:
        found = self._matching(query)
        if query.slow:
            return heapq.nlargest(query.limit, found, key=lambda one: one.duration)
        return heapq.nlargest(query.limit, found, key=lambda one: one.start)

    def _matching(self, query: Query) -> Iterator[Summary]:
        for trace in self._traces.values():
            one = trace.summary
            if query.errors and not one.errors:
                continue
            if one.duration < query.min_duration:
                continue
            if query.control_plane and not one.own:
                continue
            if not query.control_plane and one.own == one.spans and not query.service:
                continue
            if query.service and not any(_is(name, query.service) for name in one.services):
                continue
            yield one

    def _add(self, span: Span) -> None:
        own = span.reporter == CONTROL_PLANE
        self.counts.received += 1
        self.counts.own += own
        trace = self._traces.get(span.trace_id)
        if trace is None:
            trace = _Trace(Summary(span.trace_id, span.start, span.end))
            self._traces[span.trace_id] = trace
            self.counts.traces += 1
            self.counts.bytes += trace.bytes
        if span.key in trace.spans:  # sent again, since no answer had come
            return
        if len(trace.spans) >= self._limits.trace_spans:
            trace.summary.missing += 1
            self.counts.overlong += 1
            return
        encoded = _encoder.encode(span)
        trace.spans[span.key] = encoded
        self._grow(trace, len(encoded) + _SPAN_COST)
        self._summarise(trace, span, own=own)
        self._evict()

    def _grow(self, trace: _Trace, size: int) -> None:
        trace.bytes += size
        self.counts.bytes += size
        self.counts.spans += 1

    def _summarise(self, trace: _Trace, span: Span, *, own: bool) -> None:
        summary = trace.summary
        summary.spans += 1
        summary.errors += span.error
        summary.own += own
        summary.start = min(summary.start, span.start)
        summary.end = max(summary.end, span.end)
        service = sys.intern(span.service)
        if service not in summary.services:
            summary.services = tuple(sorted((*summary.services, service)))
        rank = _rank(span)
        if trace.rank is None or rank < trace.rank:
            trace.rank = rank
            summary.service, summary.operation = service, span.operation
            summary.status = span.status
        request_id = span.attribute(REQUEST_ID)
        if request_id and not trace.request_id:
            trace.request_id = request_id
            self._by_request[request_id] = span.trace_id

    def _evict(self) -> None:
        """The newest stays, however large."""
        limits, counts = self._limits, self.counts
        while len(self._traces) > 1 and (
            counts.spans > limits.spans or counts.bytes > limits.bytes
        ):
            trace_id, trace = self._traces.popitem(last=False)
            counts.traces -= 1
            counts.spans -= len(trace.spans)
            counts.bytes -= trace.bytes
            counts.evicted += 1
            if self._by_request.get(trace.request_id) == trace_id:
                del self._by_request[trace.request_id]


def _rank(span: Span) -> tuple[bool, int, int]:
    return bool(span.parent_id), span.start, -span.duration


def _is(service: str, wanted: str) -> bool:
    return service == wanted or service.partition(".")[0] == wanted


def _begins(trace_id: str, prefix: str) -> bool:
    """Ids of 64 bits are written without the zeros before them."""
    return trace_id.startswith(prefix) or trace_id.lstrip("0").startswith(prefix)
