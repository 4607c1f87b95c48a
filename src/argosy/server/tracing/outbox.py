"""Spans that are over, on their way to Mixer: a bounded queue that nothing waits for."""

import asyncio
from collections import deque
from itertools import islice

import structlog
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from argosy.server.http.services import BrokenOffError, MixerLink, MixerQuestion, RefusedError
from argosy.server.tracing.otlp import encode

MAX_SPANS = 2048
"""How many wait; the oldest give way."""

BATCH = 256
PATH = "/v1/traces"
_GATHER_SECONDS = 0.2
_RETRY_SECONDS = 1.0
_ANSWER_SECONDS = 5.0
log = structlog.get_logger()


class Outbox(SpanProcessor):
    """Belongs to the event loop: spans of the control plane end there."""

    def __init__(self, link: MixerLink) -> None:
        self._link = link
        self._spans: deque[ReadableSpan] = deque(maxlen=MAX_SPANS)
        self._woken = asyncio.Event()

    def on_end(self, span: ReadableSpan) -> None:
        context = span.context
        if context is not None and context.trace_flags.sampled:
            self._spans.append(span)
            self._woken.set()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._spans)

    async def run(self) -> None:
        """Until cancelled. A Mixer that is away is asked again, for as long as spans are kept."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._spans:
                await asyncio.sleep(_GATHER_SECONDS)
                batch = tuple(islice(self._spans, BATCH))
                if not await self._sent(encode(batch)):
                    await asyncio.sleep(_RETRY_SECONDS)
                    continue
                gone = set(map(id, batch))
                while self._spans and id(self._spans[0]) in gone:  # others gave way meanwhile
                    self._spans.popleft()

    async def _sent(self, body: bytes) -> bool:
        """Whether it need not be sent again: it was taken, or never will be."""
        question = MixerQuestion("POST", PATH, {"content-type": "application/x-protobuf"}, body)
        try:
            async with self._link.ask(question, seconds=_ANSWER_SECONDS) as answer:
                if answer.status != 200:
                    log.warning("spans.refused", status=answer.status)
                return answer.status < 500
        except (RefusedError, BrokenOffError):
            return False
