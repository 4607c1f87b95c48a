"""Run inside a workload: takes access logs, and writes what it got as lines of JSON.

log_collector.py PORT     OTLP log records, and Envoy's access log service, by gRPC

https://opentelemetry.io/docs/specs/otlp/ and
https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/accesslog/v3/als.proto
"""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
from envoy.service.accesslog.v3 import als_pb2
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2

_ALS = "envoy.service.accesslog.v3.AccessLogService"
_OTLP = "opentelemetry.proto.collector.logs.v1.LogsService"


def show(message: Message) -> None:
    sys.stdout.write(MessageToJson(message, indent=None, preserving_proto_field_name=True) + "\n")
    sys.stdout.flush()


def export(
    request: logs_service_pb2.ExportLogsServiceRequest, _: grpc.ServicerContext
) -> logs_service_pb2.ExportLogsServiceResponse:
    show(request)
    return logs_service_pb2.ExportLogsServiceResponse()


def stream(
    requests: Iterator[als_pb2.StreamAccessLogsMessage], _: grpc.ServicerContext
) -> als_pb2.StreamAccessLogsResponse:
    for message in requests:
        show(message)
    return als_pb2.StreamAccessLogsResponse()


def main() -> None:
    (port,) = sys.argv[1:]
    export_handler = grpc.unary_unary_rpc_method_handler(
        export,
        logs_service_pb2.ExportLogsServiceRequest.FromString,
        logs_service_pb2.ExportLogsServiceResponse.SerializeToString,
    )
    stream_handler = grpc.stream_unary_rpc_method_handler(
        stream,
        als_pb2.StreamAccessLogsMessage.FromString,
        als_pb2.StreamAccessLogsResponse.SerializeToString,
    )
    # A stream keeps its thread for as long as it is open.
    server = grpc.server(ThreadPoolExecutor(32))
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(_OTLP, {"Export": export_handler}),
            grpc.method_handlers_generic_handler(_ALS, {"StreamAccessLogs": stream_handler}),
        )
    )
    server.add_insecure_port(f"0.0.0.0:{port}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
