"""When which keys are fetched: sans-io; time is passed in as seconds of a clock that only grows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from argosy.model.request_authn import KeySource

REFRESH = timedelta(minutes=20)
"""Istio's ``PILOT_JWT_PUB_KEY_REFRESH_INTERVAL``."""

MAX_AGE = timedelta(days=7)
"""How long keys are used that could not be fetched again, as in Istio."""

FIRST_RETRY = timedelta(seconds=1)
LAST_RETRY = timedelta(minutes=1)
MAX_AT_ONCE = 8


class Fetch(NamedTuple):
    """To be begun now; ``wait`` is how long it may take."""

    source: KeySource
    wait: timedelta


@dataclass(slots=True)
class _Place:
    wait: timedelta
    due: float
    running: bool = False
    tried: bool = False
    failures: int = 0
    failing_since: float = 0.0
    fetched: float | None = None


class Failing(NamedTuple):
    """Since when a place fails, when it is tried next, and whether earlier keys still hold."""

    since: float
    next_try: float
    kept: bool


class KeyPlan:
    """Each place is fetched at once when it is new, then every ``refresh``; sooner on failure."""

    def __init__(self, refresh: timedelta = REFRESH) -> None:
        self._refresh = refresh.total_seconds()
        self._places: dict[KeySource, _Place] = {}

    def want(
        self, wanted: Mapping[KeySource, timedelta], now: float
    ) -> tuple[frozenset[KeySource], frozenset[KeySource]]:
        """All places that are wanted from now on; which of them are new, and which went."""
        new = wanted.keys() - self._places.keys()
        gone = self._places.keys() - wanted.keys()
        for source in gone:
            del self._places[source]
        for source, wait in wanted.items():
            place = self._places.setdefault(source, _Place(wait, due=now))
            place.wait = wait
        return frozenset(new), frozenset(gone)

    def had(self, source: KeySource, fetched: float) -> None:
        """Keys of a place that were fetched before this process; it is fetched again at once."""
        self._places[source].fetched = fetched

    def begin(self, now: float) -> list[Fetch]:
        """The fetches to begin now, those that wait longest first; few at the same time."""
        running = sum(place.running for place in self._places.values())
        due = sorted(
            (place.due, source)
            for source, place in self._places.items()
            if not place.running and place.due <= now
        )
        begun = []
        for _, source in due[: max(0, MAX_AT_ONCE - running)]:
            self._places[source].running = True
            begun.append(Fetch(source, self._places[source].wait))
        return begun

    def succeeded(self, source: KeySource, now: float) -> bool:
        """Whether the place is still wanted."""
        place = self._places.get(source)
        if place is None:
            return False
        place.running, place.tried, place.failures = False, True, 0
        place.fetched, place.due = now, now + self._refresh
        return True

    def failed(self, source: KeySource, now: float) -> Failing | None:
        """None: the place is not wanted any more."""
        place = self._places.get(source)
        if place is None:
            return None
        if not place.failures:
            place.failing_since = now
        pause = FIRST_RETRY.total_seconds() * 2.0 ** min(place.failures, 16)
        pause = min(pause, LAST_RETRY.total_seconds(), max(self._refresh, 1.0))
        place.running, place.tried, place.due = False, True, now + pause
        place.failures += 1
        kept = place.fetched is not None and now - place.fetched <= MAX_AGE.total_seconds()
        return Failing(place.failing_since, place.due, kept)

    def next_due(self) -> float | None:
        """When ``begin`` has something to do by itself; None: not before something else happens."""
        due = [place.due for place in self._places.values() if not place.running]
        busy = sum(place.running for place in self._places.values()) >= MAX_AT_ONCE
        return None if busy or not due else min(due)

    def untried(self) -> Iterable[KeySource]:
        """Places without an answer so far, good or bad."""
        return (source for source, place in self._places.items() if not place.tried)
