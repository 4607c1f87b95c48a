"""Watches as JSON lines.

https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
A line is ``{"type": ADDED|MODIFIED|DELETED|BOOKMARK|ERROR, "object": ...}``. A watch that fell too
far behind ends with an ERROR of code 410: list again, and watch from there.
"""

import math
import time
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import StreamingResponse

from argosy.api.meta import Object
from argosy.server.http.encoding import Json, encode
from argosy.server.http.errors import ApiError, from_store, status_body
from argosy.server.http.mesh import number
from argosy.server.http.selectors import Selector
from argosy.store.store import Bookmark, Store
from argosy.store.transaction import Event, TooOldError

BOOKMARK_SECONDS = 15.0
INITIAL_END = "k8s.io/initial-events-end"


@dataclass(frozen=True, slots=True)
class Watching:
    """What to watch, and how to show it. ``namespace`` None means all."""

    kinds: frozenset[str]
    namespace: str | None
    selector: Selector
    present: Callable[[Object], Json]
    bookmarks: bool
    bookmark: Callable[[int], dict[str, Json]]
    """A bookmark's object at a revision."""

    def line(self, item: Event | Bookmark) -> bytes | None:
        """One line, or None when it does not concern this watch."""
        if isinstance(item, Bookmark):
            return self._bookmark_line(item) if self.bookmarks else None
        if self.namespace is not None and item.key.namespace != self.namespace:
            return None
        was, now = self._selects(item.previous), self._selects(item.current)
        if not (was or now):
            return None
        if not now:  # Deleted, or no longer what the selector asks for.
            return _line("DELETED", self.present(item.last))
        return _line("MODIFIED" if was else "ADDED", self.present(item.last))

    def _selects(self, value: Object | None) -> bool:
        return value is not None and self.selector.matches(value.key, value.metadata.labels)

    def _bookmark_line(self, item: Bookmark) -> bytes:
        body = self.bookmark(item.revision)
        if item.initial_end:
            body["metadata"] = {
                "resourceVersion": str(item.revision),
                "annotations": {INITIAL_END: "true"},
            }
        return _line("BOOKMARK", body)


def watch_response(
    store: Store, watching: Watching, since: int | None, seconds: float | None
) -> StreamingResponse:
    """Stream until the client leaves, or ``seconds`` are over."""
    return StreamingResponse(
        _lines(store, watching, since, seconds), media_type="application/json;stream=watch"
    )


def since_of(request: Request) -> int | None:
    """``resourceVersion``; nothing and 0 mean: begin with what exists."""
    text = request.query_params.get("resourceVersion", "")
    if text in ("", "0"):
        return None
    if not text.isdecimal() or len(text) > 18:
        raise ApiError(400, f"invalid resource version {text!r}")
    return int(text)


def seconds_of(request: Request) -> float | None:
    """``timeoutSeconds`` (fractions too); None for no end."""
    return number(request, "timeoutSeconds", default=0) or None


def is_true(request: Request, name: str) -> bool:
    return request.query_params.get(name, "").lower() in ("1", "true")


def comma_separated(text: str) -> Collection[str]:
    return [part for part in (part.strip() for part in text.split(",")) if part]


async def _lines(
    store: Store, watching: Watching, since: int | None, seconds: float | None
) -> AsyncIterator[bytes]:
    # No asyncio.timeout around a yield: it would cancel whoever consumes the lines.
    tick = BOOKMARK_SECONDS
    if seconds is not None:
        tick = seconds / max(1, math.ceil(seconds / BOOKMARK_SECONDS))
    end = math.inf if seconds is None else time.monotonic() + seconds
    try:
        async for item in store.watch(watching.kinds, since, bookmark_seconds=tick):
            if (line := watching.line(item)) is not None:
                yield line
            if time.monotonic() >= end:
                return
    except TooOldError as error:
        yield _line("ERROR", status_body(from_store(error)))


def _line(kind: str, body: Json) -> bytes:
    return encode({"type": kind, "object": body}) + b"\n"
