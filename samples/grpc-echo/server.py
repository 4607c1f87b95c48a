"""A gRPC service of every kind of call (see echo.proto). Usage: server.py [PORT].

SERVICE_VERSION is the version that answers begin with. With a bootstrap (GRPC_XDS_BOOTSTRAP) the
server asks the control plane what to demand of its clients. Trailing metadata say who called:
``x-peer`` is the name in the client's certificate, seen here or by a sidecar.
"""

import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import grpc
from google.protobuf.wrappers_pb2 import StringValue

SERVICE = "argosy.samples.Echo"
VERSION = os.environ.get("SERVICE_VERSION", "v0")
XDS = "GRPC_XDS_BOOTSTRAP" in os.environ


class Echo:
    def __init__(self) -> None:
        self.tries: Counter[str] = Counter()

    def say(self, request: StringValue, context: grpc.ServicerContext) -> StringValue:
        metadata = dict(context.invocation_metadata())
        case = str(metadata.get("x-case", ""))
        self.tries[case] += 1
        tries = self.tries[case]
        if tries <= int(metadata.get("x-fail", "0")):
            if XDS:  # grpcio 1.85 ends such a process when an answer is nothing but a status
                context.send_initial_metadata(())
            context.abort(grpc.StatusCode.UNAVAILABLE, f"try {tries} fails as it was asked to")
        time.sleep(float(metadata.get("x-delay", "0")))
        peer = caller(metadata, context)
        context.set_trailing_metadata((("x-tries", str(tries)), ("x-peer", peer)))
        status = str(metadata.get("x-status", ""))
        if status:
            if XDS:
                context.send_initial_metadata(())
            context.abort(grpc.StatusCode[status], "as it was asked to")
        return StringValue(value=f"{VERSION} {request.value}")

    def count(self, request: StringValue, _: grpc.ServicerContext) -> Iterator[StringValue]:
        for number in range(int(request.value)):
            yield StringValue(value=f"{VERSION} {number}")

    def gather(self, requests: Iterable[StringValue], _: grpc.ServicerContext) -> StringValue:
        return StringValue(value=f"{VERSION} {sum(1 for _ in requests)}")

    def chat(
        self, requests: Iterable[StringValue], _: grpc.ServicerContext
    ) -> Iterator[StringValue]:
        for request in requests:
            yield StringValue(value=f"{VERSION} {request.value}")


def caller(metadata: Mapping[str, str | bytes], context: grpc.ServicerContext) -> str:
    names = context.auth_context().get("x509_subject_alternative_name")
    if names:
        return names[0].decode()
    forwarded = str(metadata.get("x-forwarded-client-cert", ""))
    uris = [part[4:] for part in forwarded.split(";") if part.startswith("URI=")]
    return uris[0] if uris else "-"


def handlers() -> grpc.GenericRpcHandler:
    echo = Echo()
    decode, encode = StringValue.FromString, StringValue.SerializeToString
    methods = {
        "Say": grpc.unary_unary_rpc_method_handler(echo.say, decode, encode),
        "Count": grpc.unary_stream_rpc_method_handler(echo.count, decode, encode),
        "Gather": grpc.stream_unary_rpc_method_handler(echo.gather, decode, encode),
        "Chat": grpc.stream_stream_rpc_method_handler(echo.chat, decode, encode),
    }
    return grpc.method_handlers_generic_handler(SERVICE, methods)


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 7070
    server = grpc.server(ThreadPoolExecutor(16), xds=XDS)
    server.add_generic_rpc_handlers((handlers(),))
    credentials = grpc.insecure_server_credentials()
    if XDS:
        credentials = grpc.xds_server_credentials(credentials)
    server.add_secure_port(f"0.0.0.0:{port}", credentials)
    server.start()
    print(f"grpc-echo {VERSION} on {port}", flush=True)
    server.wait_for_termination()
