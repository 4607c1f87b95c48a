"""What Mixer wants reaches the engine's cell, and goes when Mixer goes."""

import asyncio
from collections.abc import AsyncIterator, Hashable, Mapping
from contextlib import asynccontextmanager, suppress

import msgspec
import pytest

from argosy.model.records import ALL, NOTHING_WANTED, Wanted, Wish
from argosy.pilot.graph.records import RecordsWanted
from argosy.server.http.services import MixerAnswer, MixerQuestion, RefusedError
from argosy.server.records import MAX_WISHES, FollowedWishes, bounded


class Mixer:
    """``services.MixerLink``: gives its answers one after the other, then hangs."""

    def __init__(self, *answers: bytes | RefusedError) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []
        self.drained = asyncio.Event()

    @asynccontextmanager
    async def ask(
        self, question: MixerQuestion, *, seconds: float | None = None
    ) -> AsyncIterator[MixerAnswer]:
        assert seconds is not None
        self.asked.append(question.target)
        if not self._answers:
            self.drained.set()
            await asyncio.sleep(60)
        answer = self._answers.pop(0)
        if isinstance(answer, RefusedError):
            raise answer
        yield MixerAnswer(200, "application/json", _parts(answer))

    async def runs(self) -> bool:
        return True


async def _parts(content: bytes) -> AsyncIterator[bytes]:
    half = len(content) // 2
    yield content[:half]
    yield content[half:]


def document(version: str, wanted: Wanted) -> bytes:
    return msgspec.json.encode({"version": version, "wanted": wanted})


async def followed(
    mixer: Mixer, monkeypatch: pytest.MonkeyPatch
) -> list[Mapping[Hashable, object]]:
    """What was published until the answers were used up."""
    monkeypatch.setattr("argosy.server.records._RETRY_SECONDS", 0.0)
    published: list[Mapping[Hashable, object]] = []
    wishes = FollowedWishes(mixer, published.append)
    task = asyncio.get_running_loop().create_task(wishes.run())
    async with asyncio.timeout(10):
        await mixer.drained.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return published


async def test_a_wish_holds_until_mixer_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = Wanted((Wish("default", (("app", "web"),)),))
    mixer = Mixer(document("1", wanted), document("2", wanted), RefusedError(503, "gone"))
    published = await followed(mixer, monkeypatch)
    assert published == [
        {RecordsWanted(): wanted},
        {RecordsWanted(): NOTHING_WANTED},
    ]
    versions = [target.partition("version=")[2].partition("&")[0] for target in mixer.asked]
    assert versions == ["", "1", "2", ""]


async def test_nonsense_and_too_much_are_no_wishes(monkeypatch: pytest.MonkeyPatch) -> None:
    huge = b'{"version": "' + b"x" * (2 << 20) + b'"}'
    mixer = Mixer(b"nonsense", huge, b'{"version": "1", "wanted": {"wishes": 7}}')
    assert await followed(mixer, monkeypatch) == []


def test_wishes_are_bounded() -> None:
    many = tuple(Wish(str(number), (), 10 * ALL) for number in range(2 * MAX_WISHES))
    found = bounded(Wanted(many, -5))
    assert len(found.wishes) == MAX_WISHES
    assert {wish.share for wish in found.wishes} == {ALL}
    assert found.failures == 0
