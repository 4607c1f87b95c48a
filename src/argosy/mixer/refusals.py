"""What proxies say and are not believed: counted, and logged so rarely that nobody fills a log."""

from collections import OrderedDict

import structlog

from argosy.citadel.identity import SpiffeId
from argosy.mixer.text import short

KNOWN = 1000
"""Identities whose refusals are counted."""

MAX_WHY = 300
"""Characters, some of which are the sender's."""

log = structlog.get_logger()


class Refusals:
    """Of one kind, logged as ``event`` for the first time of each identity, and at each tenfold."""

    def __init__(self, event: str) -> None:
        self._event = event
        self._counts: OrderedDict[SpiffeId, int] = OrderedDict()
        self.total = 0

    def add(self, identity: SpiffeId, count: int, why: str = "") -> None:
        before = self._counts.pop(identity, 0)
        now = self._counts[identity] = before + count
        self.total += count
        if len(self._counts) > KNOWN:
            self._counts.popitem(last=False)
        if not before or len(str(now)) > len(str(before)):
            log.warning(self._event, identity=str(identity), count=now, why=short(why, MAX_WHY))
