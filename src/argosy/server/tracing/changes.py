"""One trace for each change of the configuration: what it was, what was computed, who took it.

A change has one span, below it one for the computing, one for each type of resources in that, and
one for each type that was sent. How many proxies there are changes nothing in their number. A change
that no request caused and that concerns no proxy is no trace.
"""

import asyncio
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from opentelemetry import trace
from opentelemetry.trace import Span, StatusCode, Tracer

from argosy import xds
from argosy.base.clock import Clock
from argosy.derive import Formula
from argosy.model.span_tags import ABOUT
from argosy.pilot.graph import layers as graph
from argosy.store.transaction import Event
from argosy.xds.distribution import Traffic
from argosy.xds.type_urls import rank, short_name

PATIENCE_SECONDS = 60.0
"""After so long, the trace is closed over proxies that have not answered."""

MAX_OPEN = 256
_LOOK_SECONDS = 5.0
_NAMED = 5
_MAX_TEXT = 500
_OF_A_TYPE = (graph.layer_resource, graph.layer_names)

Attributes = Mapping[str, str | int | float]


@dataclass(slots=True)
class Computed:
    """What was computed of one type. ``began`` and ``ended`` are monotonic; ``busy`` is in seconds."""

    began: float
    ended: float = 0.0
    busy: float = 0.0
    resources: int = 0
    layers: set[Hashable] = field(default_factory=set)
    slowest: str = ""
    slowest_seconds: float = 0.0


class Change:
    """One under way. ``offset`` makes seconds since 1970 of monotonic ones."""

    def __init__(self, clock: Clock, about: str, parent: Span) -> None:
        self._clock = clock
        self.about = about
        self.parent = parent
        self.began = self._last = clock.monotonic()
        self.offset = clock.now().timestamp() - self.began
        self.computed: dict[str, Computed] = {}
        self.nodes = 0
        self.derived = 0.0

    def refreshed(self, formula: Formula[..., object], args: tuple[Hashable, ...]) -> None:
        """``derive.Refreshed``."""
        now = self._clock.monotonic()
        seconds, began, self._last = now - self._last, self._last, now
        self.nodes += 1
        if formula not in _OF_A_TYPE:
            return
        layer, type_url, *_ = args
        assert isinstance(type_url, str)
        found = self.computed.get(type_url)
        if found is None:
            found = self.computed[type_url] = Computed(began)
        found.ended = now
        found.busy += seconds
        found.resources += formula is graph.layer_resource
        found.layers.add(layer)
        if seconds > found.slowest_seconds:
            found.slowest_seconds = seconds
            found.slowest = str(args[2]) if formula is graph.layer_resource else "names"

    def computed_all(self) -> None:
        """The engine is done."""
        self.derived = self._clock.monotonic()


class ChangeTraces:
    """Follows changes until every proxy that they concern has answered."""

    def __init__(self, tracer: Tracer, clock: Clock) -> None:
        self._tracer = tracer
        self._clock = clock
        self._open: dict[int, tuple[Change, xds.Publication]] = {}

    def begin(self, about: str) -> Change:
        """Its parent is the request that is being answered, if one is."""
        parent = trace.get_current_span()
        if parent.is_recording():
            parent.set_attribute(ABOUT, about)
        elif parent.get_span_context().trace_flags.sampled:  # answered: a task has outlived it
            parent = trace.INVALID_SPAN
        return Change(self._clock, about, parent)

    def published(self, change: Change, publication: xds.Publication) -> None:
        if not publication.waiting:
            self._finish(change, publication)
        elif len(self._open) < MAX_OPEN:
            self._open[id(publication)] = (change, publication)

    def completed(self, publication: xds.Publication) -> None:
        """Every client that it concerned has answered, or left."""
        found = self._open.pop(id(publication), None)
        if found is not None:
            self._finish(*found)

    async def run(self) -> None:
        """Close traces over proxies that do not answer, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self.expire()

    def expire(self) -> None:
        before = self._clock.monotonic() - PATIENCE_SECONDS
        for key, found in list(self._open.items()):
            if found[0].began < before:
                del self._open[key]
                self._finish(*found)

    def _finish(self, change: Change, publication: xds.Publication) -> None:
        caused = change.parent.get_span_context().is_valid
        if not caused and not publication.waiting and not publication.settled:
            return
        end = self._clock.monotonic() if publication.waiting else publication.last
        facts = {ABOUT: change.about + _to(publication), **_distribution(publication)}
        span = self._span(change, change.parent, "change", change.began, facts)
        if not span.is_recording():
            return
        self._computing(change, span)
        for type_url, traffic in sorted(publication.traffic.items(), key=_order):
            self._sending(change, span, type_url, traffic)
        why = _failure(publication)
        if why:
            span.set_status(StatusCode.ERROR, why)
        span.end(_ns(change, max(end, change.derived)))

    def _computing(self, change: Change, above: Span) -> None:
        facts = {"argosy.recomputed": change.nodes}
        span = self._span(change, above, "derive", change.began, facts)
        for type_url, found in sorted(change.computed.items(), key=_order):
            below = self._span(
                change,
                span,
                f"translate {short_name(type_url)}",
                found.began,
                {
                    ABOUT: _number(found.resources, "resource"),
                    "argosy.resources": found.resources,
                    "argosy.scopes": len(found.layers),
                    "argosy.busy_ms": _ms(found.busy),
                    "argosy.slowest_resource": found.slowest,
                    "argosy.slowest_ms": _ms(found.slowest_seconds),
                },
            )
            below.end(_ns(change, found.ended))
        span.end(_ns(change, change.derived))

    def _sending(self, change: Change, above: Span, type_url: str, found: Traffic) -> None:
        facts: dict[str, str | int | float] = {
            ABOUT: f"{_number(found.responses, 'response')}, {_size(found.bytes)}",
            "argosy.responses": found.responses,
            "argosy.bytes": found.bytes,
            "argosy.answers": found.answers,
            "argosy.refused": found.refused,
        }
        if found.slowest:
            facts["argosy.slowest_proxy"] = found.slowest
            facts["argosy.slowest_ms"] = _ms(found.slowest_seconds)
        span = self._span(change, above, f"push {short_name(type_url)}", found.began, facts)
        if found.refused:
            span.set_status(StatusCode.ERROR, f"refused by {_number(found.refused, 'proxy')}")
        elif not found.answers:
            span.set_status(StatusCode.ERROR, "nobody has answered")
        span.end(_ns(change, found.ended or self._clock.monotonic()))

    def _span(
        self, change: Change, above: Span, name: str, began: float, facts: Attributes
    ) -> Span:
        context = trace.set_span_in_context(above)
        return self._tracer.start_span(
            name, context, attributes=facts, start_time=_ns(change, began)
        )


def about_events(events: Sequence[Event]) -> str:
    """``VirtualService default/echo``, ``... deleted``, ``... and 3 more``."""
    named = (f"{one.key}{'' if one.current is not None else ' deleted'}" for one in events)
    return _several(dict.fromkeys(named))


def about_cells(cells: Iterable[Hashable]) -> str:
    """Of cells that are no objects: what they are called in the engine."""
    return _several(dict.fromkeys(type(one).__name__ for one in cells))


def _order(of_type: tuple[str, object]) -> int:
    return rank(of_type[0])


def _several(found: Mapping[str, None]) -> str:
    first = next(iter(found), "nothing")
    return f"{first} and {len(found) - 1} more" if len(found) > 1 else first


def _distribution(found: xds.Publication) -> dict[str, str | int | float]:
    refused = sum(key in found.rejections for key in found.settled)
    facts: dict[str, str | int | float] = {
        "argosy.revision": found.revision,
        "argosy.proxies": len(found.waiting) + len(found.settled),
        "argosy.acknowledged": len(found.settled) - refused,
        "argosy.refused": refused,
    }
    if found.settled:
        facts["argosy.slowest_proxy"] = next(reversed(found.settled.values()))
        facts["argosy.slowest_ms"] = _ms(found.last - found.at)
    if found.waiting:
        facts["argosy.pending"] = _names(found)
    return facts


def _to(found: xds.Publication) -> str:
    return f" → {_number(len(found.waiting) + len(found.settled), 'proxy')}"


def _failure(found: xds.Publication) -> str:
    """Why the change is not with all proxies; empty when it is."""
    for several in found.rejections.values():
        for rejection in several:
            return f"{rejection.client_id}: {rejection.error}"[:_MAX_TEXT]
    if found.waiting:
        return f"no answer within {PATIENCE_SECONDS:.0f} s of {_names(found)}"
    return ""


def _names(found: xds.Publication) -> str:
    names = ", ".join(islice(found.waiting.values(), _NAMED))
    more = len(found.waiting) - _NAMED
    return f"{names} and {more} more" if more > 0 else names


def _number(count: int, what: str) -> str:
    plural = "proxies" if what == "proxy" else f"{what}s"
    return f"{count} {what if count == 1 else plural}"


def _size(number: int) -> str:
    return f"{number} B" if number < 10_000 else f"{number / 1000:.0f} kB"


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _ns(change: Change, monotonic: float) -> int:
    return int((monotonic + change.offset) * 1e9)
