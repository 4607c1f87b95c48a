"""Who makes spans, of how many traces, and under which name."""

from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import (
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
)
from opentelemetry.trace import Link, SpanKind, Tracer, TraceState
from opentelemetry.util.types import Attributes

from argosy.base.clock import Clock
from argosy.xds.limits import TokenBucket

SERVICE = "istiod.istio-system"
"""As a proxy's spans are of ``app.namespace``."""

RATE, BURST = 1.0, 100.0
"""New traces a second, and at once: a mesh that starts tells of each of its first pods."""


class Bounded(Sampler):
    """Every trace, as long as they are no more than so many."""

    def __init__(self, clock: Clock, rate: float = RATE, burst: float = BURST) -> None:
        self._clock = clock
        self._bucket = TokenBucket(rate, burst, clock.monotonic())

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        if not self._bucket.take(self._clock.monotonic()):
            return SamplingResult(Decision.DROP)
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)

    def get_description(self) -> str:
        return "Bounded"


def tracer(ended: SpanProcessor, clock: Clock, version: str) -> Tracer:
    """``ended`` gets each span when it is over. A caller's ``traceparent`` is bounded likewise."""
    bounded = Bounded(clock)
    provider = TracerProvider(
        sampler=ParentBased(bounded, remote_parent_sampled=bounded),
        resource=Resource.create({"service.name": SERVICE, "service.version": version}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(ended)
    return provider.get_tracer("argosy", version)
