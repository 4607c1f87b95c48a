"""Durations as Go writes them, which is what Istio's API accepts: ``1h30m``, ``2.5s``, ``100ms``.

https://pkg.go.dev/time#ParseDuration; Istio refuses anything finer than a millisecond.
"""

import re

from argosy.api.meta import Duration

_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_TERM = re.compile(r"([0-9]{1,18})?(?:\.([0-9]{0,18}))?(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_MAX_NANOSECONDS = 2**63 - 1


def parse_duration(text: str) -> Duration:
    """The duration; raises ValueError with a reason in a person's words."""
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if rest == "0":
        return Duration(0)
    total, position = 0, 0
    while position < len(rest):
        term = _TERM.match(rest, position)
        if term is None or not (term[1] or term[2]):
            break
        size = _NANOSECONDS[term[3]]
        fraction = term[2] or "0"
        total += int(term[1] or 0) * size + int(fraction) * size // 10 ** len(fraction)
        position = term.end()
    if not rest or position < len(rest):
        raise ValueError(f"{_short(text)} is not a duration")
    if total > _MAX_NANOSECONDS:
        raise ValueError(f"{_short(text)} is longer than 292 years")
    if total % 1_000_000:
        raise ValueError(f"{_short(text)} is finer than a millisecond")
    return Duration(sign * total // 1_000_000)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
