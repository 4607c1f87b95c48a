"""Istio's helloworld: says its version and instance. Usage: helloworld.py [PORT].

SERVICE_VERSION is the version that /hello tells.
"""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

VERSION = os.environ.get("SERVICE_VERSION", "v0")


class Hello(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        status, body = 404, "not found\n"
        if self.path.partition("?")[0] == "/hello":
            instance = os.environ.get("HOSTNAME", "unknown")
            status, body = 200, f"Hello version: {VERSION}, instance: {instance}\n"
        elif self.path == "/health":
            status, body = 200, "Helloworld is healthy\n"
        self.send_response(status)
        self.send_header("content-type", "text/plain; charset=utf-8")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: Any) -> None:
        print(f"{self.address_string()} {format % args}", flush=True)


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    with ThreadingHTTPServer(("0.0.0.0", port), Hello) as server:
        server.serve_forever()
