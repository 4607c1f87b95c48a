"""The part of Mixer that counts: a service for proxies, a table for people."""

import asyncio
import time
from collections.abc import Sequence

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response

from argosy.api.shared_limits import PATH, LimitsDocument
from argosy.mixer.asker import AskedRoute, asker_of
from argosy.mixer.caller import caller
from argosy.mixer.control_plane import ControlPlane, ControlPlaneError
from argosy.mixer.limits import ratelimit
from argosy.mixer.limits.counters import Counters, MemoryCounters
from argosy.mixer.limits.judge import LimitJudge
from argosy.mixer.limits.redis_counters import RedisCounters
from argosy.mixer.parts import Ground, Handler

_WAIT_SECONDS = 20
_RETRY_SECONDS = 0.2
_MAX_RETRY_SECONDS = 2.0
MAX_ROWS = 1000
"""Buckets of one limit that people are shown: those that are used most."""

log = structlog.get_logger()


class LimitRow(msgspec.Struct, frozen=True, rename="camel"):
    """One bucket. ``used`` is 0 to 1, ``reset`` in seconds; ``keys`` and ``values`` belong together."""

    limit: str
    keys: tuple[str, ...]
    values: tuple[str, ...]
    state: str
    used: float
    remaining: int
    reset: float
    allowed: int
    refused: int


class LimitTable(msgspec.Struct, frozen=True, rename="camel"):
    """A limit with its buckets."""

    id: str
    requests: int
    period: int
    burst: int
    dry_run: bool
    file: str
    line: int
    rows: tuple[LimitRow, ...]


class LimitsPart:
    """``parts.Part``."""

    def __init__(self, ground: Ground) -> None:
        self._control_plane: ControlPlane = ground.control_plane
        self._url = ""
        self._judge = LimitJudge(MemoryCounters(time.monotonic), _caller, time.monotonic)

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
        if document.counters != self._url:
            before: Counters = self._judge.counters
            self._url = document.counters
            if document.counters:
                self._judge.counters = RedisCounters(document.counters)
            else:
                self._judge.counters = MemoryCounters(time.monotonic)
            if isinstance(before, RedisCounters):
                await before.close()
        self._judge.learn(document)
        log.info("limits.learned", limits=len(document.limits), redis=bool(document.counters))

    async def _table(self, request: Request) -> Response:
        asker = asker_of(request)
        limits = [
            limit
            for limit in self._judge.limits
            if asker.namespace in ("", limit.id.partition("/")[0])
        ]
        usage = self._judge.usage.of(limits, time.monotonic())
        found = []
        for limit in limits:
            used = sorted(
                usage[limit.id],
                key=lambda one: (one.state != "OVER", -one.used, one.seen.values),
            )
            rows = tuple(
                LimitRow(
                    limit.id,
                    limit.keys,
                    one.seen.values,
                    one.state,
                    round(one.used, 4),
                    one.remaining,
                    round(one.reset, 3),
                    one.seen.allowed,
                    one.seen.refused,
                )
                for one in used[:MAX_ROWS]
            )
            found.append(
                LimitTable(
                    limit.id,
                    limit.requests,
                    limit.period,
                    limit.burst,
                    limit.dry_run,
                    limit.file,
                    limit.line,
                    rows,
                )
            )
        body = msgspec.json.encode({"items": found})
        return Response(body, media_type="application/json")


def _caller() -> tuple[str, str]:
    identity = caller().identity
    return identity.namespace, identity.service_account
