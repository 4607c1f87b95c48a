"""The gate before every endpoint: who is calling, and how large the request may be."""

from dataclasses import dataclass

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from argosy.server.http.auth import CERTIFICATES_PATH, OPEN_PATHS, authenticate
from argosy.server.http.errors import ApiError, error_response
from argosy.server.http.services import Actor, Authenticator

MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_SIGNING_BYTES = 64 * 1024
"""Of a request for a certificate, which is read before it is known who asks."""


@dataclass(frozen=True, slots=True)
class Gate:
    """ASGI middleware. Puts the :class:`Actor` into ``scope["state"]["actor"]``."""

    app: ASGIApp
    authenticator: Authenticator
    max_body: int = MAX_BODY_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        # Who asks for a certificate is known only when the body has been read.
        limit = MAX_SIGNING_BYTES if scope["path"] == CERTIFICATES_PATH else self.max_body
        try:
            if scope["path"] not in OPEN_PATHS and scope["path"] != CERTIFICATES_PATH:
                scope.setdefault("state", {})["actor"] = authenticate(
                    connection, self.authenticator
                )
            self._check_length(connection, limit)
        except ApiError as error:
            await error_response(error)(scope, receive, send)
            return
        await self.app(scope, _Bounded(receive, limit, limit), send)

    def _check_length(self, connection: HTTPConnection, limit: int) -> None:
        length = connection.headers.get("content-length", "0")
        if not length.isdecimal():
            raise ApiError(400, "the Content-Length header is not a number")
        if int(length) > limit:
            raise _too_large(limit)


@dataclass(slots=True)
class _Bounded:
    """Receives a body and counts it, for requests that do not say their length."""

    receive: Receive
    left: int
    limit: int

    async def __call__(self) -> Message:
        message = await self.receive()
        if message["type"] == "http.request":
            self.left -= len(message.get("body", b""))
            if self.left < 0:
                raise _too_large(self.limit)
        return message


def actor_of(connection: HTTPConnection) -> Actor:
    """The caller, as the gate found it."""
    actor = connection.scope["state"]["actor"]
    assert isinstance(actor, Actor)
    return actor


def _too_large(limit: int) -> ApiError:
    if limit < 1024 * 1024:
        return ApiError(413, f"the request is larger than {limit // 1024} KiB")
    return ApiError(413, f"the request is larger than {limit // (1024 * 1024)} MiB: split it")
