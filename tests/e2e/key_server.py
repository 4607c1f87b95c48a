"""An issuer's web server on this machine, as a test wants it: keys, discovery, and mischief."""

import json
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class KeyServer:
    """``answers`` has a body, or (status, headers, body), by path; others are 404. ``asked`` counts."""

    port: int = 0
    scheme: str = "http"
    answers: dict[str, Any] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def publish(self, path: str, key_set: str) -> str:
        """Serves a key set; its URL."""
        self.answers[path] = key_set
        return f"{self.url}{path}"

    def discover(self, prefix: str, keys_url: str) -> str:
        """Serves an OpenID Connect configuration below ``prefix``; the issuer."""
        issuer = f"{self.url}{prefix}"
        found = {"issuer": issuer, "jwks_uri": keys_url}
        self.answers[f"{prefix}/.well-known/openid-configuration"] = json.dumps(found)
        return issuer

    def redirect(self, path: str, to: str) -> str:
        self.answers[path] = (302, {"location": to}, "")
        return f"{self.url}{path}"

    def fail(self, path: str) -> None:
        self.answers[path] = (503, {}, "gone for lunch")


@contextmanager
def key_server(context: ssl.SSLContext | None = None) -> Iterator[KeyServer]:
    """With ``context`` it speaks TLS."""
    known = KeyServer(scheme="http" if context is None else "https")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known.asked[self.path] += 1
            answer = known.answers.get(self.path, (404, {}, "no such path"))
            status, headers, body = answer if isinstance(answer, tuple) else (200, {}, answer)
            data = body.encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Nothing: what was asked is counted."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    known.port = int(server.server_address[1])
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
