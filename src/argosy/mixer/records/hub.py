"""Where records meet those who want them: the last failures, the watches, the recording. No I/O.

Everything is bounded: how many records are kept, how many may look, how many wait for a viewer who
reads slowly, and how many are taken in a second.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from argosy.mixer.records.load import Share
from argosy.mixer.records.record import Record, Reporter
from argosy.mixer.records.recording import Recorder
from argosy.mixer.records.tap import Watch, concerns, matches
from argosy.model.records import ALL, Direction, Wanted, Wish
from argosy.model.workload import sorted_labels

MAX_FAILURES = 20_000
MAX_OTHERS = 5_000
MAX_VIEWERS = 100
MAX_WAITING = 1_000
"""Records that a viewer has not read yet."""

LATE_TICKS = 4
"""Seconds after the end of a recording in which records of its time still come."""

ADDRESS_SECONDS = 300.0
"""How much older than a request a connection beneath it may be, to be found with it."""


class TooManyError(Exception):
    """So many look already that no more may."""


@dataclass(slots=True, eq=False)
class Viewer:
    """``waiting`` is what it has not read yet; ``dropped`` counts what it was too slow for."""

    watch: Watch
    notify: Callable[[], None]
    waiting: deque[Record] = field(default_factory=deque)
    dropped: int = 0

    def offer(self, record: Record) -> None:
        if len(self.waiting) >= MAX_WAITING:
            self.dropped += 1
            return
        self.waiting.append(record)
        self.notify()


@dataclass(slots=True)
class Counts:
    """Since the start. ``dropped``: more came in a second than Mixer takes. ``refused`` are streams
    whose sender says that it is another."""

    received: int = 0
    dropped: int = 0
    refused: int = 0
    unread: int = 0


class _Kept:
    """The last records of one kind, found by the request's id."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._last: deque[Record] = deque()
        self._by_id: dict[str, list[Record]] = {}

    def __len__(self) -> int:
        return len(self._last)

    def newest(self) -> Iterable[Record]:
        return reversed(self._last)

    def add(self, record: Record) -> None:
        if len(self._last) >= self._limit:
            self._forget(self._last.popleft())
        self._last.append(record)
        if record.request_id:
            self._by_id.setdefault(record.request_id, []).append(record)

    def of(self, request_id: str) -> Sequence[Record]:
        return self._by_id.get(request_id, ())

    def _forget(self, record: Record) -> None:
        if record.request_id:
            left = self._by_id[record.request_id]
            left.remove(record)
            if not left:
                del self._by_id[record.request_id]


class Hub:
    """``now`` is always seconds since the epoch. ``changed`` is called when ``wanted`` changes."""

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self._changed = changed
        self._failures = _Kept(MAX_FAILURES)
        self._others = _Kept(MAX_OTHERS)
        self._viewers: set[Viewer] = set()
        self._recorder: Recorder | None = None
        self._recording = False
        self._late_ticks = 0
        self._watched_share = Share()
        self._failure_share = Share()
        self.counts = Counts()

    # What proxies tell.

    def is_wanted(self, reporter: Reporter) -> bool:
        """Whether anything but failures of this proxy is of use to anybody."""
        recorder = self._recorder
        if self._is_heard and recorder and recorder.namespace in ("", reporter.namespace):
            return True
        return any(
            concerns(viewer.watch, reporter.namespace, reporter.labels, reporter.pod)
            for viewer in self._viewers
        )

    def admit(self, count: int, *, wanted: bool) -> int:
        """How many of ``count`` entries that came are to be looked at."""
        share = self._watched_share if wanted else self._failure_share
        taken = share.admit(count)
        self.counts.received += count
        self.counts.dropped += count - taken
        if taken < count and wanted and self._is_heard and self._recorder is not None:
            self._recorder.complete = False
        return taken

    def take(self, record: Record) -> None:
        (self._failures if record.is_failure else self._others).add(record)
        for viewer in self._viewers:
            if matches(viewer.watch, record):
                before = viewer.dropped
                viewer.offer(record)
                self.counts.unread += viewer.dropped - before
        recorder = self._recorder
        if self._is_heard and recorder is not None and record.time <= recorder.ends:
            recorder.take(record)

    def tick(self, now: float) -> None:
        """Once a second."""
        self._late_ticks = max(0, self._late_ticks - 1)
        self._end_recording(now)
        watched, failures = self._watched_share.tick(), self._failure_share.tick()
        if self._recorder is not None and self._recording and self._watched_share.share < ALL:
            self._recorder.complete = False
        if (watched and self._is_watched) or failures:
            self._changed()

    # What people ask.

    def last(self, *, namespace: str, workload: str, failures: bool, limit: int) -> list[Record]:
        """The newest first."""
        kinds = [self._failures] if failures else [self._failures, self._others]
        found: list[Record] = []
        for kept in kinds:
            count = 0
            for record in kept.newest():
                reporter = record.reporter
                if namespace in ("", reporter.namespace) and workload in ("", reporter.workload):
                    found.append(record)
                    count += 1
                    if count == limit:
                        break
        return sorted(found, key=lambda record: -record.time)[:limit]

    def request(self, request_id: str, namespace: str = "") -> list[Record]:
        """By time: what is known of a request, and of refused connections that it went by."""
        found = [*self._failures.of(request_id), *self._others.of(request_id)]
        dialled = {one.upstream_local_address: one for one in found if one.upstream_local_address}
        if dialled:
            found += [one for one in self._failures.newest() if _is_beneath(one, dialled)]
        seen = (one for one in found if namespace in ("", one.reporter.namespace))
        return sorted(seen, key=lambda one: (one.time, _DEPTH[one.direction]))

    def watch(self, watch: Watch, notify: Callable[[], None]) -> Viewer:
        """Raises ``TooManyError``. ``notify`` is called when there is something to read."""
        if len(self._viewers) >= MAX_VIEWERS:
            raise TooManyError
        viewer = Viewer(watch, notify)
        self._viewers.add(viewer)
        self._changed()
        return viewer

    def leave(self, viewer: Viewer) -> None:
        self._viewers.discard(viewer)
        if not self._is_watched:
            self._watched_share = Share()
        self._changed()

    def record(self, namespace: str, seconds: float, now: float) -> Recorder:
        """Begin to record, instead of what was recorded before."""
        self._recorder = Recorder(namespace, now, now + seconds)
        self._recording = True
        self._changed()
        return self._recorder

    def end_recording(self, now: float) -> None:
        if self._recorder is not None and self._recording:
            self._recorder.ends = min(self._recorder.ends, now)
            self._end_recording(now)

    @property
    def recorder(self) -> Recorder | None:
        """What is recorded, or was last."""
        return self._recorder

    @property
    def wanted(self) -> Wanted:
        share = self._watched_share.share
        wishes = {
            Wish(viewer.watch.namespace, sorted_labels(viewer.watch.labels), share)
            for viewer in self._viewers
            if not viewer.watch.failures
        }
        if self._recording and self._recorder is not None:
            wishes.add(Wish(self._recorder.namespace, (), share))
        ordered = sorted(wishes, key=lambda wish: (wish.namespace, wish.labels))
        return Wanted(tuple(ordered), self._failure_share.share)

    @property
    def viewers(self) -> int:
        return len(self._viewers)

    @property
    def kept(self) -> int:
        return len(self._failures) + len(self._others)

    @property
    def _is_heard(self) -> bool:
        """Whether what comes may still be of the recording: proxies hold entries for a moment."""
        return self._recording or self._late_ticks > 0

    @property
    def _is_watched(self) -> bool:
        return bool(self._viewers) or self._recording

    def _end_recording(self, now: float) -> None:
        if self._recording and self._recorder is not None and not self._recorder.is_active(now):
            self._recording = False
            self._late_ticks = LATE_TICKS
            if not self._is_watched:
                self._watched_share = Share()
            self._changed()


_DEPTH = {Direction.OUTBOUND: 1, Direction.INBOUND: 2, Direction.GATEWAY: 0}


def _is_beneath(record: Record, dialled: dict[str, Record]) -> bool:
    """Whether it is of the connection by which one of these requests went on."""
    above = dialled.get(record.source_address)
    return (
        above is not None
        and not record.request_id
        and abs(record.time - above.time) < ADDRESS_SECONDS
    )
