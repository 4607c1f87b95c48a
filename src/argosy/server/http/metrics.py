"""The metrics, by two ways: in the API for holders of tokens, and for workloads of the mesh, whose
certificate is the proof."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from argosy.server.http.auth import require_read
from argosy.server.http.gate import actor_of
from argosy.server.http.services import MetricsProvider, ProxyProvider
from argosy.server.metrics.exposition import CONTENT_TYPE

PATH = "/metrics"
_METRICS = frozenset({"Metric"})


def routes(metrics: MetricsProvider) -> list[BaseRoute]:
    async def scrape(request: Request) -> Response:
        require_read(actor_of(request), _METRICS, None)
        return _answer(metrics)

    return [Route(PATH, scrape)]


def member_app(metrics: MetricsProvider, proxies: ProxyProvider) -> Starlette:
    """What stands at istiod's port 15014, behind mutual TLS: metrics and health, no more."""

    async def scrape(_request: Request) -> Response:
        return _answer(metrics)

    async def ready(_request: Request) -> Response:
        waiting = proxies.ready()
        return PlainTextResponse(waiting or "ok", 503 if waiting else 200)

    return Starlette(routes=[Route(PATH, scrape), Route("/ready", ready), Route("/readyz", ready)])


def _answer(metrics: MetricsProvider) -> Response:
    return Response(metrics.text(), media_type=CONTENT_TYPE)
