"""What Mixer wants to be told of, put where the formulas read it.

Mixer is asked, and answers as soon as it wants something else. When it does not answer, nothing is
wanted: what nobody reads is not sent. Nothing of this is kept.
"""

import asyncio
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from urllib.parse import urlencode

import msgspec
import structlog

from argosy.model.records import ALL, NOTHING_WANTED, Wanted
from argosy.pilot.graph.records import RecordsWanted
from argosy.server.http.services import BrokenOffError, MixerLink, MixerQuestion, RefusedError

MAX_WISHES = 500
MAX_BYTES = 1 << 20

_WAIT_SECONDS = 20
_SLACK_SECONDS = 5
_RETRY_SECONDS = 0.5
_FAILURES = (RefusedError, BrokenOffError, msgspec.DecodeError)
log = structlog.get_logger()


class _Document(msgspec.Struct):
    version: str
    wanted: Wanted


class FollowedWishes:
    """``publish`` sets cells of the engine, and sends what follows from them to the proxies."""

    def __init__(
        self, link: MixerLink, publish: Callable[[Mapping[Hashable, object]], None]
    ) -> None:
        self._link = link
        self._publish = publish
        self._wanted = NOTHING_WANTED

    async def run(self) -> None:
        """Until cancelled."""
        version = ""
        while True:
            try:
                document = await self._ask(version)
                version = document.version
                self._set(bounded(document.wanted))
            except _FAILURES as error:
                if version:
                    log.warning("records.mixer_away", error=str(error))
                version = ""
                self._set(NOTHING_WANTED)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _ask(self, version: str) -> _Document:
        query = urlencode({"version": version, "timeoutSeconds": _WAIT_SECONDS})
        question = MixerQuestion("GET", f"/records/wanted?{query}", {})
        body = b""
        async with self._link.ask(question, seconds=_WAIT_SECONDS + _SLACK_SECONDS) as answer:
            async for part in answer.body:
                body += part
                if len(body) > MAX_BYTES:
                    raise RefusedError(503, "Mixer answers too much")
            if answer.status != 200:
                raise RefusedError(503, f"Mixer answers {answer.status}: {body[:200]!r}")
        return msgspec.json.decode(body, type=_Document)

    def _set(self, wanted: Wanted) -> None:
        if wanted != self._wanted:
            self._wanted = wanted
            self._publish({RecordsWanted(): wanted})


def bounded(wanted: Wanted) -> Wanted:
    """With shares that are shares, and no more wishes than are reasonable."""
    wishes = tuple(replace(wish, share=_share(wish.share)) for wish in wanted.wishes[:MAX_WISHES])
    return Wanted(wishes, _share(wanted.failures))


def _share(value: int) -> int:
    return max(0, min(ALL, value))
