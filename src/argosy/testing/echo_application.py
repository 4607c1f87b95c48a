"""An application that tells how it was called: HTTP, WebSocket-like upgrades, or opaque bytes."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_METHODS = (b"GET ", b"POST ", b"PUT ", b"OPTIONS ")


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while line := self.rfile.readline():
            if not line.startswith(_METHODS):
                self._opaque(line)
                return
            headers = self._headers()
            if headers.get("upgrade", "").lower() == "websocket":
                self._upgraded()
                return
            self.rfile.read(int(headers.get("content-length", "0")))
            method, path, version = line.decode().split()
            answer = {"method": method, "path": path, "version": version, "headers": headers}
            body = json.dumps(answer).encode()
            self.wfile.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                + f"content-length: {len(body)}\r\n\r\n".encode()
                + body
            )

    def _headers(self) -> dict[str, str]:
        headers = {}
        while (line := self.rfile.readline().strip()) != b"":
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return headers

    def _upgraded(self) -> None:
        self.wfile.write(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"
        )
        while data := self.connection.recv(4096):
            self.wfile.write(b"frame:" + data)

    def _opaque(self, first: bytes) -> None:
        self.wfile.write(b"opaque:" + first)
        while line := self.rfile.readline():
            self.wfile.write(b"opaque:" + line)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A peer that hangs up is not an error of the test."""


@contextmanager
def echo_application() -> Iterator[int]:
    """Runs the application for the block; gives its port on 127.0.0.1."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()
