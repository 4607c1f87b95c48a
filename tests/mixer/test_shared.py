"""One answer for all who ask the same within a second."""

import asyncio

import pytest

from argosy.mixer.graph.shared import AT_ONCE, SECONDS, Shared


class Slow:
    """Answers with how often it was asked, when it is let."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked: list[float] = []
        self.may = asyncio.Event()
        self.shared = Shared(self._work_out, lambda: self.now)

    async def _work_out(self, question: float) -> int:
        self.asked.append(question)
        await self.may.wait()
        return len(self.asked)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_asks_the_same_gets_the_same() -> None:
    slow = Slow()
    async with asyncio.TaskGroup() as tasks:
        first = [tasks.create_task(slow.shared.get(60.0)) for _ in range(100)]
        await settle()
        slow.may.set()
    assert {task.result() for task in first} == {1}
    assert await slow.shared.get(60.0) == 1
    slow.now += SECONDS
    assert await slow.shared.get(60.0) == 2
    assert await slow.shared.get(30.0) == 3
    assert slow.asked == [60.0, 60.0, 30.0]


async def test_only_some_are_worked_out_at_a_time() -> None:
    slow = Slow()
    async with asyncio.TaskGroup() as tasks:
        for question in range(10):
            tasks.create_task(slow.shared.get(float(question)))
        await settle()
        assert len(slow.asked) == AT_ONCE
        slow.may.set()
    assert len(slow.asked) == 10


async def test_who_waits_for_one_that_is_gone_asks_itself() -> None:
    slow = Slow()
    async with asyncio.TaskGroup() as tasks:
        gone = tasks.create_task(slow.shared.get(60.0))
        await settle()
        waiting = tasks.create_task(slow.shared.get(60.0))
        await settle()
        gone.cancel()
        await settle()
        slow.may.set()
        with pytest.raises(asyncio.CancelledError):
            await gone
    assert waiting.result() == 2
