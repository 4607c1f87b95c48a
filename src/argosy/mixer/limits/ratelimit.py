"""``envoy.service.ratelimit.v3.RateLimitService``, whoever decides.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/ratelimit/v3/rls.proto
"""

from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from math import ceil
from typing import Any, TypeAlias

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.ratelimit.v3 import rls_pb2

from argosy.mixer.limits.bucket import Taken
from argosy.model.rate_limit import Rate

SERVICE = "envoy.service.ratelimit.v3.RateLimitService"
OK, OVER_LIMIT = rls_pb2.RateLimitResponse.OK, rls_pb2.RateLimitResponse.OVER_LIMIT

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Decide = Callable[[rls_pb2.RateLimitRequest, Context], Awaitable[rls_pb2.RateLimitResponse]]

_UNKNOWN = rls_pb2.RateLimitResponse.RateLimit.UNKNOWN
_UNITS = {
    1: rls_pb2.RateLimitResponse.RateLimit.SECOND,
    60: rls_pb2.RateLimitResponse.RateLimit.MINUTE,
    3600: rls_pb2.RateLimitResponse.RateLimit.HOUR,
    86400: rls_pb2.RateLimitResponse.RateLimit.DAY,
}


def handler(decide: Decide) -> "grpc.GenericRpcHandler[Any, Any]":
    method = grpc.unary_unary_rpc_method_handler(
        decide,
        rls_pb2.RateLimitRequest.FromString,
        rls_pb2.RateLimitResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(SERVICE, {"ShouldRateLimit": method})


def hits_of(request: rls_pb2.RateLimitRequest, index: int) -> int:
    """What a descriptor counts for: its own number, or the request's, or 1."""
    descriptor = request.descriptors[index]
    if descriptor.HasField("hits_addend"):
        return int(descriptor.hits_addend.value)
    return int(request.hits_addend) or 1


def status(
    rate: Rate, taken: Taken, *, refused: bool, name: str = ""
) -> rls_pb2.RateLimitResponse.DescriptorStatus:
    proto = rls_pb2.RateLimitResponse.DescriptorStatus(
        code=OVER_LIMIT if refused else OK, limit_remaining=0 if refused else taken.remaining
    )
    proto.current_limit.requests_per_unit = rate.requests
    proto.current_limit.unit = _UNITS.get(int(rate.period.total_seconds()), _UNKNOWN)
    proto.current_limit.name = name
    proto.duration_until_reset.FromTimedelta(timedelta(seconds=ceil(taken.reset)))
    return proto


def add_header(proto: rls_pb2.RateLimitResponse, name: str, value: str) -> None:
    proto.response_headers_to_add.append(base_pb2.HeaderValue(key=name, value=value))


def retry_after(refused: Iterable[Taken]) -> str:
    """Of the header of that name: whole seconds until all of them would have let the request pass."""
    return str(max(1, ceil(max(one.retry for one in refused))))
