"""A gRPC service of every kind of call (see echo.proto). Usage: server.py [PORT].

SERVICE_VERSION is the version that answers begin with.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
from google.protobuf.wrappers_pb2 import StringValue

SERVICE = "argosy.samples.Echo"
VERSION = os.environ.get("SERVICE_VERSION", "v0")


class Echo:
    def __init__(self) -> None:
        self.tries: Counter[str] = Counter()

    def say(self, request: StringValue, context: grpc.ServicerContext) -> StringValue:
        metadata = dict(context.invocation_metadata())
        case = str(metadata.get("x-case", ""))
        self.tries[case] += 1
        tries = self.tries[case]
        if tries <= int(metadata.get("x-fail", "0")):
            context.abort(grpc.StatusCode.UNAVAILABLE, f"try {tries} fails as it was asked to")
        context.set_trailing_metadata((("x-tries", str(tries)),))
        return StringValue(value=f"{VERSION} {request.value}")

    def count(self, request: StringValue, _: grpc.ServicerContext) -> Iterator[StringValue]:
        for number in range(int(request.value)):
            yield StringValue(value=f"{VERSION} {number}")

    def chat(
        self, requests: Iterable[StringValue], _: grpc.ServicerContext
    ) -> Iterator[StringValue]:
        for request in requests:
            yield StringValue(value=f"{VERSION} {request.value}")


def handlers() -> grpc.GenericRpcHandler:
    echo = Echo()
    decode, encode = StringValue.FromString, StringValue.SerializeToString
    methods = {
        "Say": grpc.unary_unary_rpc_method_handler(echo.say, decode, encode),
        "Count": grpc.unary_stream_rpc_method_handler(echo.count, decode, encode),
        "Chat": grpc.stream_stream_rpc_method_handler(echo.chat, decode, encode),
    }
    return grpc.method_handlers_generic_handler(SERVICE, methods)


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 7070
    server = grpc.server(ThreadPoolExecutor(16))
    server.add_generic_rpc_handlers((handlers(),))
    server.add_insecure_port(f"0.0.0.0:{port}")
    server.start()
    print(f"grpc-echo {VERSION} on {port}", flush=True)
    server.wait_for_termination()
