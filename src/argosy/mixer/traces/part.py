"""The room of traces, put together: spans in by gRPC and HTTP, traces out to people."""

import asyncio
import json
import socket
from collections.abc import Callable, Sequence

import grpc
import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from argosy.citadel.refusal import RefusedError
from argosy.mixer.asker import AskedRoute, failure
from argosy.mixer.caller import Caller, Judge, caller
from argosy.mixer.parts import Ground, Handler
from argosy.mixer.traces import answers, otlp, zipkin
from argosy.mixer.traces.certificate_names import names_of
from argosy.mixer.traces.decoded import Decoded, MalformedError
from argosy.mixer.traces.http_intake import Answer, HttpIntake, Posted
from argosy.mixer.traces.reporter import Reporter, of_control_plane, reported
from argosy.mixer.traces.store import AmbiguousError, Query, TraceStore

HTTP_PORT = 4318
"""OTLP's port for HTTP; Zipkin's spans come here too."""

MAX_LIST = 1000
LARGE_BYTES = 64 << 10
SPANS_AT_ONCE = 200
"""Of one message; that takes some milliseconds, and then others run."""

_EXPORT = "opentelemetry.proto.collector.trace.v1.TraceService"
_PROTOBUF, _JSON = "application/x-protobuf", "application/json"
log = structlog.get_logger()


class Traces:
    def __init__(self, ground: Ground, store: TraceStore | None = None) -> None:
        self._ground = ground
        self._store = store or TraceStore()
        self._judge = Judge(ground.credentials.rules)
        self._http = HttpIntake(ground.credentials.current, self._posted)

    def handlers(self) -> Sequence[Handler]:
        export = grpc.unary_unary_rpc_method_handler(self._export)
        return (grpc.method_handlers_generic_handler(_EXPORT, {"Export": export}),)

    def routes(self) -> Sequence[AskedRoute]:
        return (
            AskedRoute("/traces", self._list),
            AskedRoute("/traces/{name}", self._show),
            AskedRoute("/v1/traces", self._own, methods=["POST"], own=True),
        )

    async def run(self) -> None:
        await self._ground.credentials.ready()
        listener = socket.create_server((self._ground.host, HTTP_PORT), backlog=512)
        log.info("spans.listening", address=f"{self._ground.host}:{HTTP_PORT}")
        await self._http.serve(listener)

    async def _export(self, body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        reporter = _reporter(caller())
        try:
            found = await _decoded(otlp.decode, body)
        except MalformedError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        await self._keep(found, reporter)
        return otlp.answer(found)

    async def _posted(self, posted: Posted) -> Answer:
        try:
            reporter = _reporter(self._judge.judge(posted.certificate))
        except RefusedError as error:
            log.warning("spans.refused", why=error.message)
            return Answer(401, error.message.encode())
        try:
            return await self._taken(posted, reporter)
        except MalformedError as error:
            return Answer(400, str(error).encode()[:500])

    async def _taken(self, posted: Posted, reporter: Reporter) -> Answer:
        as_json = posted.content_type == _JSON
        if posted.path == "/v1/traces":
            if not as_json and posted.content_type != _PROTOBUF:
                return Answer(415, f"spans are {_PROTOBUF} or {_JSON}".encode())
            found = await _decoded(otlp.decode_json if as_json else otlp.decode, posted.body)
            await self._keep(found, reporter)
            if as_json:
                return Answer(200, json.dumps(otlp.json_answer(found)).encode(), _JSON)
            return Answer(200, otlp.answer(found), _PROTOBUF)
        if posted.path == "/api/v2/spans":
            if posted.content_type not in (_JSON, ""):
                return Answer(415, f"spans are {_JSON}".encode())
            await self._keep(await _decoded(zipkin.decode, posted.body), reporter)
            return Answer(202)
        return Answer(404, b"spans are posted to /v1/traces (OTLP) or /api/v2/spans (Zipkin)")

    async def _keep(self, found: Decoded, reporter: Reporter) -> None:
        self._store.counts.rejected += found.rejected
        for first in range(0, len(found.spans), SPANS_AT_ONCE):
            self._store.add(reported(found.spans[first : first + SPANS_AT_ONCE], reporter))
            await asyncio.sleep(0)

    async def _own(self, request: Request) -> Response:
        """The control plane's own spans."""
        try:
            found = otlp.decode(await request.body())
        except MalformedError as error:
            return failure(400, str(error))
        self._store.add(of_control_plane(found.spans))
        self._store.counts.rejected += found.rejected
        return Response(otlp.answer(found), media_type=_PROTOBUF)

    async def _list(self, request: Request) -> Response:
        try:
            query = _query(request)
        except ValueError as error:
            return failure(400, str(error))
        return JSONResponse(
            {
                "traces": [answers.summary(one) for one in self._store.search(query)],
                "kept": answers.counts(self._store.counts),
            }
        )

    async def _show(self, request: Request) -> Response:
        name = request.path_params["name"]
        try:
            found = self._store.find(name)
        except AmbiguousError as error:
            return failure(409, f"{error}: write more of it")
        if found is None:
            return failure(404, f"there is no trace {name}, or it had to give way to newer ones")
        return JSONResponse(answers.trace(*found))


async def _decoded(decode: Callable[[bytes], Decoded], body: bytes) -> Decoded:
    """What is large is decoded on a thread, while others run. Raises ``MalformedError``."""
    if len(body) < LARGE_BYTES:
        return decode(body)
    return await asyncio.to_thread(decode, body)


def _reporter(who: Caller) -> Reporter:
    identity = who.identity
    return Reporter(identity.namespace, identity.service_account, names_of(who.certificate))


def _query(request: Request) -> Query:
    asked = request.query_params
    limit = int(asked.get("limit", "10"))
    if not 1 <= limit <= MAX_LIST:
        raise ValueError(f"limit is from 1 to {MAX_LIST}")
    return Query(
        limit=limit,
        slow=asked.get("slow") == "true",
        errors=asked.get("errors") == "true",
        control_plane=asked.get("controlPlane") == "true",
        service=asked.get("service", ""),
        min_duration=int(float(asked.get("minMillis", "0")) * 1e6),
    )
