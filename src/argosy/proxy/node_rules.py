"""Keeps tables of rules in one network namespace as they are wanted."""

import asyncio
from collections.abc import Callable

import structlog
from pyroute2.netlink.exceptions import NetlinkError

from argosy.platforms.local import netns
from argosy.proxy import capture, capture_nft

_RETRY_SECONDS = 1.0
log = structlog.get_logger()


class KeptRules:
    """Each of ``wanted`` is asked for one table, always the same. Without chains it is not made."""

    def __init__(self, *wanted: Callable[[], capture.Ruleset]) -> None:
        self._wanted = wanted
        self._applied: list[capture.Ruleset | None] = [None] * len(wanted)
        self._stale = asyncio.Event()

    def refresh(self) -> None:
        """What is wanted may have changed."""
        self._stale.set()

    async def apply(self, pod_netns: int) -> None:
        """Returns when the tables are as they are wanted now."""
        for i, wanted in enumerate(self._wanted):
            rules, applied = wanted(), self._applied[i]
            if rules != applied and (rules.chains or applied is not None):
                await load(pod_netns, rules)
                self._applied[i] = rules

    async def run(self, pod_netns: int) -> None:
        """Until cancelled."""
        while True:
            self._stale.clear()
            await self.apply(pod_netns)
            await self._stale.wait()


async def load(pod_netns: int, rules: capture.Ruleset) -> None:
    """Load the rules, however often it takes: nothing starts before they are there."""
    while True:
        try:
            await asyncio.to_thread(netns.run_in, pod_netns, lambda: capture_nft.apply(rules))
        except (OSError, NetlinkError) as error:
            log.error("capture.failed", error=str(error))
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            return
