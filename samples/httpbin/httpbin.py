"""What Istio's tasks use of httpbin, with go-httpbin's paths and answers. Usage: httpbin.py [PORT].

Header values are lists, as in go-httpbin. /websocket/echo speaks RFC 6455 (text and binary frames).
"""

import base64
import hashlib
import json
import os
import socket
import struct
import sys
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TEAPOT = "I'm a teapot!"
MAX_BYTES = 10 * 1024 * 1024
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Httpbin(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "httpbin"
    wbufsize = -1
    disable_nagle_algorithm = True

    def handle_any(self) -> None:
        started = time.monotonic()
        self.close_connection = False
        self.url = urlsplit(self.path)
        self.arguments = parse_qs(self.url.query, keep_blank_values=True)
        first, *rest = self.url.path.strip("/").split("/")
        status = self._dispatch(first, rest)
        line = {
            "msg": f"{status} {self.command} {self.path}",
            "host": self.headers.get("host", ""),
            "ms": round((time.monotonic() - started) * 1000),
        }
        print(json.dumps(line))

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = handle_any

    def _dispatch(self, first: str, rest: list[str]) -> int:
        answer = getattr(self, f"answer_{first.replace('-', '_') or 'index'}", None)
        if answer is None:
            return self.reply(404, {"status_code": 404, "error": "Not Found"})
        try:
            status: int = answer(*rest)
        except (TypeError, ValueError) as error:
            return self.reply(400, {"status_code": 400, "error": str(error)})
        return status

    def reply(self, status: int, value: Any, **headers: str) -> int:
        body = json.dumps(value, indent=2).encode() + b"\n"
        return self.send(status, body, "application/json; charset=utf-8", **headers)

    def send(self, status: int, body: bytes, content_type: str, **headers: str) -> int:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()
        return status

    def request_headers(self) -> dict[str, list[str]]:
        return {name.title(): self.headers.get_all(name, []) for name in sorted(self.headers)}

    def described(self) -> dict[str, Any]:
        host = self.headers.get("host", "")
        return {
            "args": self.arguments,
            "headers": self.request_headers(),
            "method": self.command,
            "origin": self.client_address[0],
            "url": f"http://{host}{self.path}",
        }

    def answer_index(self) -> int:
        return self.send(200, b"<title>httpbin</title><h1>httpbin</h1>\n", "text/html")

    def answer_get(self) -> int:
        return self.reply(200, self.described())

    answer_head = answer_get

    def answer_anything(self, *_: str) -> int:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        return self.reply(200, {**self.described(), "data": body.decode("utf-8", "replace")})

    answer_post = answer_put = answer_delete = answer_patch = answer_anything

    def answer_headers(self) -> int:
        return self.reply(200, {"headers": self.request_headers()})

    def answer_ip(self) -> int:
        return self.reply(200, {"origin": self.client_address[0]})

    def answer_user_agent(self) -> int:
        return self.reply(200, {"user-agent": self.headers.get("user-agent", "")})

    def answer_hostname(self) -> int:
        return self.reply(200, {"hostname": os.environ.get("HOSTNAME", socket.gethostname())})

    def answer_uuid(self) -> int:
        return self.reply(200, {"uuid": str(uuid.uuid4())})

    def answer_status(self, code: str) -> int:
        status = int(code)
        if not 200 <= status <= 599:
            raise ValueError(f"invalid status code: {code}")
        if status == 418:
            return self.send(418, TEAPOT.encode(), "text/plain", x_more_info="RFC 2324")
        return self.send(status, b"", "text/plain")

    def answer_delay(self, seconds: str) -> int:
        time.sleep(min(float(seconds.removesuffix("s")), 10.0))
        return self.reply(200, self.described())

    def answer_bytes(self, count: str) -> int:
        return self.send(200, os.urandom(min(int(count), MAX_BYTES)), "application/octet-stream")

    def answer_response_headers(self) -> int:
        headers = {name: values[-1] for name, values in self.arguments.items()}
        return self.reply(200, self.arguments, **headers)

    def answer_redirect(self, count: str) -> int:
        left = int(count) - 1
        return self.send(302, b"", "text/plain", location=f"/redirect/{left}" if left else "/get")

    def answer_stream(self, count: str) -> int:
        self.send_response(200)
        self.send_header("content-type", "application/json; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for i in range(min(int(count), 100)):
            line = json.dumps({"id": i, **self.described()}).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()
        return 200

    def answer_websocket(self, what: str) -> int:
        key = self.headers.get("sec-websocket-key")
        if what != "echo" or key is None or self.headers.get("upgrade", "").lower() != "websocket":
            return self.reply(400, {"status_code": 400, "error": "not a websocket handshake"})
        accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()
        self.send_response(101)
        self.send_header("upgrade", "websocket")
        self.send_header("connection", "Upgrade")
        self.send_header("sec-websocket-accept", accept)
        self.end_headers()
        self.wfile.flush()
        self.close_connection = True
        while (frame := self._read_frame()) is not None:
            opcode, payload = frame
            self.wfile.write(_frame({9: 10}.get(opcode, opcode), payload))
            self.wfile.flush()
            if opcode == 8:
                break
        return 101

    def _read_frame(self) -> tuple[int, bytes] | None:
        """Opcode and unmasked payload of the next frame; None at the end of the stream."""
        head = self.rfile.read(2)
        if len(head) < 2:
            return None
        length = head[1] & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", self.rfile.read(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self.rfile.read(8))
        if length > MAX_BYTES:
            return None
        mask = self.rfile.read(4) if head[1] & 0x80 else bytes(4)
        payload = self.rfile.read(length)
        return head[0] & 0x0F, bytes(b ^ mask[i % 4] for i, b in enumerate(payload))

    def log_message(self, format: str, *args: Any) -> None:
        """Said by `handle_any` already."""


def _frame(opcode: int, payload: bytes) -> bytes:
    if len(payload) < 126:
        return bytes((0x80 | opcode, len(payload))) + payload
    if len(payload) < 65536:
        return bytes((0x80 | opcode, 126)) + struct.pack("!H", len(payload)) + payload
    return bytes((0x80 | opcode, 127)) + struct.pack("!Q", len(payload)) + payload


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a text file here
    port = int(sys.argv[1]) if len(sys.argv) > 1 else int(os.environ.get("PORT", "8080"))
    with _Server(("0.0.0.0", port), Httpbin) as server:
        server.serve_forever()
