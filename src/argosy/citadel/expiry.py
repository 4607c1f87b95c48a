"""When people must hear of a certificate that ends. Pure.

Authorities are spoken of weeks before their end, the louder the nearer it is; a workload's certificate
as soon as it was not renewed in its half life, for then something is broken.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from cryptography import x509


class Level(Enum):
    """How loud; ``every`` is how often it is said again."""

    NOTICE = "notice"
    WARNING = "warning"
    ERROR = "error"

    @property
    def every(self) -> timedelta:
        return _EVERY[self]


_EVERY = {
    Level.NOTICE: timedelta(days=1),
    Level.WARNING: timedelta(hours=1),
    Level.ERROR: timedelta(minutes=10),
}
_AUTHORITY = (
    (Level.ERROR, timedelta(weeks=1), 0.05),
    (Level.WARNING, timedelta(weeks=4), 0.125),
    (Level.NOTICE, timedelta(weeks=12), 0.25),
)
"""Of an authority: from so long before its end, or from so little of its life on if that is less."""

_LEAF = ((Level.ERROR, 0.1), (Level.WARNING, 0.25), (Level.NOTICE, 0.45))
"""Of a workload: with less than this part of its life left. It should have been renewed at 0.5."""


@dataclass(frozen=True, slots=True)
class ExpiryWarning:
    """``about`` says whose certificate it is."""

    level: Level
    about: str
    message: str


def authority_warning(
    about: str, certificate: x509.Certificate, now: datetime, hint: str
) -> ExpiryWarning | None:
    """Of a root or an intermediate."""
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if ends <= now:
        return ExpiryWarning(
            Level.ERROR, about, f"{about} expired on {ends:%Y-%m-%d %H:%M} UTC: {hint}"
        )
    for level, before, part in _AUTHORITY:
        if ends - now <= min(before, (ends - begins) * part):
            left = _left(ends - now)
            return ExpiryWarning(
                level, about, f"{about} expires in {left}, on {ends:%Y-%m-%d %H:%M} UTC: {hint}"
            )
    return None


def leaf_warning(
    about: str, begins: datetime, ends: datetime, now: datetime, why: str
) -> ExpiryWarning | None:
    """Of a workload; ``why`` is the last failure to renew it, if there was one."""
    reason = f": {why}" if why else ""
    if ends <= now:
        return ExpiryWarning(
            Level.ERROR,
            about,
            f"the certificate of {about} expired on {ends:%Y-%m-%d %H:%M} UTC{reason}",
        )
    for level, part in _LEAF:
        if ends - now <= (ends - begins) * part:
            return ExpiryWarning(
                level,
                about,
                f"the certificate of {about} was not renewed at half of its life "
                f"and expires in {_left(ends - now)}{reason}",
            )
    return None


def _left(length: timedelta) -> str:
    if length >= timedelta(days=2):
        return f"{length.days} days"
    hours = length.total_seconds() / 3600
    return f"{hours:.0f} hours" if hours >= 2 else f"{hours * 60:.0f} minutes"
