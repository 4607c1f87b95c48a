"""Run inside a workload: Envoy's rate limit service, for one request a minute.

rate_limit_service.py PORT PATH     a second request in a minute whose descriptor is PATH=PATH is refused

https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/ratelimit/v3/rls.proto
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
from envoy.service.ratelimit.v3 import rls_pb2

_SERVICE = "envoy.service.ratelimit.v3.RateLimitService"
_MINUTE = 60.0


class RateLimitService:
    def __init__(self, path: str) -> None:
        self._path = path
        self._until = 0.0

    def should_rate_limit(
        self, request: rls_pb2.RateLimitRequest, _: grpc.ServicerContext
    ) -> rls_pb2.RateLimitResponse:
        entries = [(e.key, e.value) for d in request.descriptors for e in d.entries]
        code = rls_pb2.RateLimitResponse.OK
        if ("PATH", self._path) in entries:
            now = time.monotonic()
            if now < self._until:
                code = rls_pb2.RateLimitResponse.OVER_LIMIT
            else:
                self._until = now + _MINUTE
        return rls_pb2.RateLimitResponse(overall_code=code)


def main() -> None:
    port, path = sys.argv[1:]
    handler = grpc.unary_unary_rpc_method_handler(
        RateLimitService(path).should_rate_limit,
        rls_pb2.RateLimitRequest.FromString,
        rls_pb2.RateLimitResponse.SerializeToString,
    )
    methods = {"ShouldRateLimit": handler}
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, methods),))
    server.add_insecure_port(f"0.0.0.0:{port}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
