"""All objects at one moment, with the places where they were written: for programs of ours that
think about the whole mesh, such as ``argosy analyze``, in a process of their own."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from argosy.api.meta import Object
from argosy.api.registry import KINDS
from argosy.server.http.auth import require_admin
from argosy.server.http.gate import actor_of
from argosy.store.codec import MsgpackCodec
from argosy.store.store import Store
from argosy.store.transfer import parts


def routes(store: Store) -> list[BaseRoute]:
    async def snapshot(request: Request) -> Response:
        require_admin(actor_of(request), "read the whole mesh")
        objects = [event.last for event in store.snapshot()]
        return StreamingResponse(_slowly(objects), media_type="application/octet-stream")

    return [Route("/apis/argosy.dev/v1alpha1/snapshot", snapshot)]


async def _slowly(objects: Sequence[Object]) -> AsyncIterator[bytes]:
    """Others get a turn after each part."""
    codec = MsgpackCodec({entry.kind: entry.struct for entry in KINDS})
    for part in parts(objects, codec):
        yield part
        await asyncio.sleep(0)
