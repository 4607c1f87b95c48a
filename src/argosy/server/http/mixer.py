"""Mixer through the API: what people ask it is passed on, with their names; and its certificate.

Who asks is authenticated here and never by Mixer. To look needs any role for people, all else the
role edit. Of the request's own headers only what concerns its content goes on.
"""

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from argosy.server.http.auth import require_edit, require_mixer, require_read
from argosy.server.http.encoding import json_response
from argosy.server.http.errors import ApiError
from argosy.server.http.gate import actor_of
from argosy.server.http.mesh import decode_body
from argosy.server.http.services import (
    BrokenOffError,
    CertificateIssuer,
    MixerLink,
    MixerQuestion,
    RefusedError,
)

PREFIX = "/mixer"
CERTIFICATE_PATH = "/apis/argosy.dev/v1alpha1/mixer/certificate"
log = structlog.get_logger()
_READING = frozenset({"GET", "HEAD"})
_KEPT_HEADERS = ("accept", "content-type")
_STREAMS = frozenset({"/records/tap"})
"""What people watch for as long as they like."""

ANSWER_SECONDS = 30.0
"""All else is answered, or the answer goes on, within so long."""


class CertificateBody(msgspec.Struct, frozen=True):
    """``csr`` is PEM."""

    csr: str


def routes(certificates: CertificateIssuer, link: MixerLink | None) -> list[BaseRoute]:
    async def certificate(request: Request) -> Response:
        require_mixer(actor_of(request), "have Mixer's certificate")
        body = decode_body(await request.body(), CertificateBody)
        try:
            return json_response({"chain": await certificates.issue_to_mixer(body.csr)})
        except RefusedError as error:
            raise ApiError(error.code, error.message) from error

    async def passed_on(request: Request) -> Response:
        actor = actor_of(request)
        if request.method in _READING:
            require_read(actor, (), actor.namespace or None)
        else:
            require_edit(actor, "change what Mixer does")
        if link is None:
            raise ApiError(503, "this mesh was started without Mixer")
        path = request.scope["raw_path"].decode("latin-1").removeprefix(PREFIX)
        target = path
        if request.url.query:
            target += f"?{request.url.query}"
        headers = {name: request.headers[name] for name in _KEPT_HEADERS if name in request.headers}
        headers |= {"x-argosy-actor": actor.name, "x-argosy-namespace": actor.namespace}
        body = await request.body()
        question = MixerQuestion(request.method, target, headers, body)
        return _PassedOn(link, question, None if path in _STREAMS else ANSWER_SECONDS)

    methods = ["GET", "POST", "PUT", "DELETE"]
    return [
        Route(CERTIFICATE_PATH, certificate, methods=["POST"]),
        Route(PREFIX + "/{path:path}", passed_on, methods=methods),
    ]


class _PassedOn(Response):
    """Mixer's answer, as it comes; it is asked no longer than somebody listens."""

    def __init__(self, link: MixerLink, question: MixerQuestion, seconds: float | None) -> None:
        super().__init__()
        self._seconds = seconds
        self._link = link
        self._question = question

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with self._link.ask(self._question, seconds=self._seconds) as answer:
                response = StreamingResponse(
                    answer.body, answer.status, media_type=answer.content_type
                )
                await response(scope, receive, send)
        except RefusedError as error:
            raise ApiError(error.code, error.message) from error
        except BrokenOffError as error:
            # A response that is not completed is broken off for the client too.
            log.warning("mixer.broken_off", error=str(error))
