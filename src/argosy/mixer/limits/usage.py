"""Who is near a limit, or over it: what was decided last of each bucket, for people. Pure."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from argosy.api.shared_limits import CountedLimit
from argosy.mixer.limits.bucket import Taken, rate_of, spacing

MAX_SEEN = 10_000
"""Buckets that are remembered; those that were not used for longest are forgotten first."""

RECENT = 60.0
"""Seconds: whoever was refused in that time is over the limit."""

NEAR = 0.8
"""Of a bucket that is used: from there on it is near the limit."""


@dataclass(slots=True)
class Seen:
    """One bucket. ``values`` are of the limit's keys. Times are on the monotonic clock, in seconds."""

    limit: str
    values: tuple[str, ...]
    full_at: float = 0.0
    allowed: int = 0
    refused: int = 0
    last_refused: float = float("-inf")


@dataclass(frozen=True, slots=True)
class Used:
    """A bucket now. ``used`` is the share that is gone, 0 to 1. ``state`` is OK, NEAR or OVER."""

    seen: Seen
    remaining: int
    used: float
    reset: float
    state: str


class Usage:
    def __init__(self, max_seen: int = MAX_SEEN) -> None:
        self._max_seen = max_seen
        self._seen: OrderedDict[tuple[str, tuple[str, ...]], Seen] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def note(
        self, limit: str, values: tuple[str, ...], taken: Taken, now: float, *, passed: bool
    ) -> None:
        """``passed``: the request did, as far as this limit is concerned."""
        key = (limit, values)
        seen = self._seen.get(key)
        if seen is None:
            seen = self._seen[key] = Seen(limit, values)
            if len(self._seen) > self._max_seen:
                self._seen.popitem(last=False)
        self._seen.move_to_end(key)
        seen.full_at = now + taken.reset
        if passed:
            seen.allowed += 1
        else:
            seen.refused += 1
            seen.last_refused = now

    def of(self, limits: Iterable[CountedLimit], now: float) -> dict[str, list[Used]]:
        """The buckets of each limit, by its id."""
        rates = {one.id: rate_of(one) for one in limits}
        found: dict[str, list[Used]] = {name: [] for name in rates}
        for seen in self._seen.values():
            rate = rates.get(seen.limit)
            if rate is None:
                continue
            reset = max(0.0, seen.full_at - now)
            used = min(1.0, reset / spacing(rate) / rate.burst)
            state = "OK"
            if now - seen.last_refused <= RECENT:
                state = "OVER"
            elif used >= NEAR:
                state = "NEAR"
            left = max(0, int(rate.burst * (1 - used) + 1e-6))
            found[seen.limit].append(Used(seen, left, used, reset, state))
        return found
