"""Watching: resuming, bookmarks, watchers that are too slow."""

import asyncio
from typing import Any

import pytest

from argosy.base.names import Namespace, ObjectKey
from argosy.store.store import Bookmark, Store
from argosy.store.transaction import Delete, Event, Put, TooOldError

KINDS = frozenset({"PeerAuthentication"})


def key(name: str) -> ObjectKey:
    return ObjectKey("PeerAuthentication", Namespace("default"), name)


async def take(watch: Any, count: int) -> list[tuple[str, str, int]]:
    """The next events as (kind of change, name, revision)."""
    seen: list[tuple[str, str, int]] = []
    async with asyncio.timeout(5):
        while len(seen) < count:
            item = await anext(watch)
            match item:
                case Bookmark(revision, initial_end):
                    seen.append(("end" if initial_end else "bookmark", "", revision))
                case Event(event_key, previous, current, revision):
                    change = "deleted" if current is None else "modified" if previous else "added"
                    seen.append((change, event_key.name, revision))
    return seen


async def test_a_fresh_watch_begins_with_what_exists(store: Store, objects: Any) -> None:
    store.apply([Put(objects.policy("a")), Put(objects.service("s")), Put(objects.policy("b"))])
    watch = store.watch(KINDS)
    assert await take(watch, 3) == [("added", "a", 3), ("added", "b", 3), ("end", "", 3)]
    store.apply([Put(objects.policy("a", "DISABLE")), Delete(key("b"))])
    assert await take(watch, 2) == [("modified", "a", 4), ("deleted", "b", 5)]


async def test_a_watch_resumes_in_the_middle_of_a_transaction(store: Store, objects: Any) -> None:
    store.apply([Put(objects.policy(name)) for name in "abc"])
    assert await take(store.watch(KINDS, 1), 2) == [("added", "b", 2), ("added", "c", 3)]


async def test_a_waiting_watch_wakes_up(store: Store, objects: Any) -> None:
    watch = store.watch(KINDS, store.revision)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(take(watch, 1))
        await asyncio.sleep(0.01)
        store.apply([Put(objects.policy("a"))])
    assert waiting.result() == [("added", "a", 1)]


async def test_bookmarks_move_past_other_kinds(store: Store, objects: Any) -> None:
    watch = store.watch(KINDS, 0, bookmark_seconds=0.01)
    store.apply([Put(objects.service("s")), Put(objects.service("t"))])
    assert await take(watch, 1) == [("bookmark", "", 2)]


async def test_a_slow_watcher_is_told_to_list_again(new_store: Any, objects: Any) -> None:
    store = new_store(history=10)
    store.apply([Put(objects.policy("a"))])
    slow, quick = store.watch(KINDS, 0), store.watch(KINDS, 0)
    assert await take(slow, 1) == [("added", "a", 1)]
    seen = await take(quick, 1)
    for number in range(100):
        store.apply([Put(objects.policy("a", labels={"n": str(number)}))])
        seen += await take(quick, 1)
    assert [revision for _, _, revision in seen] == list(range(1, 102))
    with pytest.raises(TooOldError, match="list again"):
        await take(slow, 101)


@pytest.mark.parametrize("since", [0, 50, 1000])
async def test_a_revision_outside_the_history_is_too_old(
    new_store: Any, objects: Any, since: int
) -> None:
    store = new_store(history=10)
    for number in range(100):
        store.apply([Put(objects.policy("a", labels={"n": str(number)}))])
    with pytest.raises(TooOldError):
        await take(store.watch(KINDS, since), 1)


async def test_the_history_is_bounded(new_store: Any, objects: Any) -> None:
    store = new_store(history=10)
    for number in range(100):
        store.apply([Put(objects.policy("a", labels={"n": str(number)}))])
        assert 10 <= store.revision - store._history.oldest + 10 <= 30
    assert await take(store.watch(KINDS, 90), 1) == [("modified", "a", 91)]
