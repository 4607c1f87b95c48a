"""Mixer put together: one gRPC server for proxies, one HTTP application for people, and the parts.

People are answered from the beginning; proxies as soon as the control plane has signed Mixer's
certificate. Everything runs on one event loop.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from argosy import xds
from argosy.base.clock import Clock, SystemClock
from argosy.mixer.asker import failure
from argosy.mixer.caller import Guard, Judge
from argosy.mixer.control_plane import ControlPlane
from argosy.mixer.credentials import MixerCredentials
from argosy.mixer.graph.part import GraphPart
from argosy.mixer.limits.part import LimitsPart
from argosy.mixer.parts import Ground, Part
from argosy.mixer.records.part import Records
from argosy.mixer.traces.part import Traces
from argosy.platforms.local.state import private_socket
from argosy.xds.grpc_service import OPTIONS as XDS_OPTIONS

MAX_MESSAGE_BYTES = 8 << 20
"""Of one message of a proxy: telemetry of 10,000 series takes 5 MB, and a proxy has fewer."""

MAX_STREAMS = 100
"""Calls at once on one connection; Envoy opens a stream for each logger and worker."""

MAX_CALLS = 20_000
"""Calls at once, of all proxies."""

_STOP_SECONDS = 1.0
_OPTIONS: dict[str, int] = {
    **dict(XDS_OPTIONS),
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_concurrent_streams": MAX_STREAMS,
}
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Settings:
    """``address`` is host:port for proxies. Paths: of what Mixer keeps, its socket, the control
    plane's socket, and the token for it."""

    address: str
    directory: Path
    socket: Path
    api_socket: Path
    token: Path


def make_parts(ground: Ground) -> tuple[Part, ...]:
    """One row for each room."""
    limits = LimitsPart(ground)
    return (
        GraphPart(ground, limits.take),
        Traces(ground),
        Records(ground.clock),
        limits,
    )


class Mixer:
    """Makes everything at construction, without I/O."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self._settings = settings
        clock = clock or SystemClock()
        control_plane = ControlPlane(settings.api_socket, settings.token)
        self._control_plane = control_plane
        self._credentials = MixerCredentials(control_plane, clock)
        host = settings.address.rpartition(":")[0]
        ground = Ground(settings.directory, clock, control_plane, self._credentials, host)
        self._parts = make_parts(ground)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set."""
        self._settings.directory.mkdir(mode=0o700, exist_ok=True)
        door = _Door(_application(self._parts, self._credentials))
        async with asyncio.TaskGroup() as tasks:
            lasting = (self._credentials.run, self._serve_proxies, *(p.run for p in self._parts))
            background = [tasks.create_task(_lasting(run)) for run in lasting]
            listener = private_socket(self._settings.socket)
            serving = tasks.create_task(door.serve(sockets=[listener]))
            serving.add_done_callback(lambda _: stop.set())
            await stop.wait()
            for task in background:
                task.cancel()
            door.should_exit = True
            await serving
        self._settings.socket.unlink(missing_ok=True)
        await self._control_plane.close()

    async def _serve_proxies(self) -> None:
        await self._credentials.ready()
        server = grpc.aio.server(
            options=list(_OPTIONS.items()),
            interceptors=(Guard(Judge(self._credentials.rules)),),
            maximum_concurrent_rpcs=MAX_CALLS,
        )
        for part in self._parts:
            server.add_generic_rpc_handlers(tuple(part.handlers()))
        address = self._settings.address
        server.add_secure_port(address, xds.server_credentials(self._credentials.current))
        await server.start()
        log.info("mixer.listening", address=address)
        try:
            await server.wait_for_termination()
        finally:
            # Shielded by nothing: whoever stops Mixer a second time kills it.
            await server.stop(_STOP_SECONDS)


async def _lasting(run: Callable[[], Awaitable[None]]) -> None:
    """Until cancelled. Where one part ends, Mixer ends, and is started again as a whole: one that
    lacks a part would look as if it ran."""
    name = getattr(run, "__qualname__", repr(run))
    try:
        await run()
    except Exception as error:
        log.error("mixer.part_failed", part=name, exc_info=error)
        raise
    raise AssertionError(f"{name} has ended")


def _application(parts: Sequence[Part], credentials: MixerCredentials) -> Starlette:
    async def healthy(_request: Request) -> Response:
        return PlainTextResponse("ok")

    async def ready(_request: Request) -> Response:
        if credentials.is_ready:
            return PlainTextResponse("ok")
        return PlainTextResponse("waiting for a certificate", 503)

    return Starlette(
        routes=[
            Route("/healthz", healthy),
            Route("/readyz", ready),
            *(route for part in parts for route in part.routes()),
        ],
        exception_handlers={HTTPException: _http_exception, Exception: _our_bug},
    )


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return failure(error.status_code, f"{error.detail}: {request.method} {request.url.path}")


async def _our_bug(request: Request, error: Exception) -> Response:
    log.error("request.failed", method=request.method, path=request.url.path, exc_info=error)
    return failure(500, f"internal error: {type(error).__name__}")


class _Door(uvicorn.Server):
    """Leaves signals to the process."""

    def __init__(self, app: Starlette) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=1,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
