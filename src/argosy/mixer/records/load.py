"""How much Mixer asks for, so that it can keep up whatever the mesh does. Pure.

Shares are halved until what comes fits, and doubled again after a while when it would fit. What
comes above the limit all the same, until the proxies have heard, is dropped and counted.
"""

from dataclasses import dataclass

from argosy.model.records import ALL

RECORDS_PER_SECOND = 2000
"""What one kind of records, watched ones or failures, may be."""

SETTLE_TICKS = 3
"""After a change: the proxies have to hear of it, and hold entries for a second."""

RAISE_TICKS = 5
"""How long it must have been calm before more is asked for."""


@dataclass(slots=True)
class Share:
    """Of one kind of records. ``tick`` is called once a second."""

    limit: int = RECORDS_PER_SECOND
    share: int = ALL
    _came: int = 0
    _settling: int = 0
    _calm: int = 0

    def admit(self, count: int) -> int:
        """How many of ``count`` more records are to be taken."""
        before = self._came
        self._came += count
        return max(0, min(count, 2 * self.limit - before))

    def tick(self) -> bool:
        """A second is over; whether the share is another now."""
        came, self._came = self._came, 0
        if self._settling:
            self._settling -= 1
            return False
        if came > self.limit and self.share > 1:
            while came > self.limit and self.share > 1:
                self.share //= 2
                came //= 2
            self._settling, self._calm = SETTLE_TICKS, 0
            return True
        fits = 2 * came <= self.limit
        self._calm = self._calm + 1 if fits and self.share < ALL else 0
        if self._calm < RAISE_TICKS:
            return False
        self.share = min(ALL, 2 * self.share)
        self._calm = 0
        return True
