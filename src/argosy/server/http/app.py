"""The application: every route behind the gate, every failure a Status."""

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from argosy.server.http import (
    access,
    apply,
    certificates,
    discovery,
    limits,
    logging,
    mesh,
    metrics,
    mixer,
    resources,
    snapshot,
    watch_many,
)
from argosy.server.http.errors import ApiError, error_response, from_store
from argosy.server.http.findings import Findings, RefusedChanges
from argosy.server.http.gate import Gate
from argosy.server.http.objects import Presenter
from argosy.server.http.services import ApiServices
from argosy.server.http.target import not_served
from argosy.server.tracing.requests import Traced
from argosy.store.journal import JournalError
from argosy.store.transaction import Commit, StoreError

log = structlog.get_logger()


def create_app(services: ApiServices) -> Starlette:
    """The HTTP API of one mesh.

    Writes to the store happen on the event loop: a commit takes about 0.1 ms, because it appends
    to SQLite's log without waiting for the disk. Large input is decoded in a worker thread, long
    lists are encoded in parts.
    """
    refused = RefusedChanges()
    findings = Findings(services.problems, refused)
    presenter = Presenter(findings)

    def accept(commit: Commit) -> None:
        for outcome in commit.outcomes:
            if outcome.error is None:
                refused.accept(outcome.key)

    return Starlette(
        routes=[
            *mesh.routes(services),
            *certificates.routes(services.trust),
            *access.routes(services.access),
            *mixer.routes(services.certificates, services.mixer),
            *metrics.routes(services.metrics),
            *logging.routes(),
            *limits.routes(services.limits),
            *apply.routes(services.store, findings, accept),
            *watch_many.routes(services.store, presenter),
            *snapshot.routes(services.store),
            *discovery.routes(services.version),
            *resources.routes(services.store, presenter, accept),
        ],
        middleware=[
            Middleware(Gate, authenticator=services.authenticator, clock=services.clock),
            Middleware(Traced, tracer=services.tracer),
        ],
        exception_handlers={
            ApiError: _api_error,
            StoreError: _store_error,
            JournalError: _journal_error,
            HTTPException: _http_exception,
            Exception: _our_bug,
        },
    )


async def _api_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error_response(error)


async def _store_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, StoreError)
    return error_response(from_store(error))


async def _journal_error(_request: Request, error: Exception) -> Response:
    """Nothing was changed; the message says what is wrong with the disk."""
    log.error("journal.failed", error=str(error))
    return error_response(ApiError(503, str(error)))


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return error_response(not_served(request))
    message = f"{error.detail}: {request.method} {request.url.path}"
    return error_response(ApiError(error.status_code, message))


async def _our_bug(request: Request, error: Exception) -> Response:
    log.error("request.failed", method=request.method, path=request.url.path, exc_info=error)
    return error_response(ApiError(500, f"internal error: {type(error).__name__}"))
