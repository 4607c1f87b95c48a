"""One watch over several kinds, for the node: ``?kinds=Pod,Deployment,Service``."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from argosy.api.registry import BY_KIND
from argosy.server.http.auth import require_read
from argosy.server.http.encoding import Json
from argosy.server.http.errors import ApiError
from argosy.server.http.gate import actor_of
from argosy.server.http.objects import Presenter
from argosy.server.http.selectors import Selector
from argosy.server.http.watching import (
    Watching,
    comma_separated,
    seconds_of,
    since_of,
    watch_response,
)
from argosy.store.store import Store


def routes(store: Store, presenter: Presenter) -> list[BaseRoute]:
    async def watch(request: Request) -> Response:
        kinds = frozenset(comma_separated(request.query_params.get("kinds", "")))
        unknown = sorted(kinds - BY_KIND.keys())
        if unknown or not kinds:
            words = f"unknown kinds: {', '.join(unknown)}" if unknown else "no kinds are given"
            raise ApiError(400, f"{words} (kinds={','.join(BY_KIND)})")
        namespace = request.query_params.get("namespace") or None
        require_read(actor_of(request), kinds, namespace)
        watching = Watching(
            kinds=kinds,
            namespace=namespace,
            selector=Selector(),
            present=presenter.body,
            bookmarks=True,
            bookmark=_bookmark,
        )
        return watch_response(store, watching, since_of(request), seconds_of(request))

    return [Route("/apis/argosy.dev/v1alpha1/watch", watch)]


def _bookmark(revision: int) -> dict[str, Json]:
    return {"metadata": {"resourceVersion": str(revision)}}
