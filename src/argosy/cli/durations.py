"""Lengths of time as options take them: ``30s``, ``1.5m``, ``24h``, ``90d``."""

import re

from argosy.cli.client import CliError
from argosy.cli.output import duration

DAY = 86400.0
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": DAY}
_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)([smhd])")


def seconds_of(text: str, option: str, longest: float = DAY) -> float:
    """What ``option`` says, in seconds: more than nothing and at most ``longest``. Raises CliError."""
    found = _DURATION.fullmatch(text.strip())
    seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if not 0 < seconds <= longest:
        message = (
            f"{option} {text!r} is not a time such as 30s, 15m or 8h, up to {duration(longest)}"
        )
        raise CliError(message, code=2)
    return seconds
