"""How much the control plane logs, while it runs: for admins of the whole mesh."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from argosy.base import log
from argosy.server.http.auth import require_admin
from argosy.server.http.encoding import json_response
from argosy.server.http.errors import ApiError
from argosy.server.http.gate import actor_of
from argosy.server.http.mesh import decode_body

PATH = "/apis/argosy.dev/v1alpha1/logging"


class LevelsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    levels: dict[str, str]


def routes() -> list[BaseRoute]:
    async def show(request: Request) -> Response:
        require_admin(actor_of(request), "read the levels of logs")
        return json_response({"levels": log.levels()})

    async def change(request: Request) -> Response:
        require_admin(actor_of(request), "set the levels of logs")
        try:
            log.set_levels(decode_body(await request.body(), LevelsBody).levels)
        except log.LevelError as error:
            raise ApiError(422, f"levels: {error}") from error
        return json_response({"levels": log.levels()})

    return [Route(PATH, show, methods=["GET"]), Route(PATH, change, methods=["PUT"])]
