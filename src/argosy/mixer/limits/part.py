"""The part of Mixer that counts: a service for proxies, a table for people."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response

from argosy.api.shared_limits import PATH, CountedLimit, LimitsDocument
from argosy.mixer.asker import AskedRoute, asker_of
from argosy.mixer.caller import caller
from argosy.mixer.collect.otlp import LimitCount
from argosy.mixer.control_plane import ControlPlane, ControlPlaneError
from argosy.mixer.limits import ratelimit
from argosy.mixer.limits.counters import Counters, MemoryCounters
from argosy.mixer.limits.judge import LimitJudge
from argosy.mixer.limits.redis_counters import RedisCounters
from argosy.mixer.limits.usage import RECENT, Usage, Used
from argosy.mixer.parts import Ground, Handler
from argosy.model.rate_limit import TOGETHER

_WAIT_SECONDS = 20
_RETRY_SECONDS = 0.2
_MAX_RETRY_SECONDS = 2.0
MAX_ROWS = 1000
"""Buckets, or replicas, of one limit that people are shown: those that are used most."""

log = structlog.get_logger()


class Replica(msgspec.Struct, frozen=True, rename="camel"):
    """A proxy that counts for itself: its namespace, what its certificate says of its workload, its address."""

    namespace: str
    workload: str
    address: str


class LimitRow(msgspec.Struct, frozen=True, rename="camel"):
    """A bucket, or all of a ``replica`` by a limit of its own. ``used`` is 0 to 1, ``reset`` in seconds.

    ``keys`` and ``values`` belong together. None is what the replica does not tell.
    """

    limit: str
    keys: tuple[str, ...]
    values: tuple[str, ...]
    replica: Replica | None
    state: str
    used: float | None
    remaining: int | None
    reset: float | None
    allowed: int | None
    refused: int


class LimitTable(msgspec.Struct, frozen=True, rename="camel"):
    """A limit with its buckets."""

    id: str
    requests: int
    period: int
    burst: int
    shared: bool
    dry_run: bool
    file: str
    line: int
    rows: tuple[LimitRow, ...]


class LimitsPart:
    """``parts.Part``."""

    def __init__(self, ground: Ground) -> None:
        self._control_plane: ControlPlane = ground.control_plane
        self._redis = ("", "")
        self._judge = LimitJudge(MemoryCounters(time.monotonic), _caller, time.monotonic)
        self._own: Mapping[str, CountedLimit] = {}
        self._replicas = Usage()

    def handlers(self) -> Sequence[Handler]:
        return (ratelimit.handler(self._judge.should_rate_limit),)

    def routes(self) -> Sequence[AskedRoute]:
        return (AskedRoute("/limits", self._table, namespaced=True),)

    async def run(self) -> None:
        """Follow what the control plane says. While it is away, what it said last holds."""
        version, pause = "", _RETRY_SECONDS
        while True:
            try:
                query = {"version": version, "timeoutSeconds": str(_WAIT_SECONDS)}
                answer = await self._control_plane.get(PATH, query, seconds=_WAIT_SECONDS + 10.0)
                document = msgspec.json.decode(answer, type=LimitsDocument)
            except (ControlPlaneError, msgspec.DecodeError) as error:
                log.warning("limits.not_learned", error=str(error))
                await asyncio.sleep(pause)
                pause = min(2 * pause, _MAX_RETRY_SECONDS)
                continue
            pause = _RETRY_SECONDS
            if document.version != version:
                version = document.version
                await self._learn(document)

    async def _learn(self, document: LimitsDocument) -> None:
        redis = (document.counters, document.counters_name)
        if redis != self._redis:
            before: Counters = self._judge.counters
            self._redis = redis
            if document.counters:
                self._judge.counters = RedisCounters(*redis)
            else:
                self._judge.counters = MemoryCounters(time.monotonic)
            if isinstance(before, RedisCounters):
                await before.close()
        self._judge.learn(document)
        self._own = {one.id: one for one in document.own}
        log.info("limits.learned", limits=len(document.limits), redis=bool(document.counters))

    def take(self, counts: Sequence[LimitCount]) -> None:
        """What the ``caller()`` has counted by limits of its own. Limits of others are left out."""
        who, now = caller(), time.monotonic()
        replica = (who.identity.namespace, who.stated.workload, who.address)
        for count in counts:
            place, _, rules = count.filter.rpartition("/")
            together = tuple(dict.fromkeys(rules.split(TOGETHER)))
            for rule in together:
                limit = self._own.get(f"{place}/{rule}")
                if limit is None or _caller() not in limit.proxies:
                    continue
                told = limit.counts_all and len(together) == 1
                allowed = count.allowed if told else None
                self._replicas.add(limit, replica, allowed, count.refused, now)

    async def _table(self, request: Request) -> Response:
        asker, now = asker_of(request), time.monotonic()
        self._replicas.forget(now - RECENT)
        tables = [
            *_tables(self._judge.limits, self._judge.usage, now, shared=True),
            *_tables(tuple(self._own.values()), self._replicas, now, shared=False),
        ]
        found = sorted(
            (one for one in tables if asker.namespace in ("", one.id.partition("/")[0])),
            key=lambda one: one.id,
        )
        body = msgspec.json.encode({"items": found})
        return Response(body, media_type="application/json")


def _tables(
    limits: Sequence[CountedLimit], usage: Usage, now: float, *, shared: bool
) -> Iterator[LimitTable]:
    of = usage.of(limits, now)
    for limit in limits:
        used = sorted(
            of[limit.id],
            key=lambda one: (one.state != "OVER", -one.used, -one.seen.refused, one.seen.values),
        )
        rows = tuple(_row(limit, one, shared) for one in used[:MAX_ROWS])
        yield LimitTable(
            limit.id,
            limit.requests,
            limit.period,
            limit.burst,
            shared,
            limit.dry_run,
            limit.file,
            limit.line,
            rows,
        )


def _row(limit: CountedLimit, one: Used, shared: bool) -> LimitRow:
    seen = one.seen
    return LimitRow(
        limit.id,
        limit.keys if shared else (),
        seen.values if shared else (),
        None if shared else Replica(*seen.values),
        one.state,
        round(one.used, 4) if seen.measured else None,
        one.remaining if seen.measured else None,
        round(one.reset, 3) if seen.measured else None,
        seen.allowed if seen.counted else None,
        seen.refused,
    )


def _caller() -> tuple[str, str]:
    identity = caller().identity
    return identity.namespace, identity.service_account
