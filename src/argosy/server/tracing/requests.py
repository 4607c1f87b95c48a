"""Requests that write, as spans that changes hang on; signing certificates.

What machines write all day (states of objects, reports, tokens for pods) begins no trace: what it
changes does, if it concerns a proxy.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from argosy.citadel.refusal import RefusedError
from argosy.model.span_tags import ABOUT
from argosy.server.http.services import Actor, Role

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
"""As Kubernetes' audit log calls them."""

_OURS = "/apis/argosy.dev/v1alpha1/"
_MIXER = "/mixer/"
_MACHINES = frozenset({Role.NODE, Role.MIXER})
_MACHINES_WRITE = ("/status", "/token", "/certificates/reports")
_MAX_PATH = 200
_FAILED = 500
_propagator = TraceContextTextMapPropagator()


@dataclass(frozen=True, slots=True)
class Traced:
    """ASGI middleware, behind the gate: who calls is known."""

    app: ASGIApp
    tracer: Tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_traced(scope):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        path, method, actor = scope["path"][:_MAX_PATH], scope["method"], scope["state"]["actor"]
        with self.tracer.start_as_current_span(
            _name(method, path),
            _propagator.extract(headers),
            SpanKind.SERVER,
            {
                "http.request.method": method,
                "http.route": path,
                "argosy.actor": actor.name,
                "user_agent.original": headers.get("user-agent", "")[:_MAX_PATH],
            },
        ) as span:
            await self.app(scope, receive, _Watched(send, span))


@dataclass(frozen=True, slots=True)
class _Watched:
    send: Send
    span: Span

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            status = message["status"]
            self.span.set_attribute("http.response.status_code", status)
            if status >= _FAILED:
                self.span.set_status(StatusCode.ERROR)
        await self.send(message)


def _is_traced(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] not in _VERBS:
        return False
    path = scope["path"]
    if path.startswith(_MIXER) or path.endswith(_MACHINES_WRITE):
        return False
    actor = scope.get("state", {}).get("actor")
    return isinstance(actor, Actor) and not actor.roles & _MACHINES


def _name(method: str, path: str) -> str:
    if path.startswith(_OURS):
        own = path.removeprefix(_OURS).partition("/")[0]
        return own if own == "apply" else f"{_VERBS[method]} {own}"
    return _VERBS[method]


@contextmanager
def signing(tracer: Tracer, identity: str, signer: str) -> Iterator[None]:
    """Around the signing of a certificate. ``signer`` empty: the mesh's own authority."""
    facts = {ABOUT: identity, "argosy.signer": signer or "mesh"}
    with tracer.start_as_current_span(
        "sign certificate", attributes=facts, record_exception=False, set_status_on_exception=False
    ):
        try:
            yield
        except RefusedError as error:
            trace.get_current_span().set_status(StatusCode.ERROR, error.message)
            raise
