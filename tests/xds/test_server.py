"""The running server without gRPC: publications, who has what, slow and vanishing clients."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from envoy.config.cluster.v3 import cluster_pb2

from argosy.testing.xds.clients import DeltaClient, SotwClient
from argosy.testing.xds.connections import LOCAL, in_memory
from argosy.testing.xds.source import MemorySource
from argosy.xds import (
    Admission,
    Limits,
    Peer,
    Protocol,
    RefusalKind,
    Rejection,
    Server,
    StreamRefusedError,
    SyncState,
    Timing,
)
from argosy.xds.type_urls import CLUSTER, LISTENER, ROUTE, SECRET


def admit(_peer: Peer, node: bytes) -> Admission:
    # Field 1 of Node is the id; the tests' ids are shorter than 128 bytes.
    return Admission("g", node[2 : 2 + node[1]].decode())


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[Server]:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.run())
        try:
            yield server
        finally:
            await server.stop(0.1)


def a_source(**secrets: bytes) -> MemorySource:
    source = MemorySource()
    source.scope("g", "mesh")
    for name, body in secrets.items():
        source.put("mesh", SECRET, name, body)
    source.changes()
    return source


def a_client(name: str = "it", *secrets: str) -> DeltaClient:
    client = DeltaClient(node={"id": name})
    if secrets:
        client.subscribe(SECRET, *secrets)
    return client


async def test_a_publication_concerns_only_who_has_the_name() -> None:
    source = a_source(a=b"1", b=b"1")
    async with running(Server(source, admit)) as server:
        one, two = a_client("one", "a"), a_client("two", "b")
        async with in_memory(server, one) as first, in_memory(server, two) as second:
            await first.until(lambda: one.have[SECRET] == {"a": b"1"})
            await second.until(lambda: two.have[SECRET] == {"b": b"1"})
            source.put("mesh", SECRET, "a", b"2")
            server.publish(source.changes(), revision=3)
            done = await server.wait_acknowledged(3, 5)
            assert (done.touched, done.acknowledged, done.pending) == (1, 1, ())
            assert 0 < done.seconds < 5
            assert one.have[SECRET] == {"a": b"2"}
            assert len(two.received) == 1


async def test_a_publication_that_concerns_nobody_is_complete_at_once() -> None:
    source = a_source()
    async with running(Server(source, admit)) as server:
        source.put("mesh", SECRET, "a", b"2")
        server.publish(source.changes(), revision=3)
        done = await server.wait_acknowledged(3, 5)
        assert (done.touched, done.acknowledged, done.complete) == (0, 0, True)


async def test_waiting_for_a_revision_that_comes_later_or_within_another() -> None:
    source = a_source(a=b"1")
    async with running(Server(source, admit)) as server:
        client = a_client("it", "a")
        async with in_memory(server, client) as connection, asyncio.TaskGroup() as tasks:
            await connection.until(lambda: client.have[SECRET] == {"a": b"1"})
            early = tasks.create_task(server.wait_acknowledged(4, 5))
            await asyncio.sleep(0.01)
            assert not early.done()
            source.put("mesh", SECRET, "a", b"2")
            server.publish(source.changes(), revision=6)  # 4, 5 and 6 at once
            assert (await early).acknowledged == 1
        assert server.revision == 6


async def test_who_does_not_answer_is_named_when_the_time_is_up() -> None:
    source = a_source(a=b"1")
    async with running(Server(source, admit)) as server:
        client = a_client("sleepy", "a")
        async with in_memory(server, client) as connection:
            await connection.until(lambda: client.have[SECRET] == {"a": b"1"})
            client.handle = lambda raw: []  # type: ignore[method-assign]
            source.put("mesh", SECRET, "a", b"2")
            server.publish(source.changes(), revision=1)
            done = await server.wait_acknowledged(1, 0.1)
            assert (done.touched, done.acknowledged, done.pending) == (1, 0, ("sleepy",))
            assert done.seconds >= 0.1
            (status,) = server.clients()
            assert status.types[0].state is SyncState.STALE
        done = await server.wait_acknowledged(1, 5)
        assert (done.touched, done.complete) == (0, True), "it left"


async def test_a_client_that_does_not_read_is_dropped_and_delays_nobody() -> None:
    source = a_source(a=b"1")
    server = Server(source, admit, writers=2, limits=Limits(write_seconds=0.2))
    stuck = a_client("stuck", "a")
    requests: asyncio.Queue[bytes | None] = asyncio.Queue()
    for request in stuck.connect():
        requests.put_nowait(request)

    async def never(_body: bytes) -> None:
        await asyncio.Event().wait()

    async with running(server):
        good = a_client("good", "a")
        async with in_memory(server, good) as connection, asyncio.TaskGroup() as tasks:
            stream = tasks.create_task(_refusal(server, requests, never))
            await connection.until(lambda: good.have[SECRET] == {"a": b"1"})
            source.put("mesh", SECRET, "a", b"2")
            server.publish(source.changes(), revision=1)
            await connection.until(lambda: good.have[SECRET] == {"a": b"2"}, 0.15)
            assert await stream is RefusalKind.DEADLINE_EXCEEDED
        assert server.statistics.slow_writes == 1


async def _refusal(server: Server, requests: asyncio.Queue[bytes | None], write: object) -> object:
    with pytest.raises(StreamRefusedError) as caught:
        await server.serve(LOCAL, Protocol.DELTA, requests.get, write)  # type: ignore[arg-type]
    return caught.value.refusal.kind


async def test_timers_fire_without_traffic() -> None:
    source = a_source()
    cluster = cluster_pb2.Cluster(name="a", type=cluster_pb2.Cluster.EDS)
    cluster.eds_cluster_config.eds_config.ads.SetInParent()
    source.put("mesh", ROUTE, "r", b"1")
    source.changes()
    async with running(Server(source, admit, timing=Timing(order=0.05))) as server:
        client = a_client()
        client.subscribe(CLUSTER)
        client.subscribe(ROUTE, "r")
        async with in_memory(server, client) as connection:
            await connection.until(lambda: client.have[ROUTE] == {"r": b"1"})
            source.put("mesh", CLUSTER, "a", bytes(cluster.SerializeToString()))
            source.put("mesh", ROUTE, "r", b"2")
            server.publish(source.changes(), revision=1)
            done = await server.wait_acknowledged(1, 5)
            assert done.acknowledged == 1
            assert client.have[ROUTE] == {"r": b"2"}
            assert done.seconds >= 0.05, "the endpoints that never came were waited for"


@pytest.mark.parametrize("make", [DeltaClient, SotwClient])
async def test_a_change_of_layers_reaches_the_group(make: type[DeltaClient]) -> None:
    source = MemorySource()
    source.scope("g", "one")
    source.put("one", LISTENER, "a", b"\x0a\x01a")
    source.put("two", LISTENER, "b", b"\x0a\x01b")
    source.changes()
    async with running(Server(source, admit)) as server:
        client = make(node={"id": "it"})
        client.subscribe(LISTENER)
        async with in_memory(server, client) as connection:
            await connection.until(lambda: set(client.have[LISTENER]) == {"a"})
            source.scope("g", "two")
            server.publish([], revision=1, rescoped=["g"])
            assert (await server.wait_acknowledged(1, 5)).acknowledged == 1
            assert set(client.have[LISTENER]) == {"b"}
        assert source.forgotten == ["g"]


async def test_rejections_are_handed_on_and_counted() -> None:
    heard: list[Rejection] = []
    source = a_source(a=b"1")
    async with running(Server(source, admit, on_rejection=heard.append)) as server:
        client = a_client("it", "a")
        client.reject = lambda _url, _name, body: "no" if body == b"bad" else None
        async with in_memory(server, client) as connection:
            await connection.until(lambda: client.have[SECRET] == {"a": b"1"})
            source.put("mesh", SECRET, "a", b"bad")
            server.publish(source.changes(), revision=1)
            done = await server.wait_acknowledged(1, 5)
            assert done.rejected == tuple(heard)
            assert [one.error for one in heard] == ["no"]
            assert server.statistics.rejected[SECRET] == 1
            assert server.statistics.acknowledged[SECRET] == 1
            assert server.statistics.pushes[SECRET] == 2
            assert server.statistics.convergence.number == 1


async def test_logs_of_changes_stay_small_under_endless_change() -> None:
    source = a_source(a=b"1")
    async with running(Server(source, admit)) as server:
        client = a_client("it", "a")
        async with in_memory(server, client) as connection:
            await connection.until(lambda: client.have[SECRET] == {"a": b"1"})
            for revision in range(1000):
                source.put("mesh", SECRET, f"other-{revision}", b"x")
                server.publish(source.changes(), revision)
            assert server._catalog.sizes()["changes"] <= 256
            source.put("mesh", SECRET, "a", b"2")
            server.publish(source.changes(), 1000)
            assert (await server.wait_acknowledged(1000, 5)).acknowledged == 1
            assert client.have[SECRET] == {"a": b"2"}


async def test_many_clients_under_constant_change_all_end_with_the_latest() -> None:
    source = a_source(a=b"0", b=b"0")
    async with running(Server(source, admit, writers=3)) as server:
        clients = [a_client(f"c{number}", "a", "b") for number in range(30)]
        async with asyncio.TaskGroup() as tasks:
            leave = asyncio.Event()

            async def live(client: DeltaClient) -> None:
                async with in_memory(server, client):
                    await leave.wait()

            for client in clients:
                tasks.create_task(live(client))
            for revision in range(1, 201):
                source.put("mesh", SECRET, "a" if revision % 2 else "b", b"%d" % revision)
                server.publish(source.changes(), revision)
                if revision % 7 == 0:
                    await asyncio.sleep(0)
            while len(server.clients()) < 30:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            async with asyncio.timeout(5):
                while any(  # noqa: ASYNC110
                    one.state is not SyncState.SYNCED for c in server.clients() for one in c.types
                ):
                    await asyncio.sleep(0.01)
            assert (await server.wait_acknowledged(200, 5)).complete
            await asyncio.sleep(0.05)
            assert all(one.have[SECRET] == {"a": b"199", "b": b"200"} for one in clients)
            leave.set()


async def test_what_is_published_during_a_write_is_sent_after_it() -> None:
    source = a_source(a=b"1")
    server = Server(source, admit)
    requests: asyncio.Queue[bytes | None] = asyncio.Queue()
    client = a_client("it", "a")
    written: asyncio.Queue[bytes] = asyncio.Queue()
    gate = asyncio.Event()
    gate.set()

    async def write(body: bytes) -> None:
        written.put_nowait(body)
        await gate.wait()

    async with running(server), asyncio.TaskGroup() as tasks, asyncio.timeout(5):
        tasks.create_task(server.serve(LOCAL, Protocol.DELTA, requests.get, write))
        requests.put_nowait(client.connect()[0])
        requests.put_nowait(client.handle(await written.get())[0])
        await asyncio.sleep(0.05)
        gate.clear()
        requests.put_nowait(client.subscribe(LISTENER)[0])
        client.handle(await written.get())
        # The stream is in the middle of a write now, and its client will not answer it.
        source.put("mesh", SECRET, "a", b"2")
        server.publish(source.changes(), revision=1)
        await asyncio.sleep(0.05)
        assert written.empty()
        gate.set()
        client.handle(await written.get())
        assert client.have[SECRET] == {"a": b"2"}
        requests.put_nowait(None)


async def test_who_waits_learns_that_the_last_one_left() -> None:
    source = a_source(a=b"1")
    async with running(Server(source, admit)) as server:
        client = a_client("it", "a")
        async with asyncio.TaskGroup() as tasks:
            async with in_memory(server, client) as connection:
                await connection.until(lambda: client.have[SECRET] == {"a": b"1"})
                client.handle = lambda raw: []  # type: ignore[method-assign]
                source.put("mesh", SECRET, "a", b"2")
                server.publish(source.changes(), revision=1)
                waiting = tasks.create_task(server.wait_acknowledged(1, 60))
                await asyncio.sleep(0.01)
                assert not waiting.done()
            async with asyncio.timeout(5):
                assert (await waiting).touched == 0
