"""A server that is healthy for some probes only, run beside a workload's own.

health_server.py HTTP_PORT GRPC_PORT SERVICE
Over HTTP it is healthy for those who send ``x-probe: yes``. Over gRPC it is
``grpc.health.v1.Health``, which knows SERVICE alone:
https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer

import grpc
from google.protobuf.wrappers_pb2 import StringValue

SERVING = b"\x08\x01"


class Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204 if self.headers["x-probe"] == "yes" else 403)
        self.end_headers()


def main(http_port: int, grpc_port: int, service: str) -> None:
    wanted = StringValue(value=service).SerializeToString()  # as HealthCheckRequest is written

    def check(request: bytes, context: grpc.ServicerContext) -> bytes:
        if request != wanted:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return SERVING

    methods = {"Check": grpc.unary_unary_rpc_method_handler(check)}
    server = grpc.server(ThreadPoolExecutor(1))
    handler = grpc.method_handlers_generic_handler("grpc.health.v1.Health", methods)
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(f"0.0.0.0:{grpc_port}")
    server.start()
    HTTPServer(("0.0.0.0", http_port), Health).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
