"""How often one may ask: a token bucket each, and a bounded number of buckets."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class RateLimit:
    """``burst`` at once, then one each ``interval`` seconds, per key.

    Remembers the ``capacity`` keys that asked last.
    """

    def __init__(self, burst: int, interval: float, capacity: int = 10_000) -> None:
        self._burst = burst
        self._interval = interval
        self._capacity = capacity
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()

    def admit(self, key: Hashable, now: float) -> float:
        """0 when ``key`` may go on, else the seconds to wait. ``now`` is monotonic seconds."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(self._burst, now)
            if len(self._buckets) > self._capacity:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        refilled = bucket.tokens + (now - bucket.at) / self._interval
        bucket.tokens, bucket.at = min(self._burst, refilled), now
        if bucket.tokens < 1:
            return (1 - bucket.tokens) * self._interval
        bucket.tokens -= 1
        return 0.0
