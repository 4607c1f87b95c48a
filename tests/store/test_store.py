"""Transactions, versions and generations, as Kubernetes' API concepts describe them."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec import structs

from argosy.api.core import Namespace as NamespaceObject
from argosy.api.core import Secret
from argosy.api.core_pod import Pod, PodStatus
from argosy.api.meta import Metadata, Object
from argosy.base.names import Namespace, ObjectKey
from argosy.store.store import Store
from argosy.store.transaction import (
    Action,
    AlreadyExistsError,
    ConflictError,
    Create,
    Delete,
    Event,
    InvalidError,
    NotFoundError,
    Put,
    Replace,
    SetStatus,
)


def key(name: str, kind: str = "PeerAuthentication", namespace: str = "default") -> ObjectKey:
    return ObjectKey(kind, Namespace(namespace), name)


def applied(store: Store, *values: Object) -> tuple[Action, ...]:
    return tuple(outcome.action for outcome in store.apply([Put(v) for v in values]).outcomes)


def test_a_new_object_gets_identity(store: Store, objects: Any) -> None:
    commit = store.apply([Create(objects.policy("a"))])
    metadata = store.require(key("a")).metadata
    assert metadata.uid == "uid-1"
    assert metadata.creation_timestamp == "2026-01-02T03:04:05Z"
    assert metadata.generation == 1
    assert metadata.resource_version == str(commit.revision) == str(store.revision)


def test_an_update_keeps_identity_and_raises_the_version(
    store: Store, objects: Any, clock: Any
) -> None:
    applied(store, objects.policy("a"))
    first = store.require(key("a")).metadata
    clock.advance(60)
    assert applied(store, objects.policy("a", "DISABLE")) == (Action.CONFIGURED,)
    second = store.require(key("a")).metadata
    assert (second.uid, second.creation_timestamp) == (first.uid, first.creation_timestamp)
    assert int(second.resource_version) > int(first.resource_version)
    assert second.generation == 2


def test_the_generation_counts_changes_of_the_spec_only(store: Store, objects: Any) -> None:
    applied(store, objects.policy("a"))
    assert applied(store, objects.policy("a", labels={"team": "x"})) == (Action.CONFIGURED,)
    assert store.require(key("a")).metadata.generation == 1
    assert store.require(key("a")).metadata.labels == {"team": "x"}


def test_an_equal_object_changes_nothing(store: Store, objects: Any) -> None:
    applied(store, objects.policy("a"))
    before, revision = store.require(key("a")), store.revision
    seen: list[Event] = []
    store.subscribe(lambda events, _: seen.extend(events))
    assert applied(store, objects.policy("a")) == (Action.UNCHANGED,)
    assert store.require(key("a")) is before
    assert store.revision == revision
    assert seen == []


def test_a_new_place_in_the_file_is_kept_silently(store: Store, objects: Any) -> None:
    applied(store, structs.replace(objects.policy("a"), origin=objects.origin(1)))
    revision = store.revision
    moved = structs.replace(objects.policy("a"), origin=objects.origin(9))
    assert applied(store, moved) == (Action.UNCHANGED,)
    assert store.revision == revision
    assert store.require(key("a")).origin == objects.origin(9)


def test_a_transaction_is_all_or_nothing(store: Store, objects: Any) -> None:
    applied(store, objects.policy("old"))
    revision = store.revision
    with pytest.raises(NotFoundError):
        store.apply(
            [
                Put(objects.policy("new")),
                Delete(key("old")),
                Replace(objects.policy("missing")),
            ]
        )
    assert store.get(key("new")) is None
    assert store.get(key("old")) is not None
    assert store.revision == revision


def test_apply_valid_leaves_out_what_is_wrong(store: Store, objects: Any) -> None:
    commit = store.apply_valid(
        [
            Put(objects.policy("a")),
            Put(objects.service("bad", "192.168.0.1")),
            Delete(key("gone")),
            Put(objects.policy("b")),
        ]
    )
    assert [o.action.value for o in commit.outcomes] == ["created", "invalid", "invalid", "created"]
    assert isinstance(commit.outcomes[1].error, InvalidError)
    assert isinstance(commit.outcomes[2].error, NotFoundError)
    assert [o.metadata.name for o in store.list("PeerAuthentication")] == ["a", "b"]
    assert store.list("Service") == ()


def test_a_dry_run_says_what_would_happen(store: Store, objects: Any) -> None:
    applied(store, objects.policy("a"))
    revision = store.revision
    commit = store.apply(
        [Put(objects.policy("a", "DISABLE")), Put(objects.policy("b"))], dry_run=True
    )
    assert [o.action.value for o in commit.outcomes] == ["configured", "created"]
    assert store.revision == commit.revision == revision
    assert store.get(key("b")) is None
    assert store.require(key("a")).spec.mtls.mode == "STRICT"  # type: ignore[attr-defined]  # A PeerAuthentication.


def test_create_of_an_existing_object(store: Store, objects: Any) -> None:
    applied(store, objects.policy("a"))
    with pytest.raises(AlreadyExistsError, match="PeerAuthentication default/a exists already"):
        store.apply([Create(objects.policy("a"))])


def test_a_stale_version_conflicts(store: Store, objects: Any) -> None:
    applied(store, objects.policy("a"))
    read = store.require(key("a"))
    applied(store, objects.policy("a", "DISABLE"))
    stale = objects.policy("a", "UNSET", resource_version=read.metadata.resource_version)
    with pytest.raises(ConflictError, match="modified"):
        store.apply([Replace(stale)])
    with pytest.raises(ConflictError):
        store.apply([Delete(key("a"), resource_version=read.metadata.resource_version)])
    with pytest.raises(ConflictError, match="uid"):
        store.apply([Delete(key("a"), uid="another")])


def test_a_version_means_that_the_object_must_exist(store: Store, objects: Any) -> None:
    with pytest.raises(NotFoundError):
        store.apply([Put(objects.policy("a", resource_version="5"))])


async def test_of_many_writers_with_one_version_one_wins(store: Store, objects: Any) -> None:
    applied(store, objects.policy("a"))
    version = store.require(key("a")).metadata.resource_version
    won: list[int] = []
    lost: list[int] = []

    async def write(number: int) -> None:
        await asyncio.sleep(0)
        value = objects.policy("a", labels={"n": str(number)}, resource_version=version)
        try:
            store.apply([Replace(value)])
        except ConflictError:
            lost.append(number)
        else:
            won.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(write(number))
    assert len(won) == 1
    assert len(lost) == 19
    assert store.require(key("a")).metadata.labels == {"n": str(won[0])}


def test_only_set_status_writes_the_status(store: Store) -> None:
    pod = Pod(metadata=Metadata(name="p", namespace="default"), status=PodStatus(phase="Failed"))
    store.apply([Create(pod)])
    assert store.require(key("p", "Pod")).status is None  # type: ignore[attr-defined]  # A Pod.
    running = structs.replace(pod, status=PodStatus(phase="Running"))
    ignored = structs.replace(
        running, metadata=structs.replace(running.metadata, labels={"x": "y"})
    )
    assert store.apply([SetStatus(ignored)]).outcomes[0].action is Action.CONFIGURED
    stored = store.require(key("p", "Pod"))
    assert isinstance(stored, Pod)
    assert stored.status == PodStatus(phase="Running")
    assert stored.metadata.labels == {}
    assert stored.metadata.generation == 1
    store.apply([Replace(pod)])
    assert store.require(key("p", "Pod")).status == PodStatus(phase="Running")  # type: ignore[attr-defined]  # A Pod.
    assert store.apply([SetStatus(running)]).outcomes[0].action is Action.UNCHANGED


def test_subscribers_see_each_transaction_once_and_whole(store: Store, objects: Any) -> None:
    batches: list[tuple[list[str], int]] = []
    stop = store.subscribe(lambda events, rev: batches.append(([str(e.key) for e in events], rev)))
    store.apply([Put(objects.policy("a")), Put(objects.policy("b"))])
    store.apply([Delete(key("a"))])
    stop()
    store.apply([Delete(key("b"))])
    assert batches == [
        (["PeerAuthentication default/a", "PeerAuthentication default/b"], 2),
        (["PeerAuthentication default/a"], 3),
    ]


def test_a_subscriber_may_not_write(store: Store, objects: Any) -> None:
    def write(_events: Sequence[Event], _revision: int) -> None:
        applied(store, objects.policy("b"))

    store.subscribe(write)
    with pytest.raises(AssertionError, match="subscriber"):
        applied(store, objects.policy("a"))


def test_list_is_sorted_and_by_namespace(store: Store, objects: Any) -> None:
    applied(store, *(objects.policy(n, namespace=ns) for n in "cab" for ns in ("y", "x")))
    everywhere = [(o.metadata.namespace, o.metadata.name) for o in store.list("PeerAuthentication")]
    assert everywhere == [(ns, n) for ns in "xy" for n in "abc"]
    assert [o.metadata.name for o in store.list("PeerAuthentication", "y")] == ["a", "b", "c"]


def test_objects_are_placed_in_a_namespace(store: Store, objects: Any) -> None:
    applied(store, objects.policy("a", namespace=""))
    assert store.get(key("a")) is not None
    applied(store, NamespaceObject(metadata=Metadata(name="prod", namespace="nonsense")))
    stored = store.require(key("prod", "Namespace", ""))
    assert stored.metadata.labels == {"kubernetes.io/metadata.name": "prod"}


def test_string_data_of_a_secret_becomes_data(store: Store) -> None:
    secret = Secret(
        metadata=Metadata(name="s"), data={"a": b"1", "b": b"2"}, string_data={"b": "3"}
    )
    applied(store, secret)
    stored = store.require(key("s", "Secret"))
    assert isinstance(stored, Secret)
    assert (stored.data, stored.string_data) == ({"a": b"1", "b": b"3"}, {})
    assert applied(store, secret) == (Action.UNCHANGED,)
