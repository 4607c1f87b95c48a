"""metrics_application.py PORT: answers /status/N with N, /slow after 0.1 s, /metrics with a counter of its own."""

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

METRICS = b"# TYPE shop_orders counter\nshop_orders_total 7\n# EOF\n"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = METRICS if self.path == "/metrics" else b"ok\n"
        status = int(self.path.rpartition("/")[2]) if "/status/" in self.path else 200
        if self.path == "/slow":
            time.sleep(0.1)
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), _Handler).serve_forever()
