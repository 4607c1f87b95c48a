"""What Mixer must know to count shared limits: a formula's value, for whoever waits for its news."""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Sequence

import msgspec

from argosy import derive
from argosy.api.meta import Object, line_of
from argosy.api.shared_limits import CountedLimit, LimitsDocument
from argosy.base.names import ObjectKey
from argosy.model.rate_limit import CountedBy
from argosy.pilot.graph.rate_limits import counted_limits, counters
from argosy.store.transaction import Event


class SharedLimits:
    """``services.LimitsProvider``."""

    def __init__(self, engine: derive.Engine, find: Callable[[ObjectKey], Object | None]) -> None:
        self._engine = engine
        self._find = find
        self._document = LimitsDocument()
        self._changed = asyncio.Condition()
        self._woken = asyncio.Event()

    def begin(self) -> None:
        """Once, when the objects are there."""
        for shared in (True, False):
            self._engine.observe(counted_limits, shared)
        self._engine.observe(counters)
        self._document = self._made()

    def receive(self, _events: Sequence[Event], _revision: int) -> None:
        """A subscriber of the store, after the engine."""
        found = self._made()
        if found.version != self._document.version:
            self._document = found
            self._woken.set()

    async def run(self) -> None:
        """Tell those who wait, until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            async with self._changed:
                self._changed.notify_all()

    async def document(self, version: str, seconds: float) -> LimitsDocument:
        """As it is; with ``version`` as soon as it is another, or after ``seconds``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: self._document.version != version)
        return self._document

    def _made(self) -> LimitsDocument:
        """A formula that fails is our own mistake: what was told last goes on to hold."""
        shared = self._engine.value(counted_limits, True)
        own = self._engine.value(counted_limits, False)
        redis = self._engine.value(counters)
        if (
            isinstance(shared, derive.Failed)
            or isinstance(own, derive.Failed)
            or isinstance(redis, derive.Failed)
        ):
            return self._document
        found = LimitsDocument(
            counters=redis.url,
            counters_name=redis.name,
            limits=tuple(self._counted(one) for one in shared),
            own=tuple(self._counted(one) for one in own),
        )
        version = hashlib.sha256(msgspec.json.encode(found)).hexdigest()
        return msgspec.structs.replace(found, version=version)

    def _counted(self, counted: CountedBy) -> CountedLimit:
        limit = counted.limit
        written = self._find(limit.object)
        origin = None if written is None else written.origin
        return CountedLimit(
            id=limit.id,
            requests=limit.rate.requests,
            period=int(limit.rate.period.total_seconds()),
            burst=limit.rate.burst,
            keys=tuple(key.name for key in limit.keys),
            dry_run=limit.dry_run,
            quota_headers=limit.quota_headers,
            body=limit.refusal.body,
            content_type=limit.refusal.content_type,
            counts_all=limit.counts_all,
            proxies=tuple((one.namespace, one.service_account) for one in counted.proxies),
            file="" if origin is None else origin.file,
            line=line_of(origin, limit.field) or 0,
        )
