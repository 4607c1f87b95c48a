"""Answers that take long, worked out once for all who ask the same within a second."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

SECONDS = 1.0
"""How long an answer is good for others. Proxies tell every two."""

AT_ONCE = 2
"""How many are worked out at a time, each on a thread: others need threads too."""

_T = TypeVar("_T")


class Shared(Generic[_T]):
    """``work_out`` answers a question, which is a number; ``monotonic`` is in seconds."""

    def __init__(
        self, work_out: Callable[[float], Awaitable[_T]], monotonic: Callable[[], float]
    ) -> None:
        self._work_out = work_out
        self._monotonic = monotonic
        self._free = asyncio.Semaphore(AT_ONCE)
        self._found: dict[float, tuple[float, _T]] = {}
        self._running: dict[float, asyncio.Event] = {}

    async def get(self, question: float) -> _T:
        while True:
            now = self._monotonic()
            self._found = {q: one for q, one in self._found.items() if now - one[0] < SECONDS}
            if question in self._found:
                return self._found[question][1]
            running = self._running.get(question)
            if running is None:
                return await self._one(question)
            await running.wait()

    async def _one(self, question: float) -> _T:
        done = self._running[question] = asyncio.Event()
        try:
            async with self._free:
                found = await self._work_out(question)
                self._found[question] = self._monotonic(), found
                return found
        finally:
            del self._running[question]
            done.set()
