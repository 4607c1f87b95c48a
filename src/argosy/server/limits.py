"""What Mixer must know to count shared limits: a formula's value, for whoever waits for its news."""

import asyncio
import contextlib
from collections.abc import Sequence

from argosy import derive
from argosy.api.shared_limits import LimitsDocument
from argosy.pilot.graph.rate_limits import limits_document
from argosy.store.transaction import Event


class SharedLimits:
    """``services.LimitsProvider``."""

    def __init__(self, engine: derive.Engine) -> None:
        self._engine = engine
        self._document = LimitsDocument()
        self._changed = asyncio.Condition()
        self._woken = asyncio.Event()

    def begin(self) -> None:
        """Once, when the objects are there."""
        self._engine.observe(limits_document)
        self._take()

    def receive(self, _events: Sequence[Event], _revision: int) -> None:
        """A subscriber of the store, after the engine."""
        self._take()

    def _take(self) -> None:
        """A formula that fails is our own mistake: what was told last goes on to hold."""
        found = self._engine.value(limits_document)
        if isinstance(found, derive.Failed) or found is self._document:
            return
        self._document = found
        self._woken.set()

    async def run(self) -> None:
        """Tell those who wait, until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            async with self._changed:
                self._changed.notify_all()

    async def document(self, version: str, seconds: float) -> LimitsDocument:
        """As it is; with ``version`` as soon as it is another, or after ``seconds``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: self._document.version != version)
        return self._document
