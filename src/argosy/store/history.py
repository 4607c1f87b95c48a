"""The last events, for watchers.

A ring of bounded size that all watchers share. A watcher is only a position in it, so a slow one
costs nothing: when its position falls out of the ring it gets :class:`TooOldError` and lists again.
"""

import asyncio
from collections.abc import Sequence

from argosy.store.transaction import Event, TooOldError


class History:
    """Events of consecutive revisions. ``capacity`` is in events; one event loop only."""

    def __init__(self, capacity: int, revision: int = 0) -> None:
        self._capacity = capacity
        self._events: list[Event] = []
        self._revision = revision
        self._changed = asyncio.Event()

    @property
    def oldest(self) -> int:
        """The oldest revision that a watch may be resumed from."""
        return self._revision - len(self._events)

    @property
    def changed(self) -> asyncio.Event:
        """Set at the next append. Take it before looking, then nothing is missed."""
        return self._changed

    def append(self, events: Sequence[Event]) -> None:
        """Add the events of a transaction and wake the watchers."""
        for event in events:
            assert event.revision == self._revision + 1, "revisions are consecutive"
            self._revision = event.revision
            self._events.append(event)
        if len(self._events) > 2 * self._capacity:  # Amortised: one copy per capacity events.
            del self._events[: -self._capacity]
        self._changed.set()
        self._changed = asyncio.Event()

    def after(self, revision: int, limit: int) -> Sequence[Event]:
        """At most ``limit`` events later than ``revision``; raises :class:`TooOldError`."""
        if not self.oldest <= revision <= self._revision:
            raise TooOldError(revision, self.oldest)
        start = len(self._events) - (self._revision - revision)
        return self._events[start : start + limit]
