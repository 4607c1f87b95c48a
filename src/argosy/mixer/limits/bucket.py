"""A token bucket as one number: the generic cell rate algorithm. Pure.

The number is the theoretical arrival time: when the bucket will be full again, in seconds on the
clock of whoever counts. A bucket that was never used, or whose time is past, is full.
https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm
"""

from dataclasses import dataclass
from datetime import timedelta

from argosy.api.shared_limits import CountedLimit
from argosy.model.rate_limit import Rate


@dataclass(frozen=True, slots=True)
class Taken:
    """``allowed``: there were tokens enough. ``full_at`` is the bucket's number afterwards.

    ``remaining`` are whole tokens. ``reset`` is how long until it is full, and ``retry`` how long until what was
    asked for could be had, both in seconds.
    """

    allowed: bool
    full_at: float
    remaining: int
    reset: float
    retry: float = 0.0


def rate_of(limit: CountedLimit) -> Rate:
    return Rate(limit.requests, timedelta(seconds=limit.period), limit.burst)


def spacing(rate: Rate) -> float:
    """Seconds until a token comes back."""
    return rate.period.total_seconds() / rate.requests


def take(full_at: float | None, now: float, rate: Rate, hits: int) -> Taken:
    """Take ``hits`` tokens, or none if they are not there."""
    held = now if full_at is None else max(full_at, now)
    wanted = held + hits * spacing(rate)
    late = wanted - now - rate.burst * spacing(rate)
    if late > _EPSILON:
        return Taken(False, held, remaining(held, now, rate), held - now, late)
    return Taken(True, wanted, remaining(wanted, now, rate), wanted - now)


def remaining(full_at: float, now: float, rate: Rate) -> int:
    """The whole tokens of a bucket."""
    missing = max(0.0, full_at - now) / spacing(rate)
    return max(0, int(rate.burst - missing + _EPSILON))


_EPSILON = 1e-6
"""Seconds, or tokens: what sums of floating point numbers may be off."""
