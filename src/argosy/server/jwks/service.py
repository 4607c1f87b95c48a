"""Keys for the tokens of end users: what objects name is fetched, and put where formulas read it."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric import ec

from argosy.base.clock import Clock
from argosy.base.jwks import encoded
from argosy.derive import ABSENT
from argosy.model.request_authn import KeySource
from argosy.pilot.compile.request_authn import KeysFailure
from argosy.pilot.graph.request_authn import FetchedKeys, FetchFailure, UnverifiableKeys
from argosy.server.jwks import kept
from argosy.server.jwks.plan import REFRESH, Fetch, KeyPlan
from argosy.server.jwks.reach import FetchError
from argosy.store.transaction import Event

log = structlog.get_logger()

Publish = Callable[[Mapping[Hashable, object]], None]
"""Sets cells of the engine, and sends what follows from them to the proxies."""


def unverifiable_key_set() -> str:
    """A key set whose private key is forgotten before anybody has it."""
    numbers = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    x, y = (encoded(value.to_bytes(32, "big")) for value in (numbers.x, numbers.y))
    key = {"kty": "EC", "crv": "P-256", "kid": "none", "x": x, "y": y}
    return json.dumps({"keys": [key]}, separators=(",", ":"))


class Keys:
    """``wanted`` names the places and the longest waits; ``fetch`` raises FetchError."""

    def __init__(
        self,
        *,
        wanted: Callable[[], Iterable[tuple[KeySource, timedelta]]],
        fetch: Callable[[KeySource, timedelta], Awaitable[str]],
        publish: Publish,
        clock: Clock,
        file: Path,
        refresh: timedelta = REFRESH,
    ) -> None:
        self._wanted = wanted
        self._fetch = fetch
        self._publish = publish
        self._clock = clock
        self._file = file
        self._plan = KeyPlan(refresh)
        self._kept: dict[KeySource, kept.Kept] = {}
        self._failures: dict[KeySource, KeysFailure] = {}
        self._wake = asyncio.Event()
        self._answered = asyncio.Condition()
        self.fetched = 0
        self.failed = 0

    @property
    def failures(self) -> tuple[tuple[KeySource, KeysFailure], ...]:
        """The places whose keys could not be fetched the last time, sorted."""
        return tuple(sorted(self._failures.items(), key=lambda item: item[0]))

    def begin(self) -> None:
        """Once, before any proxy is served: nothing is valid, but what was kept."""
        self._publish({UnverifiableKeys(): unverifiable_key_set()})
        found = {one.source: one for one in kept.load(self._file)}
        self._look()
        now, wall = self._clock.monotonic(), self._clock.now().timestamp()
        cells: dict[Hashable, object] = {}
        for source, one in found.items():
            if source in dict(self._wanted()):
                self._kept[source] = one
                self._plan.had(source, now - max(0.0, wall - one.fetched))
                cells[FetchedKeys(source)] = one.keys
        if cells:
            self._publish(cells)

    def receive(self, _events: Sequence[Event], _revision: int) -> None:
        """A subscriber of the store, after the engine."""
        self._look()

    async def run(self) -> None:
        """Fetch what is due, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                for fetch in self._plan.begin(self._clock.monotonic()):
                    tasks.create_task(self._one(fetch))
                due = self._plan.next_due()
                pause = None if due is None else max(0.0, due - self._clock.monotonic())
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()

    async def settled(self, seconds: float) -> None:
        """Wait until every place was asked once, with whatever success, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._answered:
                await self._answered.wait_for(lambda: not any(self._plan.untried()))

    def _look(self) -> None:
        wanted = dict(self._wanted())
        new, gone = self._plan.want(wanted, self._clock.monotonic())
        if new:
            self._wake.set()
        if gone:
            for source in gone:
                self._kept.pop(source, None)
                self._failures.pop(source, None)
            self._save()
            self._publish(
                {cell(one): ABSENT for one in gone for cell in (FetchedKeys, FetchFailure)}
            )

    async def _one(self, fetch: Fetch) -> None:
        try:
            found = await self._fetch(fetch.source, fetch.wait)
        except FetchError as error:
            self.failed += 1
            self._failed(fetch.source, str(error))
        except Exception as error:
            self.failed += 1
            log.exception("jwks.internal_error", url=fetch.source.url)
            self._failed(fetch.source, f"a mistake of Argosy's: {type(error).__name__}: {error}")
        else:
            self.fetched += 1
            self._succeeded(fetch.source, found)
        self._wake.set()
        async with self._answered:
            self._answered.notify_all()

    def _succeeded(self, source: KeySource, found: str) -> None:
        if not self._plan.succeeded(source, self._clock.monotonic()):
            return
        self._failures.pop(source, None)
        before = self._kept.get(source)
        fetched = self._clock.now().timestamp()
        self._kept[source] = kept.Kept(source.url, source.discovery, found, fetched, source.bundle)
        self._save()
        self._publish({FetchedKeys(source): found, FetchFailure(source): ABSENT})
        if before is None or before.keys != found:
            log.info("jwks.fetched", url=source.url)

    def _failed(self, source: KeySource, reason: str) -> None:
        now = self._clock.monotonic()
        failing = self._plan.failed(source, now)
        if failing is None:
            return
        failure = KeysFailure(
            reason, self._time(failing.since, now), self._time(failing.next_try, now), failing.kept
        )
        before = self._failures.get(source)
        if before is None or (before.reason, before.kept) != (reason, failing.kept):
            log.warning("jwks.failed", url=source.url, error=reason, kept=failing.kept)
        self._failures[source] = failure
        cells: dict[Hashable, object] = {FetchFailure(source): failure}
        if not failing.kept:
            cells[FetchedKeys(source)] = ABSENT
            self._kept.pop(source, None)
        self._publish(cells)

    def _save(self) -> None:
        kept.save(self._file, (self._kept[source] for source in sorted(self._kept)))

    def _time(self, at: float, now: float) -> str:
        """A monotonic time as a person's, RFC 3339."""
        wall: datetime = self._clock.now() + timedelta(seconds=at - now)
        return wall.isoformat(timespec="seconds").replace("+00:00", "Z")
