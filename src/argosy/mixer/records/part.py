"""Records as a part of Mixer: the access log service for proxies, and its routes for people."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

import grpc
import msgspec
import structlog
from envoy.service.accesslog.v3 import als_pb2
from google.protobuf.message import DecodeError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from argosy.base.clock import Clock
from argosy.mixer.asker import AskedRoute, asker_of, failure
from argosy.mixer.caller import caller
from argosy.mixer.parts import Handler
from argosy.mixer.records.entries import (
    ContradictionError,
    http_record,
    is_gateway,
    reporter_of,
    tcp_record,
)
from argosy.mixer.records.hub import Hub, TooManyError, Viewer
from argosy.mixer.records.record import Record, Reporter
from argosy.mixer.records.recording import MAX_SECONDS
from argosy.mixer.records.tap import Watch, WatchError
from argosy.mixer.refusals import Refusals
from argosy.model.records import Direction, Wanted

SERVICE = "envoy.service.accesslog.v3.AccessLogService"
MAX_LISTED = 1000
ALIVE_SECONDS = 5.0
"""So often a viewer hears something, so that one who is gone is noticed."""

_LONGEST_WAIT_SECONDS = 60.0
_MAX_BODY = 64 * 1024
_JSON = "application/json"
_LINES = "application/x-ndjson"
_T = TypeVar("_T")
log = structlog.get_logger()


class RecordBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    namespace: str = ""
    seconds: float = 600.0


class WantedDocument(msgspec.Struct, frozen=True):
    """``version`` is another whenever ``wanted`` is."""

    version: str
    wanted: Wanted


class Records:
    """``parts.Part``."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._hub = Hub(self._changed)
        self._version = 0
        self._began = f"{clock.now().timestamp():.3f}"
        self._news = asyncio.Event()
        self._refusals = Refusals("records.refused")

    def handlers(self) -> Sequence[Handler]:
        methods = {"StreamAccessLogs": grpc.stream_unary_rpc_method_handler(self._logs)}
        return (grpc.method_handlers_generic_handler(SERVICE, methods),)

    def routes(self) -> Sequence[AskedRoute]:
        post = ("POST",)
        return (
            AskedRoute("/records", self._last, namespaced=True),
            AskedRoute("/records/requests/{id}", self._request, namespaced=True),
            AskedRoute("/records/tap", self._tap, methods=post, namespaced=True),
            AskedRoute("/records/record", self._record, methods=post, namespaced=True),
            AskedRoute("/records/observed", self._observed, namespaced=True),
            AskedRoute("/records/wanted", self._wanted),
            AskedRoute("/records/status", self._status),
        )

    async def run(self) -> None:
        while True:
            await asyncio.sleep(1)
            self._hub.tick(self._now)

    # For proxies.

    async def _logs(self, messages: AsyncIterator[bytes], context: Any) -> bytes:
        """One stream: the first message says whose entries these are, and of which side."""
        reporter: Reporter | None = None
        direction = Direction.INBOUND
        async for content in messages:
            try:
                message = als_pb2.StreamAccessLogsMessage.FromString(content)
            except DecodeError:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no access log entries")
            if message.HasField("identifier"):
                identifier = message.identifier
                try:
                    reporter = reporter_of(identifier.node, caller())
                except ContradictionError as error:
                    self._hub.counts.refused += 1
                    self._refusals.add(caller().identity, 1, str(error))
                    await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
                if identifier.log_name not in list(Direction):
                    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "an unknown log name")
                direction = Direction(identifier.log_name)
                if is_gateway(identifier.node):
                    direction = Direction.GATEWAY
            if reporter is None:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "who are you?")
            else:
                self._take(message, direction, reporter)
        return b""

    def _take(
        self, message: als_pb2.StreamAccessLogsMessage, direction: Direction, reporter: Reporter
    ) -> None:
        requests, connections = message.http_logs.log_entry, message.tcp_logs.log_entry
        count = len(requests) + len(connections)
        taken = self._hub.admit(count, wanted=self._hub.is_wanted(reporter))
        for entry in requests[:taken]:
            self._hub.take(http_record(entry, direction, reporter))
        for connection in connections[: max(0, taken - len(requests))]:
            self._hub.take(tcp_record(connection, direction, reporter))

    # For people.

    async def _last(self, request: Request) -> Response:
        query = request.query_params
        limit = query.get("limit", "100")
        if not limit.isdecimal():
            return failure(400, f"limit: {limit!r} is not a number")
        found = self._hub.last(
            namespace=asker_of(request).namespace or query.get("namespace", ""),
            workload=query.get("workload", ""),
            failures=query.get("failures", "") == "true",
            limit=min(int(limit), MAX_LISTED),
        )
        return _json({"items": found})

    async def _request(self, request: Request) -> Response:
        found = self._hub.request(request.path_params["id"], asker_of(request).namespace)
        return _json({"items": found[:MAX_LISTED]})

    async def _tap(self, request: Request) -> Response:
        body = await request.body()
        asker = asker_of(request)
        try:
            watch = _decoded(body, Watch)
            watch.check()
        except WatchError as error:
            return failure(400, str(error))
        if asker.namespace not in ("", watch.namespace):
            return failure(403, f"{asker.name} may watch namespace {asker.namespace} alone")
        news = asyncio.Event()
        try:
            viewer = self._hub.watch(watch, news.set)
        except TooManyError:
            return failure(429, "too many watch already; try again when one has ended")
        log.info("tap.began", asker=asker.name, namespace=watch.namespace, pod=watch.pod)
        return _Watching(self._lines(viewer, news), lambda: self._left(viewer, asker.name))

    def _left(self, viewer: Viewer, who: str) -> None:
        self._hub.leave(viewer)
        log.info("tap.ended", asker=who, dropped=viewer.dropped)

    async def _lines(self, viewer: Viewer, news: asyncio.Event) -> AsyncIterator[bytes]:
        told = 0
        yield _line({"began": self._now})
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ALIVE_SECONDS):
                    await news.wait()
            news.clear()
            if not viewer.waiting:
                yield _line({"alive": self._now})
            while viewer.waiting:
                yield _line({"record": viewer.waiting.popleft()})
            if viewer.dropped > told:
                told = viewer.dropped
                yield _line({"dropped": told})

    async def _record(self, request: Request) -> Response:
        asker = asker_of(request)
        try:
            body = _decoded(await request.body(), RecordBody)
        except WatchError as error:
            return failure(400, str(error))
        namespace = body.namespace or asker.namespace
        running = self._hub.recorder
        if asker.namespace not in ("", namespace):
            return failure(403, f"{asker.name} may record namespace {asker.namespace} alone")
        if not 0 <= body.seconds <= MAX_SECONDS:
            return failure(400, f"seconds: at most {MAX_SECONDS}")
        active = running is not None and running.is_active(self._now)
        if asker.namespace and active and running and running.namespace != asker.namespace:
            return failure(409, "another recording goes on, which is not of this namespace")
        if body.seconds:
            running = self._hub.record(namespace, body.seconds, self._now)
        else:
            self._hub.end_recording(self._now)
        log.info("recording.set", asker=asker.name, namespace=namespace, seconds=body.seconds)
        return _json(None if running is None else running.recording(self._now))

    async def _observed(self, request: Request) -> Response:
        namespace = asker_of(request).namespace or request.query_params.get("namespace", "")
        recorder = self._hub.recorder
        if recorder is None:
            return _json({"recording": None, "items": []})
        return _json(
            {"recording": recorder.recording(self._now), "items": recorder.observed(namespace)}
        )

    async def _wanted(self, request: Request) -> Response:
        query = request.query_params
        seconds = query.get("timeoutSeconds", "0")
        wait = min(float(seconds), _LONGEST_WAIT_SECONDS) if seconds.isdecimal() else 0.0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                while query.get("version") == self._shown_version:
                    await self._news.wait()
        return _json(WantedDocument(self._shown_version, self._hub.wanted))

    async def _status(self, _request: Request) -> Response:
        hub = self._hub
        return _json({**msgspec.to_builtins(hub.counts), "kept": hub.kept, "viewers": hub.viewers})

    def _changed(self) -> None:
        self._version += 1
        self._news.set()
        self._news = asyncio.Event()

    @property
    def _shown_version(self) -> str:
        return f"{self._began}.{self._version}"

    @property
    def _now(self) -> float:
        return self._clock.now().timestamp()


class _Watching(StreamingResponse):
    """``ended`` is called even if whoever asked is gone before the first line."""

    def __init__(self, lines: AsyncIterator[bytes], ended: Callable[[], None]) -> None:
        super().__init__(lines, media_type=_LINES)
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ended()


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type=_JSON)


def _line(value: dict[str, float | int | Record]) -> bytes:
    return msgspec.json.encode(value) + b"\n"


def _decoded(body: bytes, kind: type[_T]) -> _T:
    """Raises ``WatchError``."""
    if len(body) > _MAX_BODY:
        raise WatchError("the request body is too large")
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.DecodeError as error:
        raise WatchError(f"the request body is not right: {error}") from error
