"""The graph between memory and its journal."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from argosy.base.names import TrustDomain
from argosy.citadel.identity import SpiffeId
from argosy.mixer import caller as calling
from argosy.mixer.caller import Caller
from argosy.mixer.control_plane import ControlPlane
from argosy.mixer.credentials import MixerCredentials
from argosy.mixer.graph.edges import EdgeFacts, EdgeKey, Reporter, Tally
from argosy.mixer.graph.graph import Moment
from argosy.mixer.graph.journal import Draft, GraphJournal
from argosy.mixer.graph.part import POINTS_AT_ONCE, UNSAVED_MINUTES, GraphPart
from argosy.mixer.parts import Ground
from argosy.testing.telemetry import LABELS, Export

NOON = datetime(2026, 1, 2, 12, 0, 30, tzinfo=UTC)
NOON_MINUTE = int(NOON.timestamp() // 60)
KEY = EdgeKey("shop", "web", "shop", "db", "db.shop", "http")


class Clock:
    def __init__(self) -> None:
        self.time = NOON

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return 0.0


class World:
    def __init__(self, directory: Path) -> None:
        self.clock = Clock()
        ground = Ground(
            directory,
            self.clock,
            cast(ControlPlane, None),
            cast(MixerCredentials, None),
            "127.0.0.1",
        )
        self.part = GraphPart(ground)

    def count(self, requests: int) -> None:
        now = self.clock.now().timestamp()
        tally = Tally(responses={"200;-;": requests})
        self.part.graph.add(KEY, EdgeFacts(), Reporter.SOURCE, tally, now)

    async def save(self) -> None:
        assert self.part._journal is not None
        await self.part._save(self.part._journal)

    async def told(self) -> int:
        """Requests of the last hour."""
        _, moment = await self.part.moment(3600)
        return sum(flow.told.requests for flow in moment.values())


class Journal:
    """Stands for one whose reading takes so long that the graph saves and forgets meanwhile."""

    def __init__(self, world: World) -> None:
        self._world = world

    def minutes(self, first: int, last: int) -> Iterator[tuple[int, Moment]]:
        self._world.part.graph.minutes.clear()
        yield from ()


class FullDisk:
    generation = 0

    def write(self, new: Draft, now_minute: int) -> None:
        raise sqlite3.OperationalError("database or disk is full")


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[World]:
    """One process of Mixer; it saves in the end."""
    world = World(directory)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(world.part.run())
        await world.part._loaded.wait()
        yield world
        task.cancel()


async def test_an_hour_is_what_the_journal_and_memory_have(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        world.count(1)
    async with running(tmp_path) as world:
        world.count(2)  # in the same minute
        assert await world.told() == 3
    async with running(tmp_path) as world:
        world.clock.time += timedelta(minutes=1)
        world.count(4)
        assert await world.told() == 7


async def test_what_is_saved_while_the_journal_is_read_is_not_missed(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.count(3)
    world.part._journal = cast(GraphJournal, Journal(world))
    assert await world.told() == 3


async def test_a_full_disk_does_not_fill_memory(tmp_path: Path) -> None:
    world = World(tmp_path)
    for _ in range(3 * UNSAVED_MINUTES):
        world.count(1)
        await world.part._save(cast(GraphJournal, FullDisk()))
        world.clock.time += timedelta(minutes=1)
    assert len(world.part.graph.minutes) == UNSAVED_MINUTES
    assert world.part.graph.dirty == world.part.graph.minutes.keys()


async def test_a_clock_that_is_set_back_costs_no_minute(tmp_path: Path) -> None:
    """The minute that is counted on has been written, and forgotten here."""
    async with running(tmp_path) as world:
        world.count(1)
        await world.save()
        world.clock.time += timedelta(minutes=2)
        await world.save()
        assert NOON_MINUTE not in world.part.graph.minutes
        world.clock.time -= timedelta(minutes=2)
        world.count(2)
        assert await world.told() == 3
        for _ in range(2):
            await world.save()
            assert await world.told() == 3
    async with running(tmp_path) as world:
        assert await world.told() == 3


class Unreadable:
    """Stands for one of which nothing can be read for some time, though it can be written."""

    generation = 0

    def __init__(self, journal: GraphJournal) -> None:
        self.write = journal.write

    def minutes(self, first: int, last: int) -> Iterator[tuple[int, Moment]]:
        raise sqlite3.OperationalError("disk I/O error")


async def test_a_minute_that_cannot_be_read_is_not_written_over(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        world.count(1)
    async with running(tmp_path) as world:
        world.count(2)
        assert world.part._journal is not None
        await world.part._save(cast(GraphJournal, Unreadable(world.part._journal)))
        assert await world.told() == 3
    async with running(tmp_path) as world:
        assert await world.told() == 3


async def test_a_file_that_is_damaged_under_way_costs_only_what_is_nowhere_else(
    tmp_path: Path,
) -> None:
    path = tmp_path / "graph.db"
    async with running(tmp_path) as world:
        world.count(1)
        world.count(2)
    size = path.stat().st_size
    async with running(tmp_path) as world:
        assert await world.told() == 3
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (size - 4096))
        assert world.part._journal is not None
        world.part._journal._database.execute("PRAGMA shrink_memory")  # nothing is held of it
        world.count(4)
        for _ in range(3):
            await world.save()
        assert world.part._journal.generation == 1
        assert await world.told() == 4
    async with running(tmp_path) as world:
        _, moment = await world.part.moment(3600)
        ((number, flow),) = moment.items()
        assert (world.part.graph.table[number].key, flow.told.requests) == (KEY, 4)


async def test_a_large_message_lets_others_run(tmp_path: Path) -> None:
    certificate: Any = object()
    identity = SpiffeId.of(TrustDomain("cluster.local"), "shop", "web")
    export = Export()
    points = 10 * POINTS_AT_ONCE
    for number in range(points):
        export.count("istio.requests_total", 1, LABELS | {"destination_app": f"app-{number}"})
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with running(tmp_path) as world, asyncio.TaskGroup() as tasks:
        task = tasks.create_task(others())
        await asyncio.sleep(0)
        turns = 0
        token = calling._caller.set(Caller(identity, "10.0.0.1", certificate))
        await world.part._export(export.bytes, None)
        calling._caller.reset(token)
        assert turns >= points // POINTS_AT_ONCE
        task.cancel()
        assert await world.told() == points
