"""How much a peer may ask before and after it is admitted. Sans-io."""

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that only a broken or hostile client meets.

    ``first_request_bytes`` and ``node_bytes`` hold before admission: a request on reconnection
    carries a version per name, about 110 bytes each. ``first_request_seconds`` is how long a
    stream may stay silent at its start. ``attempts`` are streams a second per identity and host,
    ``requests`` are requests a second per stream; each may be exceeded for a burst. ``streams`` are
    those of one client at the same time: a proxy has one, and for a moment two
    when it reconnects; of programs without proxies each process has one.
    ``write_seconds`` is how long a client may refuse to read.
    """

    first_request_bytes: int = 16 << 20
    node_bytes: int = 256 << 10
    first_request_seconds: float = 10.0
    attempts: float = 20.0
    attempts_burst: float = 200.0
    requests: float = 1000.0
    requests_burst: float = 20000.0
    write_seconds: float = 30.0
    streams: int = 32


class TokenBucket:
    """Lets ``burst`` through at once and ``rate`` a second on."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = now

    def take(self, now: float) -> bool:
        """Whether one more may pass at this monotonic time, in seconds."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class PeerBuckets:
    """A bucket per peer; remembers the latest ``capacity`` peers."""

    def __init__(self, limits: Limits, capacity: int = 20_000) -> None:
        self._limits = limits
        self._capacity = capacity
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, peer: str, now: float) -> bool:
        """Whether the peer may open one more stream."""
        bucket = self._buckets.get(peer)
        if bucket is None:
            bucket = TokenBucket(self._limits.attempts, self._limits.attempts_burst, now)
            self._buckets[peer] = bucket
            if len(self._buckets) > self._capacity:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(peer)
        return bucket.take(now)
