"""Buckets in Redis, for Mixers that count together.

One script a request, which Redis runs at once and by its own clock, so replicas agree whatever
their clocks say. Buckets expire when they are full. The script is of one Redis, not of a cluster:
the buckets of one request may be anywhere.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from argosy.mixer.limits.bucket import Taken, spacing
from argosy.mixer.limits.counters import Ask, CountersError

CONNECTIONS = 8
"""Each carries thousands of questions a second, and is dear to open."""

WAIT_SECONDS = 0.2
"""For an answer: proxies themselves wait half a second for Mixer's."""

QUEUE_SECONDS = 0.4
"""For one of the connections."""

PAUSE_SECONDS = 0.2
"""After a failure nobody is kept waiting for Redis for so long."""

_PREFIX = "argosy:limit:"

_SCRIPT = """
local clock = redis.call('TIME')
local now = tonumber(clock[1]) - 1700000000 + tonumber(clock[2]) / 1000000
local wanted, passes, answers = {}, true, {}
for i, key in ipairs(KEYS) do
  local spacing, burst = tonumber(ARGV[4 * i - 3]), tonumber(ARGV[4 * i - 2])
  local hits, enforced = tonumber(ARGV[4 * i - 1]), ARGV[4 * i] == '1'
  local held = tonumber(redis.call('GET', key) or now)
  if held < now then held = now end
  local after = held + hits * spacing
  local late = after - now - burst * spacing
  local allowed = late <= 0.000001
  if enforced and not allowed then passes = false end
  wanted[i] = {allowed, enforced, after}
  if not allowed then after = held end
  answers[i] = {allowed and 1 or 0, string.format('%.9f', after - now),
                string.format('%.9f', allowed and 0 or late)}
end
for i, key in ipairs(KEYS) do
  local allowed, enforced, after = unpack(wanted[i])
  if allowed and (passes or not enforced) then
    redis.call('SET', key, string.format('%.9f', after),
               'PX', math.max(1, math.ceil((after - now) * 1000)))
  end
end
return answers
"""


class _NamedConnection(SSLConnection):
    """By TLS to an address whose certificate must be for a name."""

    def __init__(self, *, server_name: str, **options: Any) -> None:
        super().__init__(**options)
        self._server_name = server_name

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {**super()._connection_arguments(), "server_hostname": self._server_name}


class RedisCounters:
    """``url`` as of redis-py: ``redis://host:6379/0``, ``rediss://``, ``unix:///path``.

    ``name`` is what the certificate of a Redis with TLS must be for; empty: the URL's host.
    """

    def __init__(
        self, url: str, name: str = "", monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._monotonic = monotonic
        self._resume = 0.0
        self._why = ""
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=QUEUE_SECONDS,
            socket_timeout=WAIT_SECONDS,
            socket_connect_timeout=WAIT_SECONDS,
            retry=Retry(NoBackoff(), 1),  # a connection that Redis closed while nobody used it
        )
        if name:
            pool.connection_class = _NamedConnection
            pool.connection_kwargs["server_name"] = name
        self._redis: Redis = Redis.from_pool(pool)
        self._script = self._redis.register_script(_SCRIPT)

    async def take(self, asks: Sequence[Ask]) -> tuple[Taken, ...]:
        if self._monotonic() < self._resume:
            raise CountersError(self._why)
        arguments: list[str | int | float] = []
        for ask in asks:
            arguments += [spacing(ask.rate), ask.rate.burst, ask.hits, int(ask.enforced)]
        try:
            found = await self._script(keys=[_PREFIX + ask.key for ask in asks], args=arguments)
        except (RedisError, OSError) as error:
            self._why = f"Redis does not answer: {error}"
            self._resume = self._monotonic() + PAUSE_SECONDS
            raise CountersError(self._why) from error
        return tuple(_taken(ask, answer) for ask, answer in zip(asks, found, strict=True))

    async def close(self) -> None:
        await self._redis.aclose()


def _taken(ask: Ask, answer: Sequence[bytes]) -> Taken:
    reset = float(answer[1])
    left = max(0, int(ask.rate.burst - reset / spacing(ask.rate) + 1e-6))
    return Taken(bool(int(answer[0])), reset, left, reset, float(answer[2]))
