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
    """One bucket, or all of a proxy's own. ``values`` are of the limit's keys, or say whose proxy it is.

    ``counted``: ``allowed`` is known; ``measured``: how full the bucket is, too. ``noted`` is when something
    was last heard of it. Times are on the monotonic clock, in seconds.
    """

    limit: str
    values: tuple[str, ...]
    full_at: float = 0.0
    allowed: int = 0
    refused: int = 0
    last_refused: float = float("-inf")
    noted: float = 0.0
    counted: bool = True
    measured: bool = True


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
        seen = self._noted(limit, values, now)
        seen.full_at = now + taken.reset
        if passed:
            seen.allowed += 1
        else:
            seen.refused += 1
            seen.last_refused = now

    def add(
        self,
        limit: CountedLimit,
        values: tuple[str, ...],
        allowed: int | None,
        refused: int,
        now: float,
    ) -> None:
        """What a proxy has counted evenly since it was last heard of; ``allowed`` None: it cannot say."""
        known = (limit.id, values) in self._seen
        before = self._seen[limit.id, values].noted if known else now
        seen = self._noted(limit.id, values, now)
        seen.counted = allowed is not None
        seen.measured = seen.counted and not limit.keys
        rate = rate_of(limit)
        if seen.measured:
            wanted = max(seen.full_at, before) + (allowed or 0) * spacing(rate)
            seen.full_at = min(max(wanted, now), now + rate.burst * spacing(rate))
        seen.allowed += allowed or 0
        seen.refused += refused
        if refused:
            seen.last_refused = now

    def forget(self, before: float) -> None:
        """What was not heard of since then."""
        for key in [key for key, seen in self._seen.items() if seen.noted < before]:
            del self._seen[key]

    def _noted(self, limit: str, values: tuple[str, ...], now: float) -> Seen:
        key = (limit, values)
        seen = self._seen.get(key)
        if seen is None:
            seen = self._seen[key] = Seen(limit, values)
            if len(self._seen) > self._max_seen:
                self._seen.popitem(last=False)
        self._seen.move_to_end(key)
        seen.noted = now
        return seen

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
