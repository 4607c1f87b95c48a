"""Who asks on Mixer's socket: people, whom the control plane has authenticated before.

The socket is for the mesh's owner alone (mode 0600 in a directory of mode 0700). The control plane
says in headers for whom it asks, and has checked the role: view reads, edit switches things on.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

NAME_HEADER = "x-argosy-actor"
NAMESPACE_HEADER = "x-argosy-namespace"

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Asker:
    """``name`` is for logs. ``namespace`` empty: may see the whole mesh, else this one alone."""

    name: str
    namespace: str = ""


def asker_of(request: Request) -> Asker:
    return Asker(
        request.headers.get(NAME_HEADER, ""),
        request.headers.get(NAMESPACE_HEADER, ""),
    )


class AskedRoute(Route):
    """An endpoint for people.

    ``namespaced`` endpoints show an asker of one namespace what is of that namespace, by
    ``asker_of``; all others refuse such an asker. ``own`` endpoints are for the control plane itself,
    which then asks for nobody: they refuse people.
    """

    def __init__(
        self,
        path: str,
        endpoint: Endpoint,
        *,
        methods: Sequence[str] = ("GET",),
        namespaced: bool = False,
        own: bool = False,
    ) -> None:
        assert not (namespaced and own)
        if own:
            endpoint = _own(endpoint)
        elif not namespaced:
            endpoint = _whole(endpoint)
        super().__init__(path, endpoint, methods=list(methods))


def failure(code: int, message: str) -> Response:
    """As the control plane's API says what failed."""
    return JSONResponse(
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "code": code,
        },
        code,
    )


def _own(endpoint: Endpoint) -> Endpoint:
    async def guarded(request: Request) -> Response:
        if NAME_HEADER in request.headers:
            return failure(403, "this is for the control plane itself, not for people")
        return await endpoint(request)

    return guarded


def _whole(endpoint: Endpoint) -> Endpoint:
    async def guarded(request: Request) -> Response:
        asker = asker_of(request)
        if asker.namespace:
            return failure(
                403,
                f"{asker.name} may see namespace {asker.namespace} alone, and this is about the "
                "whole mesh: it needs a role for the whole mesh",
            )
        return await endpoint(request)

    return guarded
