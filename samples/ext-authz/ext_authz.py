"""An external authorizer. Usage: ext_authz.py [HTTP-PORT [GRPC-PORT]], 8000 and 9000 by default.

Envoy asks it by HTTP or by gRPC about requests and connections. Requests with the header
``x-ext-authz: allow`` may pass; the workload is told so in x-ext-authz-check-result. Others are
refused in words. Connections that are not HTTP may pass if they come with an identity. What it was
told comes in x-ext-authz-check-received. It takes its time if x-ext-authz-delay says so, in seconds.
"""

import json
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.auth.v3 import external_auth_pb2

HEADER = "x-ext-authz"
DELAY = "x-ext-authz-delay"
MAX_DELAY_SECONDS = 30.0
RESULT = "x-ext-authz-check-result"
RECEIVED = "x-ext-authz-check-received"
REFUSAL = "denied by ext_authz for not found header `x-ext-authz: allow` in the request"
PERMISSION_DENIED = grpc.StatusCode.PERMISSION_DENIED.value[0]


def wait(headers: Mapping[str, str]) -> None:
    """As long as the request wants, if it does."""
    try:
        seconds = float(headers.get(DELAY, 0))
    except ValueError:
        return
    if seconds > 0:
        time.sleep(min(seconds, MAX_DELAY_SECONDS))


class Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def check(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        wait(headers)
        allowed = headers.get(HEADER) == "allow"
        received = {"method": self.command, "path": self.path, "headers": headers}
        answer = b"" if allowed else REFUSAL.encode()
        self.send_response(200 if allowed else 403)
        self.send_header(RESULT, "allowed" if allowed else "denied")
        self.send_header(RECEIVED, json.dumps({**received, "body": body.decode(errors="replace")}))
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):  # whatever the method
            return self.check
        raise AttributeError(name)

    def log_message(self, *arguments: object) -> None:
        """Silent."""


def check(
    request: external_auth_pb2.CheckRequest, _context: grpc.ServicerContext
) -> external_auth_pb2.CheckResponse:
    http = request.attributes.request.http
    headers: Mapping[str, str] = http.headers
    wait(headers)
    allowed = headers.get(HEADER) == "allow"
    if not http.method:
        allowed = bool(request.attributes.source.principal)
    answer = external_auth_pb2.CheckResponse()
    result = base_pb2.HeaderValue(key=RESULT, value="allowed" if allowed else "denied")
    if allowed:
        raw = http.raw_body.decode(errors="replace")
        received = {"method": http.method, "path": http.path, "body": http.body, "rawBody": raw}
        told = base_pb2.HeaderValue(key=RECEIVED, value=json.dumps(received))
        for header in (result, told):
            answer.ok_response.headers.add().header.CopyFrom(header)
        return answer
    answer.status.code = PERMISSION_DENIED
    answer.denied_response.status.code = 403
    answer.denied_response.body = REFUSAL
    answer.denied_response.headers.add().header.CopyFrom(result)
    return answer


def main() -> None:
    ports = [int(text) for text in sys.argv[1:]] or [8000, 9000]
    server = grpc.server(ThreadPoolExecutor(8))
    method = grpc.unary_unary_rpc_method_handler(
        check,
        request_deserializer=external_auth_pb2.CheckRequest.FromString,
        response_serializer=external_auth_pb2.CheckResponse.SerializeToString,
    )
    service = "envoy.service.auth.v3.Authorization"
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {"Check": method}),)
    )
    server.add_insecure_port(f"0.0.0.0:{ports[1]}")
    server.start()
    http = ThreadingHTTPServer(("0.0.0.0", ports[0]), Http)
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, daemon=True).start()
    server.wait_for_termination()


main()
