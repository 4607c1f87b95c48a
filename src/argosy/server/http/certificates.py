"""Endpoints about certificates: what agents fetch and report, the table, the rotation of the root."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from argosy.citadel.reports import CertificateReport
from argosy.server.http.auth import require_admin, require_look, require_node, require_read
from argosy.server.http.encoding import json_response
from argosy.server.http.errors import ApiError
from argosy.server.http.gate import actor_of
from argosy.server.http.mesh import decode_body, number
from argosy.server.http.services import RefusedError, TrustProvider

_LONGEST_WAIT_SECONDS = 60.0
_CERTIFICATES = frozenset({"Certificate"})


class ReportsBody(msgspec.Struct, frozen=True):
    items: tuple[CertificateReport, ...]


class RotationBody(msgspec.Struct, frozen=True, rename="camel"):
    dry_run: bool = False


def routes(trust: TrustProvider) -> list[BaseRoute]:
    endpoints = _Endpoints(trust)
    ours = "/apis/argosy.dev/v1alpha1"
    return [
        Route(f"{ours}/trust", endpoints.document),
        Route(f"{ours}/certificates", endpoints.overview),
        Route(f"{ours}/certificates/reports", endpoints.report, methods=["PUT"]),
        Route(f"{ours}/certificates/rotation", endpoints.rotation),
        Route(f"{ours}/certificates/rotation", endpoints.rotate, methods=["POST"]),
    ]


class _Endpoints:
    def __init__(self, trust: TrustProvider) -> None:
        self._trust = trust

    async def document(self, request: Request) -> Response:
        """With ``version``: as soon as it is another, or ``timeoutSeconds`` are over."""
        require_look(actor_of(request))
        version = request.query_params.get("version", "")
        seconds = number(request, "timeoutSeconds", default=0)
        found = await self._trust.document(version, min(float(seconds), _LONGEST_WAIT_SECONDS))
        return json_response(found)

    async def overview(self, request: Request) -> Response:
        require_read(actor_of(request), _CERTIFICATES, None)
        return json_response(self._trust.overview())

    async def report(self, request: Request) -> Response:
        require_node(actor_of(request), "report on certificates")
        self._trust.report(decode_body(await request.body(), ReportsBody).items)
        return json_response({})

    async def rotation(self, request: Request) -> Response:
        require_read(actor_of(request), _CERTIFICATES, None)
        return json_response(self._trust.rotation())

    async def rotate(self, request: Request) -> Response:
        require_admin(actor_of(request), "rotate the root")
        body = decode_body(await request.body() or b"{}", RotationBody)
        try:
            return json_response(self._trust.rotate(dry_run=body.dry_run))
        except RefusedError as error:
            raise ApiError(error.code, error.message) from error
