"""Whether what passed fits to a token bucket of ``burst`` tokens, of which ``rate`` come back a second.

Times are in seconds.
"""

from collections.abc import Iterable


def never_too_many(passed: list[tuple[float, float]], burst: int, rate: float) -> bool:
    """Whether every span of time has room for all requests that were sent and answered within it."""
    for begin, _ in passed:
        ends = sorted(answered for sent, answered in passed if sent >= begin)
        if any(count > burst + rate * (end - begin) for count, end in enumerate(ends, 1)):
            return False
    return True


def passed_by_a_bucket(times: Iterable[float], burst: int, rate: float) -> int:
    """How many requests a bucket that is full at first lets through, if it is asked at these times."""
    tokens, last, count = float(burst), 0.0, 0
    for now in sorted(times):
        tokens, last = min(burst, tokens + rate * (now - last)), now
        if tokens >= 1:
            tokens, count = tokens - 1, count + 1
    return count
