"""The endpoint that tells Mixer what to count."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from argosy.api.shared_limits import PATH
from argosy.server.http.auth import require_read
from argosy.server.http.encoding import json_response
from argosy.server.http.gate import actor_of
from argosy.server.http.mesh import number
from argosy.server.http.services import LimitsProvider

_LONGEST_WAIT_SECONDS = 60.0
_KINDS = frozenset({"RateLimit"})


def routes(limits: LimitsProvider | None) -> list[BaseRoute]:
    if limits is None:
        return []

    async def document(request: Request) -> Response:
        """With ``version``: as soon as it is another, or ``timeoutSeconds`` are over."""
        require_read(actor_of(request), _KINDS, None)
        version = request.query_params.get("version", "")
        seconds = min(float(number(request, "timeoutSeconds", default=0)), _LONGEST_WAIT_SECONDS)
        return json_response(await limits.document(version, seconds))

    return [Route(PATH, document)]
