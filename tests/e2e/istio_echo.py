"""Istio's ``echo`` application, as far as its sample ``grpc-echo`` uses it, with its own flags.

istio_echo.py [--port N]... [--tcp N]... [--grpc N]... [--xds-grpc-server=N]... [--version V] ...
istio_echo.py forward --url [xds:///]HOST:PORT [--count N] [--header 'name: value']...

It speaks ``proto.EchoTestService`` (istio/istio, pkg/test/echo/proto): ``Echo`` says who answers,
``ForwardEcho`` calls ``Echo`` elsewhere. Ports of --xds-grpc-server ask the control plane what to
demand. ``forward`` calls ``ForwardEcho`` of the application in the same pod, as ``grpcurl`` does in
the task, and prints its lines; a failed call is printed as its status, and the exit code is 1.
"""

import argparse
import os
import socketserver
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import grpc.experimental
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "proto.EchoTestService"
PLAIN_PORT = 17171
_SECONDS = 20.0
_FIELD = descriptor_pb2.FieldDescriptorProto
_STRING, _INT32, _MESSAGE = _FIELD.TYPE_STRING, _FIELD.TYPE_INT32, _FIELD.TYPE_MESSAGE
_ONE, _MANY = _FIELD.LABEL_OPTIONAL, _FIELD.LABEL_REPEATED
_MESSAGES = {
    "EchoRequest": (("message", 1, _STRING, _ONE),),
    "EchoResponse": (("message", 1, _STRING, _ONE),),
    "Header": (("key", 1, _STRING, _ONE), ("value", 2, _STRING, _ONE)),
    "ForwardEchoRequest": (
        ("count", 1, _INT32, _ONE),
        ("url", 4, _STRING, _ONE),
        ("headers", 5, _MESSAGE, _MANY),
    ),
    "ForwardEchoResponse": (("output", 1, _STRING, _MANY),),
}


def _types() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="echo.proto", package="proto", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, label in fields:
            of = ".proto.Header" if kind == _MESSAGE else None
            message.field.add(name=field, number=number, type=kind, label=label, type_name=of)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = {name: pool.FindMessageTypeByName(f"proto.{name}") for name in _MESSAGES}
    return {name: message_factory.GetMessageClass(each) for name, each in found.items()}


TYPES = _types()


class EchoTestService:
    def __init__(self, version: str, port: int) -> None:
        self._version = version
        self._port = port

    def echo(self, request: Any, context: grpc.ServicerContext) -> Any:
        names = context.auth_context().get("x509_subject_alternative_name") or [b""]
        metadata = [f"{k}={v}" for k, v in context.invocation_metadata() if isinstance(v, str)]
        lines = (
            *metadata,
            "StatusCode=200",
            f"ServiceVersion={self._version}",
            f"ServicePort={self._port}",
            f"IP={os.environ.get('INSTANCE_IP', '')}",
            f"Hostname={os.environ.get('HOSTNAME', '')}",
            f"Peer={names[0].decode()}",
            f"Echo={request.message}",
        )
        return TYPES["EchoResponse"](message="\n".join(lines))

    def forward(self, request: Any, context: grpc.ServicerContext) -> Any:
        """All calls over one channel; lines begin with the number of the call, as Istio's do."""
        headers = [(header.key.lower(), header.value) for header in request.headers]
        output, count = [], request.count or 1
        with _channel(request.url) as channel:
            call = _unary(channel, "Echo", "EchoRequest", "EchoResponse")
            for number in range(count):
                try:
                    answer = call(
                        TYPES["EchoRequest"](message=""), metadata=headers, timeout=_SECONDS / 4
                    )
                except grpc.RpcError as error:
                    why = f"code = {error.code().name} desc = {error.details()}"
                    text = f"1/{count} requests had errors; first error: rpc error: {why}"
                    context.abort(grpc.StatusCode.UNKNOWN, text)
                body = [f"[{number} body] {line}" for line in answer.message.splitlines()]
                output.append("\n".join([f"[{number}] grpcecho.Echo({request.url})", *body, ""]))
        return TYPES["ForwardEchoResponse"](output=output)

    def handlers(self) -> grpc.GenericRpcHandler:
        def handler(function: Any, request: str, answer: str) -> grpc.RpcMethodHandler:
            return grpc.unary_unary_rpc_method_handler(
                function, TYPES[request].FromString, TYPES[answer].SerializeToString
            )

        methods = {
            "Echo": handler(self.echo, "EchoRequest", "EchoResponse"),
            "ForwardEcho": handler(self.forward, "ForwardEchoRequest", "ForwardEchoResponse"),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)


def _channel(url: str) -> grpc.Channel:
    credentials = grpc.experimental.insecure_channel_credentials()
    if url.startswith("xds:"):
        credentials = grpc.xds_channel_credentials(credentials)
    return grpc.secure_channel(url, credentials)


def _unary(channel: grpc.Channel, method: str, request: str, answer: str) -> Any:
    return channel.unary_unary(
        f"/{SERVICE}/{method}", TYPES[request].SerializeToString, TYPES[answer].FromString
    )


def forward(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--header", action="append", default=[])
    options = parser.parse_args(arguments)
    headers = [text.split(": ", 1) for text in options.header]
    request = TYPES["ForwardEchoRequest"](
        count=options.count,
        url=options.url,
        headers=[TYPES["Header"](key=key, value=value) for key, value in headers],
    )
    with _channel(f"127.0.0.1:{PLAIN_PORT}") as channel:
        call = _unary(channel, "ForwardEcho", "ForwardEchoRequest", "ForwardEchoResponse")
        try:
            sys.stdout.write("".join(call(request, timeout=2 * _SECONDS).output))
        except grpc.RpcError as error:
            sys.stdout.write(f"{error.code().name} {error.details()}\n")
            return 1
    return 0


class _Http(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"StatusCode=200\nHostname={os.environ.get('HOSTNAME', '')}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Tcp(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while line := self.rfile.readline():
            self.wfile.write(line)


def serve(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    for ports in ("--port", "--tcp", "--grpc", "--xds-grpc-server"):
        parser.add_argument(ports, type=int, action="append", default=[])
    for text in ("--version", "--crt", "--key", "--metrics"):
        parser.add_argument(text, default="")
    options = parser.parse_args(arguments)
    servers = []  # a server ends with its object
    for port in options.grpc:
        xds = port in options.xds_grpc_server
        server = grpc.server(ThreadPoolExecutor(8), xds=xds)
        server.add_generic_rpc_handlers((EchoTestService(options.version, port).handlers(),))
        credentials = grpc.insecure_server_credentials()
        if xds:
            credentials = grpc.xds_server_credentials(credentials)
        server.add_secure_port(f"0.0.0.0:{port}", credentials)
        server.start()
        servers.append(server)
    listeners: list[socketserver.BaseServer] = [
        *(ThreadingHTTPServer(("0.0.0.0", port), _Http) for port in options.port),
        *(socketserver.ThreadingTCPServer(("0.0.0.0", port), _Tcp) for port in options.tcp),
    ]
    for listener in listeners:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    if sys.argv[1:2] == ["forward"]:
        sys.exit(forward(sys.argv[2:]))
    sys.exit(serve(sys.argv[1:]))
