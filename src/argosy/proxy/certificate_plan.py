"""When to ask for a certificate, and which to keep. Decisions only: no clock, no I/O.

Feed ``handle`` with what happens and with the wall clock; do what it says. The rules:

* Renew at half of what was left when the certificate came, give or take 1 %. A clock that runs
  ahead of the authority's then renews sooner, but not without end.
* A failure never takes away a certificate. It is retried with doubling delays up to five
  minutes; up to ten seconds when the certificate has less than a tenth of its life left, or
  when there is none.
* A new certificate that is not valid by this machine's clock does not replace one that is.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

JITTER = 0.01
"""Renewals of workloads that started together spread over this part of the lifetime."""

URGENT_PART = 0.1
"""With less than this part of its life left, a certificate is urgent to renew."""

FIRST_RETRY = timedelta(seconds=0.5)
LONGEST_RETRY = timedelta(minutes=5)
LONGEST_URGENT_RETRY = timedelta(seconds=10)

MINIMUM_VALIDITY = timedelta(seconds=5)
"""An authority that issues less than this is as good as one that does not answer."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the plan knows of a certificate: its serial in hexadecimal, and when it is valid."""

    serial: str
    not_before: datetime
    not_after: datetime

    def is_valid(self, now: datetime) -> bool:
        return self.not_before <= now < self.not_after


@dataclass(frozen=True, slots=True)
class Started:
    """The agent runs. ``held`` is the certificate that an earlier run left."""

    held: Certificate | None = None
    jitter: float = 0.5


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed, or may have been set."""


@dataclass(frozen=True, slots=True)
class RenewalWanted:
    """Somebody wants a new certificate now, for instance because the root was replaced."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The authority signed. ``jitter`` is random, from 0 to 1."""

    certificate: Certificate
    jitter: float = 0.5


@dataclass(frozen=True, slots=True)
class Installed:
    """Envoy has been given it. ``jitter`` is random, from 0 to 1."""

    certificate: Certificate
    jitter: float = 0.5


@dataclass(frozen=True, slots=True)
class Failed:
    """The authority did not sign, or the disk did not take it. ``jitter`` is from 0 to 1."""

    reason: str
    jitter: float = 0.5


Event = Started | Tick | RenewalWanted | Answered | Installed | Failed


@dataclass(frozen=True, slots=True)
class Request:
    """Make a key and ask for a certificate, then tell ``Answered`` or ``Failed``."""


@dataclass(frozen=True, slots=True)
class Install:
    """Give Envoy the certificate that was just answered, then tell ``Installed`` or ``Failed``."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before ``until``; tell ``Tick`` then."""

    until: datetime


Command = Request | Install | Wait


class CertificatePlan:
    """The renewal of one workload's certificate. One request is outstanding at most."""

    def __init__(self) -> None:
        self.held: Certificate | None = None
        self.renew_at: datetime | None = None
        self.failures = 0
        self.last_failure = ""
        self._retry_at: datetime | None = None
        self._requested = False

    def handle(self, event: Event, now: datetime) -> list[Command]:
        """What to do after ``event``: one command, or none while a request is under way."""
        match event:
            case Started(held, jitter):
                if held is not None and held.is_valid(now):
                    self._hold(held, since=held.not_before, jitter=jitter)
            case Answered(certificate, jitter):
                objection = self._objection(certificate, now)
                if not objection:
                    return [Install()]
                self._requested = False
                self._fail(objection, now, jitter)
            case Installed(certificate, jitter):
                self._requested = False
                self._hold(certificate, since=now, jitter=jitter)
            case Failed(reason, jitter):
                self._requested = False
                self._fail(reason, now, jitter)
            case RenewalWanted():
                self.renew_at = self._retry_at = now
            case Tick():
                pass
        return self._next(now)

    def is_urgent(self, now: datetime) -> bool:
        """Whether the workload has no valid certificate, or will soon have none."""
        held = self.held
        if held is None or not held.is_valid(now):
            return True
        return held.not_after - now <= (held.not_after - held.not_before) * URGENT_PART

    def _next(self, now: datetime) -> list[Command]:
        if self._requested:
            return []
        due = self.renew_at or now
        if self._retry_at is not None:
            due = self._retry_at
        if due <= now:
            self._requested = True
            return [Request()]
        return [Wait(due)]

    def _hold(self, certificate: Certificate, since: datetime, jitter: float) -> None:
        left = certificate.not_after - since
        self.held = certificate
        self.renew_at = since + left * (0.5 + JITTER * (jitter - 0.5))
        self.failures, self.last_failure, self._retry_at = 0, "", None

    def _fail(self, reason: str, now: datetime, jitter: float) -> None:
        longest = LONGEST_URGENT_RETRY if self.is_urgent(now) else LONGEST_RETRY
        delay = min(longest, FIRST_RETRY * 2 ** min(self.failures, 20))
        self.failures += 1
        self.last_failure = reason
        self._retry_at = now + delay * (0.75 + 0.5 * jitter)
        if self.held is not None and self.held.not_after > now:
            self._retry_at = min(self._retry_at, self._urgent_from(self.held, now))

    def _urgent_from(self, held: Certificate, now: datetime) -> datetime:
        """When a wait must end at the latest: as the certificate becomes urgent."""
        start = held.not_after - (held.not_after - held.not_before) * URGENT_PART
        return start if start > now else held.not_after

    def _objection(self, certificate: Certificate, now: datetime) -> str:
        """Why not to install it, or nothing."""
        if certificate.not_after < now + MINIMUM_VALIDITY:
            return (
                f"the new certificate ended at {certificate.not_after:%Y-%m-%d %H:%M:%S} UTC "
                "already: compare this machine's clock with the control plane's"
            )
        held = self.held
        if certificate.not_before > now and held is not None and held.is_valid(now):
            return (
                f"the new certificate begins at {certificate.not_before:%Y-%m-%d %H:%M:%S} UTC: "
                "compare this machine's clock with the control plane's"
            )
        return ""
