"""Fetched keys as cells: when they come, fail, come back, and after a restart."""

import asyncio
import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from argosy.derive import ABSENT
from argosy.model.request_authn import KeySource
from argosy.pilot.compile.request_authn import KeysFailure
from argosy.pilot.graph.request_authn import FetchedKeys, FetchFailure, UnverifiableKeys
from argosy.server.jwks.reach import FetchError
from argosy.server.jwks.service import Keys
from argosy.testing.tokens import Issuer

A, B = KeySource("https://a/k"), KeySource("https://b", discovery=True)
WAIT = timedelta(seconds=5)
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
GOOD = Issuer("https://a").key_set()


@dataclass
class World:
    """An engine's cells, an issuer that answers as told, and time that a test moves."""

    file: Path
    wanted: dict[KeySource, timedelta] = field(default_factory=dict)
    answers: dict[KeySource, str] = field(default_factory=dict)
    cells: dict[Hashable, object] = field(default_factory=dict)
    asked: list[KeySource] = field(default_factory=list)
    seconds: float = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    async def fetch(self, source: KeySource, _wait: timedelta) -> str:
        self.asked.append(source)
        if source not in self.answers:
            raise FetchError("no route")
        return self.answers[source]

    def publish(self, cells: Mapping[Hashable, object]) -> None:
        for cell, value in cells.items():
            if value is ABSENT:
                self.cells.pop(cell, None)
            else:
                self.cells[cell] = value

    def keys(self) -> Keys:
        return Keys(
            wanted=lambda: self.wanted.items(),
            fetch=self.fetch,
            publish=self.publish,
            clock=self,
            file=self.file,
        )

    async def later(self, keys: Keys, seconds: float) -> None:
        """Time goes on; what is due then is done."""
        self.seconds += seconds
        keys.receive((), 0)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(keys.run())
            for _ in range(20):
                await asyncio.sleep(0)
            running.cancel()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "keys.json")


async def test_keys_come_and_go(world: World) -> None:
    keys = world.keys()
    keys.begin()
    assert list(world.cells) == [UnverifiableKeys()]
    world.wanted = {A: WAIT, B: WAIT}
    world.answers = {A: GOOD, B: GOOD}
    await world.later(keys, 1.0)
    assert sorted(world.asked) == [A, B]
    assert world.cells[FetchedKeys(A)] == world.cells[FetchedKeys(B)] == GOOD
    del world.wanted[A]
    await world.later(keys, 1.0)
    assert FetchedKeys(A) not in world.cells
    assert sorted(world.asked) == [A, B]


async def test_a_failure_is_told_and_takes_nothing_away(world: World) -> None:
    world.wanted = {A: WAIT}
    world.answers = {A: GOOD}
    keys = world.keys()
    keys.begin()
    await world.later(keys, 0.0)
    world.answers.clear()
    await world.later(keys, 1200.0)
    assert world.cells[FetchFailure(A)] == KeysFailure(
        "no route", "2026-01-02T03:24:05Z", "2026-01-02T03:24:06Z", kept=True
    )
    assert world.cells[FetchedKeys(A)] == GOOD
    await world.later(keys, 1.0)
    failure = world.cells[FetchFailure(A)]
    assert isinstance(failure, KeysFailure)
    assert (failure.since, failure.next_try) == ("2026-01-02T03:24:05Z", "2026-01-02T03:24:08Z")
    assert [source for source, _ in keys.failures] == [A]
    world.answers = {A: GOOD}
    await world.later(keys, 60.0)
    assert FetchFailure(A) not in world.cells
    assert keys.failures == ()


async def test_a_mistake_of_ours_is_a_failure_too(world: World) -> None:
    """It does not end the control plane."""
    world.wanted = {A: WAIT, B: WAIT}
    world.answers = {B: GOOD}
    keys = world.keys()
    keys.begin()
    failing = world.fetch

    async def broken(source: KeySource, wait: timedelta) -> str:
        if source == A:
            raise LookupError("oops")
        return await failing(source, wait)

    keys._fetch = broken
    await world.later(keys, 0.0)
    failure = world.cells[FetchFailure(A)]
    assert isinstance(failure, KeysFailure)
    assert "LookupError: oops" in failure.reason
    assert world.cells[FetchedKeys(B)] == GOOD


async def test_keys_too_old_are_taken_away(world: World) -> None:
    world.wanted = {A: WAIT}
    world.answers = {A: GOOD}
    keys = world.keys()
    keys.begin()
    await world.later(keys, 0.0)
    world.answers.clear()
    await world.later(keys, 8 * 86400.0)
    assert FetchedKeys(A) not in world.cells
    failure = world.cells[FetchFailure(A)]
    assert isinstance(failure, KeysFailure)
    assert not failure.kept


async def test_a_process_after_it_has_its_keys(world: World) -> None:
    world.wanted = {A: WAIT, B: WAIT}
    world.answers = {A: GOOD}
    before = world.keys()
    before.begin()
    await world.later(before, 0.0)
    assert world.file.stat().st_mode & 0o777 == 0o600
    unverifiable = world.cells.pop(UnverifiableKeys())

    world.cells.clear()
    world.answers.clear()
    after = world.keys()
    after.begin()
    assert world.cells[FetchedKeys(A)] == GOOD
    assert FetchedKeys(B) not in world.cells
    assert world.cells[UnverifiableKeys()] != unverifiable, "never a constant (CVE-2026-31837)"
    await world.later(after, 60.0)
    failure = world.cells[FetchFailure(A)]
    assert isinstance(failure, KeysFailure)
    assert failure.kept


@pytest.mark.parametrize(
    "content", [b"", b"{", b'[{"url": 1}]', b'[{"url":"https://a/k","discovery":false,"keys":"{}","fetched":1}]']
)  # fmt: skip
async def test_a_damaged_file_is_as_none(world: World, content: bytes) -> None:
    world.file.write_bytes(content)
    world.wanted = {A: WAIT}
    keys = world.keys()
    keys.begin()
    assert FetchedKeys(A) not in world.cells


async def test_who_waits_for_first_answers(world: World) -> None:
    world.wanted = {A: WAIT}
    keys = world.keys()
    keys.begin()
    async with asyncio.timeout(10):
        await keys.settled(0.01)  # the time is over first
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(keys.run())
            await keys.settled(10)
            running.cancel()
    assert FetchFailure(A) in world.cells


def test_the_unverifiable_key_is_one_that_envoy_takes(world: World) -> None:
    world.keys().begin()
    (key,) = json.loads(str(world.cells[UnverifiableKeys()]))["keys"]
    assert (key["kty"], key["crv"]) == ("EC", "P-256")
    assert "d" not in key
