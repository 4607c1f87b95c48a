"""Port 15020 of each pod that has a proxy: its metrics merged with its application's, and health.

``/stats/prometheus`` is all of it, ``/stats/envoy`` the proxy's alone (which is what port 15090
shows), ``/healthz/ready`` whether the proxy serves. One request a connection, a few at once.
https://istio.io/latest/docs/ops/integrations/prometheus/#option-1-metrics-merging
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import h11
import structlog

from argosy.proxy.bootstrap import ADMIN_PORT
from argosy.proxy.message_counts import (
    CLUSTERS_PATH,
    MalformedDumpError,
    MessageCount,
    clusters,
    lines,
)
from argosy.proxy.namespace_http import AnswerError, read_from
from argosy.proxy.prometheus_page import CONTENT_TYPE, StatisticsPage

_MAX_CONNECTIONS = 8
_MAX_HEAD = 16_384
_HEAD_SECONDS = 5.0
_SCRAPE_SECONDS = 30.0
_MAX_ENVOY_BYTES = 256 << 20
_MAX_DUMP_BYTES = 64 << 20
_MAX_APPLICATION_BYTES = 64 << 20
_TIMEOUT_HEADER = "X-Prometheus-Scrape-Timeout-Seconds"
_WRITTEN_AS_IT_IS = "/?=&%!$'()*+,;:@"
"""In a path with its query: https://www.rfc-editor.org/rfc/rfc3986#section-3.3"""

_END_OF_OPENMETRICS = b"# EOF"
OpenSocket = Callable[[], socket.socket]
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ApplicationMetrics:
    """Where the application shows its own, on its loopback."""

    port: int
    path: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"


def application_metrics(annotations: Mapping[str, str]) -> ApplicationMetrics | None:
    """What ``prometheus.io/scrape``, ``port`` and ``path`` say; None: it has none to merge."""
    if annotations.get("prometheus.io/scrape", "").lower() != "true":
        return None
    if annotations.get("prometheus.istio.io/merge-metrics", "").lower() == "false":
        return None
    if annotations.get("prometheus.io/scheme", "http").lower() != "http":
        return None
    port = annotations.get("prometheus.io/port", "80")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        return None
    path = quote(annotations.get("prometheus.io/path", "/metrics"), safe=_WRITTEN_AS_IT_IS)
    return ApplicationMetrics(int(port), path if path.startswith("/") else f"/{path}")


class MetricsServer:
    """Serves one pod. ``is_ready`` is the proxy's health; ``application`` is asked at each scrape.

    ``workload`` are the facts of the pod's workload, as ``standard_metrics`` joins them.
    """

    def __init__(
        self,
        open_socket: OpenSocket,
        is_ready: Callable[[], bool],
        application: Callable[[], ApplicationMetrics | None],
        workload: str,
    ) -> None:
        self._open_socket = open_socket
        self._is_ready = is_ready
        self._application = application
        self._workload = workload
        self._free = _MAX_CONNECTIONS

    async def run(self, listener: socket.socket) -> None:
        """Serve until cancelled; closes the listener."""
        async with await asyncio.start_server(self._serve, sock=listener) as server:
            await server.serve_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._free:
            writer.close()
            return
        self._free -= 1
        try:
            with contextlib.suppress(OSError, TimeoutError, h11.ProtocolError):
                async with asyncio.timeout(_HEAD_SECONDS):
                    connection, request = await _request(reader)
                if request is not None:
                    await self._answer(_Answer(connection, writer), request)
        finally:
            self._free += 1
            writer.close()

    async def _answer(self, answer: "_Answer", request: h11.Request) -> None:
        path = request.target.decode("latin-1").partition("?")[0]
        if request.method != b"GET":
            await answer.whole(405, "only GET is answered\n")
        elif path == "/healthz/ready":
            ready = self._is_ready()
            await answer.whole(*((200, "") if ready else (503, "the proxy is not ready\n")))
        elif path in ("/stats/prometheus", "/stats/envoy"):
            application = self._application() if path == "/stats/prometheus" else None
            async with asyncio.timeout(_seconds(request)):
                await self._scrape(answer, application)
        else:
            await answer.whole(404, "there is /stats/prometheus, /stats/envoy, /healthz/ready\n")

    async def _scrape(self, answer: "_Answer", application: ApplicationMetrics | None) -> None:
        """What breaks off in the middle ends the connection, so that nobody takes it for all."""
        await answer.begin(200)
        try:
            async for text in self._of_proxy():
                await answer.send(text)
        except AnswerError as error:
            log.warning("metrics.proxy_failed", error=str(error))
            return
        if application is not None:
            try:
                async for text in _of_application(self._open_socket, application):
                    await answer.send(text)
            except AnswerError as error:
                # As Istio: the proxy's metrics are told whether or not the application's are.
                log.info("metrics.application_failed", error=str(error))
        await answer.end()

    async def _of_proxy(self) -> AsyncIterator[bytes]:
        page = StatisticsPage()
        async for piece in self._of_admin("/stats/prometheus", _MAX_ENVOY_BYTES):
            yield "".join(page.feed(piece)).encode()
        yield "".join(page.end()).encode()
        if page.messages:
            yield await self._messages(page.messages)

    async def _messages(self, counts: Sequence[MessageCount]) -> bytes:
        """Left out when it is not known whose they are: other labels would be other series."""
        try:
            dump = b"".join(
                [piece async for piece in self._of_admin(CLUSTERS_PATH, _MAX_DUMP_BYTES)]
            )
            return "".join(lines(counts, clusters(dump), self._workload)).encode()
        except (AnswerError, MalformedDumpError) as error:
            log.warning("metrics.messages_failed", error=str(error))
            return b""

    def _of_admin(self, path: str, limit: int) -> AsyncIterator[bytes]:
        url = f"http://127.0.0.1:{ADMIN_PORT}{path}"
        return read_from(self._open_socket, url, {"Host": "localhost"}, limit=limit)


async def _of_application(
    open_socket: OpenSocket, application: ApplicationMetrics
) -> AsyncIterator[bytes]:
    """Line by line, without the end mark that OpenMetrics has."""
    headers = {"Host": f"127.0.0.1:{application.port}", "Accept": CONTENT_TYPE}
    rest = b""
    async for piece in read_from(
        open_socket, application.url, headers, limit=_MAX_APPLICATION_BYTES
    ):
        *lines, rest = (rest + piece).split(b"\n")
        kept = [line + b"\n" for line in lines if line.rstrip() != _END_OF_OPENMETRICS]
        yield b"".join(kept)
    if rest and rest.rstrip() != _END_OF_OPENMETRICS:
        yield rest + b"\n"


class _Answer:
    """One response on one connection, which ends with it."""

    def __init__(self, connection: h11.Connection, writer: asyncio.StreamWriter) -> None:
        self._connection = connection
        self._writer = writer

    async def begin(self, status: int) -> None:
        headers = [("content-type", CONTENT_TYPE), ("connection", "close")]
        await self._write(h11.Response(status_code=status, headers=headers))

    async def send(self, text: bytes) -> None:
        if text:
            await self._write(h11.Data(data=text))

    async def end(self) -> None:
        await self._write(h11.EndOfMessage())

    async def whole(self, status: int, text: str) -> None:
        await self.begin(status)
        await self.send(text.encode())
        await self.end()

    async def _write(self, event: h11.Event) -> None:
        data = self._connection.send(event)
        if data:
            self._writer.write(data)
            await self._writer.drain()


async def _request(reader: asyncio.StreamReader) -> tuple[h11.Connection, h11.Request | None]:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD)
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_MAX_HEAD))
        elif isinstance(event, h11.Request):
            return connection, event
        else:
            return connection, None


def _seconds(request: h11.Request) -> float:
    """Prometheus says how long it waits; after that nobody reads."""
    for name, value in request.headers:
        if name == _TIMEOUT_HEADER.lower().encode():
            with contextlib.suppress(ValueError):
                return max(0.1, min(float(value), _SCRAPE_SECONDS))
    return _SCRAPE_SECONDS
