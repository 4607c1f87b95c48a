"""The store: atomic transactions over typed tables, revisions, watches, a journal.

Operations go in, a :class:`Commit` comes out, or a :class:`StoreError` and nothing has changed.
A transaction is validated in memory, journaled, then made visible: subscribers are called in the
same step, watchers read from a shared history. Nothing in here awaits except watching, and
everything runs on one event loop, so no lock is needed and no reader sees half a transaction.

Who may be at which version: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from argosy.api.meta import Object
from argosy.base.clock import Clock
from argosy.base.names import ObjectKey
from argosy.store.history import History
from argosy.store.journal import Journal, JournalDamagedError, Row
from argosy.store.metadata import (
    Uids,
    same,
    stamped,
    with_origin_of,
    with_revision,
    with_status_of,
)
from argosy.store.sharing import Sharing
from argosy.store.tables import Claims, Tables
from argosy.store.transaction import (
    Action,
    AlreadyExistsError,
    Commit,
    ConflictError,
    Create,
    Delete,
    Event,
    NotFoundError,
    Operation,
    Outcome,
    Replace,
    SetStatus,
    StoreError,
)

EPHEMERAL_KINDS = frozenset({"Pod"})
"""Runtime state that is not journaled: whoever runs it reports it again."""

HISTORY_EVENTS = 16_384
CHECKPOINT_SECONDS = 30.0
_BATCH = 256


class View(Protocol):
    """What admission may read: the state inside the transaction."""

    def get(self, key: ObjectKey) -> Object | None: ...

    def list(self, kind: str, namespace: str | None = None) -> tuple[Object, ...]: ...

    def holder(self, claim: str) -> ObjectKey | None: ...


class Admission(Protocol):
    """Defaults and checks of an object that is about to be stored; raises ``InvalidError``."""

    def place(self, value: Object) -> Object:
        """Give the object its namespace."""
        ...

    def admit(self, new: Object, old: Object | None, view: View) -> Object: ...

    def claims(self, key: ObjectKey, value: Object) -> Sequence[str]:
        """What this object holds that no other may hold."""
        ...


class Codec(Protocol):
    """Objects as the journal's bytes. ``decode`` raises ``ValueError`` for bytes it cannot read."""

    def encode(self, value: Object) -> bytes: ...

    def decode(self, kind: str, body: bytes) -> Object: ...


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Nothing to report, but a watch may be resumed from ``revision``.

    ``initial_end`` marks the end of the objects that existed when the watch began.
    """

    revision: int
    initial_end: bool = False


Subscriber = Callable[[Sequence[Event], int], None]
_Keys = Sequence[ObjectKey]
_Events = list[Event]
_Outcomes = list[Outcome]
_KeyList = list[ObjectKey]
_Rows = list[Row]


class Store:
    """All objects of one mesh. Call :meth:`load` once before anything else."""

    def __init__(
        self,
        *,
        clock: Clock,
        uids: Uids,
        codec: Codec | None = None,
        journal: Journal | None = None,
        admission: Admission | None = None,
        ephemeral: frozenset[str] = EPHEMERAL_KINDS,
        history: int = HISTORY_EVENTS,
    ) -> None:
        assert journal is None or codec is not None, "a journal needs a codec"
        claims: Claims = admission.claims if admission else lambda _key, _value: ()
        self._clock = clock
        self._uids = uids
        self._codec = codec
        self._journal = journal
        self._admission = admission
        self._ephemeral = ephemeral
        self._capacity = history
        self._history = History(history)
        self._tables = Tables(claims)
        self._sharing = Sharing()
        self._revision = 0
        self._subscribers: list[Subscriber] = []
        self._publishing = False

    @property
    def revision(self) -> int:
        """The revision of the last transaction."""
        return self._revision

    def load(self) -> None:
        """Read the journal; raises ``JournalDamagedError`` or ``JournalError``."""
        if self._journal is None:
            return
        assert self._codec is not None
        loaded = self._journal.open()
        for row in loaded.rows:
            assert row.body is not None
            try:
                value = self._codec.decode(row.key.kind, row.body)
            except ValueError as error:
                raise JournalDamagedError(
                    self._journal.path, f"{row.key} cannot be read ({error})"
                ) from error
            if value.key != row.key:
                raise JournalDamagedError(self._journal.path, f"{row.key} holds {value.key}")
            if row.key.kind not in self._ephemeral:
                shared = self._sharing.of(value)
                self._tables.put(shared.key, shared)
        self._tables.forget_undo()
        self._revision = loaded.revision
        self._history = History(self._capacity, loaded.revision)

    async def run(self) -> None:
        """Background work until cancelled: the journal's checkpoints, in a worker thread."""
        while self._journal is not None:
            await asyncio.sleep(CHECKPOINT_SECONDS)
            await asyncio.to_thread(self._journal.checkpoint)

    def close(self) -> None:
        """Close the journal. Without it nothing is lost either."""
        if self._journal is not None:
            self._journal.close()

    def get(self, key: ObjectKey) -> Object | None:
        return self._tables.get(key)

    def require(self, key: ObjectKey) -> Object:
        """The object; raises ``NotFoundError``."""
        value = self._tables.get(key)
        if value is None:
            raise NotFoundError(key)
        return value

    def list(self, kind: str, namespace: str | None = None) -> tuple[Object, ...]:
        """The objects of a kind, sorted by namespace and name."""
        return self._tables.list(kind, namespace)

    def snapshot(self) -> tuple[Event, ...]:
        """Everything, as if it were being added now: the first batch of a new subscriber."""
        events: _Events = []
        for key in self._tables:
            value = self.require(key)
            events.append(Event(key, None, value, self._revision, value))
        return tuple(events)

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call ``subscriber(events, revision)`` after each transaction; returns how to stop it.

        It must not write to the store.
        """
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber)

    def apply(self, operations: Sequence[Operation], *, dry_run: bool = False) -> Commit:
        """Do all operations or none; raises the first ``StoreError``, or ``JournalError``."""
        return self._transact(operations, partial=False, dry_run=dry_run)

    def apply_valid(self, operations: Sequence[Operation], *, dry_run: bool = False) -> Commit:
        """Do those operations that are right, as one transaction; the others come out INVALID."""
        return self._transact(operations, partial=True, dry_run=dry_run)

    async def watch(
        self, kinds: frozenset[str], since: int | None = None, *, bookmark_seconds: float = 30.0
    ) -> AsyncIterator[Event | Bookmark]:
        """Events of ``kinds`` after revision ``since``, for ever; raises ``TooOldError``.

        Without ``since``, first what exists now, as additions closed by a bookmark. A bookmark
        follows whenever ``bookmark_seconds`` pass without an event.
        """
        if since is None:
            since = self._revision
            for event in [event for event in self.snapshot() if event.key.kind in kinds]:
                yield event
            yield Bookmark(since, initial_end=True)
        while True:
            changed = self._history.changed
            events = self._history.after(since, _BATCH)
            if not events:
                try:
                    async with asyncio.timeout(bookmark_seconds):
                        await changed.wait()
                except TimeoutError:
                    yield Bookmark(since)
                continue
            for event in events:
                since = event.revision
                if event.key.kind in kinds:
                    yield event

    def _transact(self, operations: Sequence[Operation], *, partial: bool, dry_run: bool) -> Commit:
        assert not self._publishing, "a subscriber must not write to the store"
        start = self._tables.savepoint()
        outcomes: _Outcomes = []
        events: _Events = []
        renewed: _KeyList = []
        try:
            for operation in operations:
                revision = self._revision + len(events) + 1
                before = self._tables.savepoint()
                try:
                    outcome, event = self._operate(operation, revision)
                except StoreError as error:
                    if not partial:
                        raise
                    self._tables.rollback(before)
                    outcomes.append(Outcome(_key(operation), Action.INVALID, None, error))
                    continue
                outcomes.append(outcome)
                if event is not None:
                    events.append(event)
                elif self._tables.savepoint() != before:
                    renewed.append(outcome.key)
            if dry_run:
                self._tables.rollback(start)
                return Commit(self._revision, tuple(outcomes))
            self._write([event.key for event in events] + renewed, self._revision + len(events))
        except BaseException:
            self._tables.rollback(start)
            raise
        self._tables.forget_undo()
        self._publish(events)
        return Commit(self._revision, tuple(outcomes))

    def _operate(self, operation: Operation, revision: int) -> tuple[Outcome, Event | None]:
        if isinstance(operation, Delete):
            return self._delete(operation, revision)
        new = self._admission.place(operation.object) if self._admission else operation.object
        key = new.key
        old = self._tables.get(key)
        if isinstance(operation, Create) and old is not None:
            raise AlreadyExistsError(key)
        if old is None and (isinstance(operation, Replace | SetStatus) or _version(new)):
            raise NotFoundError(key)
        if old is not None:
            _check(key, old, _version(new), new.metadata.uid)
        if isinstance(operation, SetStatus):
            assert old is not None
            new = with_status_of(old, new)
        else:
            new = self._sharing.of(self._admitted(new, old))
        if old is not None and same(old, new):
            kept = with_origin_of(old, new)
            if kept is not old:  # Only its place in its file is new: nobody needs to be told.
                self._tables.put(key, kept)
            return Outcome(key, Action.UNCHANGED, kept), None
        new = stamped(new, old, revision, self._clock, self._uids)
        self._tables.put(key, new)
        action = Action.CREATED if old is None else Action.CONFIGURED
        return Outcome(key, action, new), Event(key, old, new, revision, new)

    def _admitted(self, new: Object, old: Object | None) -> Object:
        new = with_status_of(new, old)
        if self._admission is None:
            return new
        admitted = self._admission.admit(new, old, self._tables)
        assert admitted.key == new.key, "admission keeps the key"
        return admitted

    def _delete(self, operation: Delete, revision: int) -> tuple[Outcome, Event]:
        key = operation.key
        old = self._tables.get(key)
        if old is None:
            raise NotFoundError(key)
        _check(key, old, operation.resource_version, operation.uid)
        self._tables.put(key, None)
        last = with_revision(old, revision)
        return Outcome(key, Action.DELETED, last), Event(key, old, None, revision, last)

    def _write(self, keys: _Keys, revision: int) -> None:
        if self._journal is None or self._codec is None:
            return
        rows: _Rows = []
        for key in dict.fromkeys(keys):
            if key.kind not in self._ephemeral:
                value = self._tables.get(key)
                rows.append(Row(key, None if value is None else self._codec.encode(value)))
        self._journal.write(rows, revision)

    def _publish(self, events: _Events) -> None:
        if not events:
            return
        self._revision = events[-1].revision
        self._history.append(events)
        self._publishing = True
        try:
            for subscriber in tuple(self._subscribers):
                subscriber(tuple(events), self._revision)
        finally:
            self._publishing = False


def _version(value: Object) -> str:
    return value.metadata.resource_version


def _key(operation: Operation) -> ObjectKey:
    return operation.key if isinstance(operation, Delete) else operation.object.key


def _check(key: ObjectKey, old: Object, version: str, uid: str) -> None:
    """Optimistic locking: a version or uid that the caller gives must be the stored one."""
    if version and version != old.metadata.resource_version:
        raise ConflictError(
            key,
            f"the object has been modified (you have version {version}, stored is"
            f" {old.metadata.resource_version}); read the latest version and try again",
        )
    if uid and uid != old.metadata.uid:
        raise ConflictError(key, f"precondition failed: uid {uid} is not {old.metadata.uid}")
