"""Where buckets are: the embedded ones, in memory."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from argosy.mixer.limits.bucket import Taken, take
from argosy.model.rate_limit import Rate

MAX_BUCKETS = 200_000
"""About 60 MB. Beyond, those that were not asked for longest are forgotten, which is as if full."""


@dataclass(frozen=True, slots=True)
class Ask:
    """``hits`` tokens of the bucket ``key``. ``enforced``: without them the request is refused."""

    key: str
    rate: Rate
    hits: int = 1
    enforced: bool = True


class CountersError(Exception):
    """Nobody can count at the moment; the text says why."""


class Counters(Protocol):
    async def take(self, asks: Sequence[Ask]) -> tuple[Taken, ...]:
        """One answer for each of ``asks``, at once for all of one request.

        If one that is enforced is not allowed, no token is taken of any of the enforced: a refused
        request costs no quota. Raises ``CountersError``.
        """
        ...


class MemoryCounters:
    """``now`` is a monotonic clock, in seconds. Nothing here waits, so nothing can come between."""

    def __init__(self, now: Callable[[], float], *, max_buckets: int = MAX_BUCKETS) -> None:
        self._now = now
        self._max_buckets = max_buckets
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def names(self) -> tuple[str, ...]:
        """Of the buckets that are not forgotten."""
        return tuple(self._full_at)

    async def take(self, asks: Sequence[Ask]) -> tuple[Taken, ...]:
        now = self._now()
        taken = [take(self._full_at.get(ask.key), now, ask.rate, ask.hits) for ask in asks]
        passes = all(one.allowed for ask, one in zip(asks, taken, strict=True) if ask.enforced)
        for ask, one in zip(asks, taken, strict=True):
            if one.allowed and (passes or not ask.enforced):
                self._full_at[ask.key] = one.full_at
                self._full_at.move_to_end(ask.key)
        while len(self._full_at) > self._max_buckets:
            self._full_at.popitem(last=False)
        return tuple(taken)
