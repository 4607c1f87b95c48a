"""The node's HTTP interface on ``node.sock``, for the command line: pods, and their Envoys."""

import contextlib
import hmac
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from argosy.platforms.local.state import private_socket
from argosy.proxy.envoy import AdminError, EnvoyAdmin

_POST_PATHS = ("drain_listeners", "logging", "reset_counters", "healthcheck/")
"""What may be done, and not only read, at an Envoy."""


class NodeView(Protocol):
    """What the interface shows."""

    def pods(self) -> list[dict[str, object]]: ...

    def status(self) -> dict[str, object]: ...

    def admin(self, namespace: str, pod: str) -> EnvoyAdmin | None:
        """The Envoy of a pod that has one."""
        ...


class _Server(uvicorn.Server):
    """Leaves signals to the node."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(path: Path) -> socket.socket:
    """A UNIX socket of this process's user that can be connected to from now on."""
    listener = private_socket(path)
    listener.listen(128)
    return listener


async def serve(listener: socket.socket, token_file: Path, view: NodeView) -> None:
    """Serve until cancelled; closes the listener."""
    with listener:
        config = uvicorn.Config(
            _application(token_file, view),
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        await _Server(config).serve(sockets=[listener])


def _application(token_file: Path, view: NodeView) -> Starlette:
    def refused(request: Request) -> Response | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        expected = token_file.read_text().strip()
        given = token.strip().encode()
        if scheme.lower() == "bearer" and hmac.compare_digest(given, expected.encode()):
            return None
        return _error(401, "a bearer token is required: use the one in admin.token")

    async def pods(request: Request) -> Response:
        return refused(request) or JSONResponse(view.pods())

    async def status(request: Request) -> Response:
        return refused(request) or JSONResponse(view.status())

    async def proxied(request: Request) -> Response:
        problem = refused(request)
        if problem is not None:
            return problem
        namespace, pod = request.path_params["namespace"], request.path_params["pod"]
        path = request.path_params["path"]
        if request.method == "POST" and not path.startswith(_POST_PATHS):
            return _error(403, f"POST /{path} is not passed on to Envoy")
        admin = view.admin(namespace, pod)
        if admin is None:
            return _error(404, f"pod {namespace}/{pod} has no running proxy here")
        query = f"?{request.url.query}" if request.url.query else ""
        try:
            answer = await admin.request(f"/{path}{query}", method=request.method)
        except AdminError as error:
            return _error(502, str(error))
        return Response(answer.body, answer.status, media_type=answer.content_type)

    envoy_path = "/v1/pods/{namespace}/{pod}/envoy/{path:path}"
    return Starlette(
        routes=[
            Route("/v1/pods", pods),
            Route("/v1/status", status),
            Route(envoy_path, proxied, methods=["GET", "POST"]),
        ]
    )


def _error(code: int, message: str) -> Response:
    return JSONResponse({"code": code, "message": message}, code)
