"""What survives a restart, and what a damaged journal says."""

import asyncio
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from argosy.api.core_pod import Pod
from argosy.api.meta import Duration, Metadata, Object
from argosy.api.networking_virtual_service import (
    Destination,
    HTTPRoute,
    HTTPRouteDestination,
    VirtualService,
    VirtualServiceSpec,
)
from argosy.base.names import Namespace, ObjectKey
from argosy.store.journal import Journal, JournalDamagedError, JournalError, Row
from argosy.store.store import Store
from argosy.store.transaction import Delete, Put, TooOldError


def everything(store: Store) -> list[Object]:
    return [event.last for event in store.snapshot()]


def virtual_service() -> VirtualService:
    route = HTTPRoute(
        route=(HTTPRouteDestination(destination=Destination(host="reviews", subset="v1")),),
        timeout=Duration(2500),
    )
    return VirtualService(
        metadata=Metadata(name="reviews", namespace="default", labels={"a": "b"}),
        spec=VirtualServiceSpec(hosts=("reviews",), http=(route,)),
    )


def test_a_restarted_store_is_equal(tmp_path: Path, new_store: Any, objects: Any) -> None:
    path = tmp_path / "store.db"
    store = new_store(path)
    store.apply([Put(structs.replace(objects.policy("a"), origin=objects.origin(4)))])
    store.apply([Put(objects.policy("b")), Put(objects.service("s")), Put(virtual_service())])
    store.apply([Put(objects.policy("c")), Delete(objects.policy("b").key)])
    again = new_store(path)
    assert len(everything(store)) == 4
    assert everything(again) == everything(store)
    assert everything(again)[0].origin == objects.origin(4)
    timeout = everything(again)[3].spec.http[0].timeout  # type: ignore[attr-defined]  # The VirtualService.
    assert isinstance(timeout, Duration)


def test_a_silent_change_of_origin_survives_too(
    tmp_path: Path, new_store: Any, objects: Any
) -> None:
    path = tmp_path / "store.db"
    store = new_store(path)
    for line in (1, 9):
        store.apply([Put(structs.replace(objects.policy("a"), origin=objects.origin(line)))])
    assert everything(new_store(path))[0].origin == objects.origin(9)


def test_pods_do_not_survive(tmp_path: Path, new_store: Any, objects: Any) -> None:
    path = tmp_path / "store.db"
    store = new_store(path)
    pod = Pod(metadata=Metadata(name="p", namespace="default"))
    store.apply([Put(pod), Put(objects.policy("a"))])
    assert [value.kind for value in everything(new_store(path))] == ["PeerAuthentication"]
    durable = new_store(tmp_path / "all.db", ephemeral=frozenset())
    durable.apply([Put(pod)])
    again = new_store(tmp_path / "all.db", ephemeral=frozenset())
    assert [value.kind for value in everything(again)] == ["Pod"]


async def test_revisions_never_repeat(tmp_path: Path, new_store: Any, objects: Any) -> None:
    path = tmp_path / "store.db"
    store = new_store(path)
    pod = Pod(metadata=Metadata(name="p", namespace="default"))
    for number in range(10_500):  # More than a block, and none of it journaled.
        labels = {"n": str(number)}
        store.apply([Put(structs.replace(pod, metadata=Metadata(name="p", labels=labels)))])
    again = new_store(path)
    assert again.revision > store.revision
    with pytest.raises(TooOldError):
        await anext(again.watch(frozenset({"Pod"}), store.revision))
    again.apply([Put(objects.policy("a"))])
    assert int(everything(again)[0].metadata.resource_version) > store.revision


def test_a_failed_write_changes_nothing(tmp_path: Path, new_store: Any, objects: Any) -> None:
    path = tmp_path / "store.db"
    store = new_store(path)
    store.apply([Put(objects.policy("a"))])
    blocker = sqlite3.connect(path)
    blocker.execute("BEGIN IMMEDIATE")
    store._journal._connection.execute("PRAGMA busy_timeout = 10")
    with pytest.raises(JournalError, match="cannot be written"):
        store.apply([Put(objects.policy("b"))])
    blocker.execute("ROLLBACK")
    assert [value.metadata.name for value in everything(store)] == ["a"]
    assert store.revision == 1
    store.apply([Put(objects.policy("b"))])
    assert everything(new_store(path)) == everything(store)


@pytest.mark.parametrize("damage", ["garbage", "truncated", "bytes", "body", "kind", "key"])
def test_a_damaged_journal_says_so(
    tmp_path: Path, new_store: Any, objects: Any, damage: str
) -> None:
    path = tmp_path / "store.db"
    store = new_store(path)
    store.apply([Put(objects.policy(f"a{n}", labels={"x": "y" * 40})) for n in range(200)])
    store.close()
    match damage:
        case "garbage":
            path.write_bytes(b"this is no database at all" * 400)
        case "truncated":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        case "bytes":
            data = path.read_bytes()
            path.write_bytes(data.replace(b"y" * 40, b"y" * 39 + b"z"))
        case "body":
            _write(path, "PeerAuthentication", b"\x81\xa4spec\xa3no!")
        case "kind":
            _write(path, "Teapot", b"\x80")
        case "key":
            _write(path, "Service", store._codec.encode(objects.policy("broken")))
    with pytest.raises(JournalDamagedError, match=r"store\.db is damaged.*mv .*apply your files"):
        new_store(path)


def _write(path: Path, kind: str, body: bytes) -> None:
    journal = Journal(path)
    journal.open()
    journal.write([Row(ObjectKey(kind, Namespace("default"), "broken"), body)], 1)
    journal.close()


def test_another_version_s_journal_is_not_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    journal = Journal(path)
    journal.open()
    journal.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE facts SET value = '99' WHERE name = 'format'")
    with pytest.raises(JournalError, match="format 99"):
        Journal(path).open()


def test_a_journal_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="cannot be opened"):
        Journal(tmp_path / "missing" / "store.db").open()


def test_only_the_owner_reads_the_journal(tmp_path: Path, new_store: Any) -> None:
    new_store(tmp_path / "store.db")
    assert stat.S_IMODE((tmp_path / "store.db").stat().st_mode) == 0o600


async def test_a_commit_does_not_hold_up_the_event_loop(
    tmp_path: Path, new_store: Any, objects: Any
) -> None:
    """The median stays below 1 ms (about 0.1 ms); checkpoints run meanwhile in a thread."""
    store = new_store(tmp_path / "store.db")
    seconds: list[float] = []
    for number in range(500):
        value = objects.policy(f"p{number % 50}", labels={"n": str(number)})
        start = time.perf_counter()
        store.apply([Put(value)])
        seconds.append(time.perf_counter() - start)
        if number % 100 == 0:
            await asyncio.to_thread(store._journal.checkpoint)
    assert sorted(seconds)[len(seconds) // 2] < 0.001
    assert everything(new_store(tmp_path / "store.db")) == everything(store)


_WRITER = """
import sys
from pathlib import Path
from argosy.base.names import Namespace, ObjectKey
from argosy.store.journal import Journal, Row

journal = Journal(Path(sys.argv[1]))
journal.open()
for number in range(1, 1_000_000):
    names = (f"a{number}", f"b{number}")
    rows = [Row(ObjectKey("K", Namespace("default"), name), name.encode()) for name in names]
    journal.write(rows, number)
    print(number, flush=True)
"""


def test_what_was_written_survives_a_kill(tmp_path: Path) -> None:
    """SIGKILL in the middle of writing: all that was reported is there, no half transaction."""
    path = tmp_path / "store.db"
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        reported = [int(writer.stdout.readline()) for _ in range(500)][-1]
        writer.kill()
        reported = max([reported, *map(int, writer.stdout.read().split("\n")[:-1])])
    loaded = Journal(path).open()
    found = {row.key.name for row in loaded.rows}
    assert {f"{x}{n}" for x in "ab" for n in range(1, reported + 1)} <= found
    assert len(found) % 2 == 0
    assert loaded.revision >= reported
