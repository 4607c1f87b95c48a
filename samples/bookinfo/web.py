"""A small HTTP service on the standard library: routes, JSON, and Bookinfo's header propagation."""

import http.client
import json
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PROPAGATED = (
    # tracing: all spans of one request carry the same ids
    "x-request-id",
    "x-ot-span-context",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "b3",
    "traceparent",
    "tracestate",
    "baggage",
    "x-datadog-trace-id",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "x-cloud-trace-context",
    "grpc-trace-bin",
    "sw8",
    # the application's own: who the user is, for routing by user
    "end-user",
    "user-agent",
    "cookie",
    "authorization",
    "jwt",
)


@dataclass
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""
    match: re.Match[str] | None = None

    def propagated(self) -> dict[str, str]:
        """The headers that a call made on behalf of this request must carry."""
        return {name: value for name in PROPAGATED if (value := self.headers.get(name))}


@dataclass
class Response:
    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


def json_response(value: Any, status: int = 200) -> Response:
    return Response(status, json.dumps(value).encode())


Route = tuple[str, str, Callable[[Request], Response]]
"""Method, a regular expression for the whole path (without query), and who answers."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def serve(port: int, routes: list[Route]) -> None:
    """Answer on all addresses until killed; one line per request goes to standard output."""
    compiled = [(method, re.compile(pattern), answer) for method, pattern, answer in routes]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "bookinfo"
        wbufsize = -1  # one write for head and body, or delayed ACKs cost 40 ms a request
        disable_nagle_algorithm = True

        def answer(self) -> None:
            started = time.monotonic()
            length = int(self.headers.get("content-length") or 0)
            request = Request(self.command, self.path, self.headers, self.rfile.read(length))
            response = Response(404, b"not found\n", "text/plain")
            path = self.path.partition("?")[0]
            for method, pattern, answer in compiled:
                if method == self.command and (match := pattern.fullmatch(path)):
                    request.match = match
                    response = answer(request)
                    break
            self.send_response(response.status)
            self.send_header("content-type", response.content_type)
            self.send_header("content-length", str(len(response.body)))
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(response.body)
            self.wfile.flush()
            taken = (time.monotonic() - started) * 1000
            host = self.headers.get("host", "-")
            print(f"{self.command} {self.path} {response.status} {taken:.0f}ms host={host}")

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = answer

        def log_message(self, format: str, *args: Any) -> None:
            """Said by `answer` already."""

    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a text file here
    with _Server(("0.0.0.0", port), Handler) as server:
        print(f"listening on port {port}")
        server.serve_forever()


def get_json(host: str, port: int, path: str, headers: Mapping[str, str], seconds: float) -> Any:
    """GET a JSON document. Raises OSError or ValueError for anything but a 200 with JSON."""
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    try:
        connection.request("GET", path, headers=dict(headers))
        response = connection.getresponse()
        body = response.read()
    except http.client.HTTPException as error:
        raise OSError(f"{host}:{port}{path}: {error}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise StatusError(response.status)
    return json.loads(body)


class StatusError(OSError):
    """The service answered, but not with 200."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status
