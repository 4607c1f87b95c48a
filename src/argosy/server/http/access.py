"""The API's own bearer tokens: made, listed and revoked by admins of the whole mesh."""

from datetime import timedelta
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from argosy.server.http.auth import require_admin
from argosy.server.http.encoding import Json, json_response
from argosy.server.http.errors import ApiError
from argosy.server.http.gate import actor_of
from argosy.server.http.mesh import decode_body, rfc3339
from argosy.server.http.services import AccessToken, AccessTokens, RefusedError, Role

PATH = "/apis/argosy.dev/v1alpha1/tokens"


class CreateBody(msgspec.Struct, frozen=True, rename="camel"):
    """``namespace`` empty: in the whole mesh."""

    name: str
    role: Literal["view", "edit", "admin"]
    namespace: str = ""
    expiration_seconds: int = 8 * 3600


def routes(tokens: AccessTokens) -> list[BaseRoute]:
    async def create(request: Request) -> Response:
        require_admin(actor_of(request), "make tokens")
        body = decode_body(await request.body(), CreateBody)
        try:
            lifetime = timedelta(seconds=body.expiration_seconds)
            secret, made = tokens.create(body.name, Role(body.role), body.namespace, lifetime)
        except (RefusedError, OverflowError) as error:
            raise _failure(error) from error
        return json_response({**_body(made), "token": secret}, 201)

    async def every(request: Request) -> Response:
        require_admin(actor_of(request), "list tokens")
        return json_response({"items": [_body(token) for token in tokens.list()]})

    async def revoke(request: Request) -> Response:
        require_admin(actor_of(request), "revoke tokens")
        try:
            tokens.revoke(request.path_params["name"])
        except RefusedError as error:
            raise _failure(error) from error
        return json_response({"status": "Success"})

    return [
        Route(PATH, create, methods=["POST"]),
        Route(PATH, every, methods=["GET"]),
        Route(PATH + "/{name}", revoke, methods=["DELETE"]),
    ]


def _failure(error: Exception) -> ApiError:
    if isinstance(error, RefusedError):
        return ApiError(error.code, error.message)
    return ApiError(422, "expirationSeconds: it is too large")


def _body(token: AccessToken) -> dict[str, Json]:
    return {
        "name": token.name,
        "role": token.role.value,
        "namespace": token.namespace,
        "created": rfc3339(token.created),
        "expires": rfc3339(token.expires),
    }
