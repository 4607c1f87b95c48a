"""The gate before every endpoint: who is calling, how often in vain, and how large a request may be."""

from dataclasses import dataclass, field

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from argosy.base.clock import Clock
from argosy.citadel.limit import RateLimit
from argosy.server.http.auth import CERTIFICATES_PATH, OPEN_PATHS, authenticate
from argosy.server.http.errors import ApiError, error_response
from argosy.server.http.services import Actor, Authenticator

FAILURES = 100
"""Wrong tokens that one address may show at once ..."""

FAILURE_SECONDS = 1.0
"""... and then one each so many seconds."""

MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_OPEN_BODY_BYTES = 64 * 1024
"""Of a request whose sender proves only in it who he is; a signing request has about 1 KiB."""

_LENGTH_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Gate:
    """ASGI middleware. Puts the :class:`Actor` into ``scope["state"]["actor"]``."""

    app: ASGIApp
    authenticator: Authenticator
    clock: Clock
    max_body: int = MAX_BODY_BYTES
    failures: RateLimit = field(default_factory=lambda: RateLimit(FAILURES, FAILURE_SECONDS))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        try:
            if scope["path"] not in OPEN_PATHS and scope["path"] != CERTIFICATES_PATH:
                scope.setdefault("state", {})["actor"] = self._actor(connection)
            limit = self.max_body if scope["path"] != CERTIFICATES_PATH else MAX_OPEN_BODY_BYTES
            _check_length(connection, limit)
        except ApiError as error:
            await error_response(error)(scope, receive, send)
            return
        await self.app(scope, _Bounded(receive, limit, limit), send)

    def _actor(self, connection: HTTPConnection) -> Actor:
        """Who guesses tokens waits longer and longer between answers; who has one never does."""
        try:
            return authenticate(connection, self.authenticator)
        except ApiError as error:
            client = connection.client.host if connection.client else ""
            wait = self.failures.admit(client, self.clock.monotonic())
            if wait:
                message = f"too many wrong tokens: wait {max(1, round(wait))} s"
                raise ApiError(429, message) from error
            raise


@dataclass(slots=True)
class _Bounded:
    """Receives a body and counts it, for requests that do not say their length."""

    receive: Receive
    limit: int
    left: int

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


def _check_length(connection: HTTPConnection, limit: int) -> None:
    length = connection.headers.get("content-length", "0")
    if not (length.isascii() and length.isdecimal()) or len(length) > _LENGTH_DIGITS:
        raise ApiError(400, "the Content-Length header is not a number")
    if int(length) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> ApiError:
    size = f"{limit >> 20} MiB" if limit >> 20 else f"{limit >> 10} KiB"
    return ApiError(413, f"the request is larger than {size}: split it")
