"""Fault injection of one route: ``envoy.filters.http.fault`` per-route configuration.

https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPFaultInjection
"""

from typing import assert_never

from envoy.extensions.filters.http.fault.v3 import fault_pb2

from argosy.model.route import Fault, GrpcAbort, HttpAbort
from argosy.pilot.translate.fraction import fractional_percent

FAULT_FILTER = "envoy.filters.http.fault"


def http_fault(fault: Fault) -> fault_pb2.HTTPFault:
    proto = fault_pb2.HTTPFault()
    if fault.delay is not None:
        proto.delay.fixed_delay.FromTimedelta(fault.delay.fixed)
        proto.delay.percentage.CopyFrom(fractional_percent(fault.delay.share))
    match fault.abort:
        case None:
            pass
        case HttpAbort(status, share):
            proto.abort.http_status = status
            proto.abort.percentage.CopyFrom(fractional_percent(share))
        case GrpcAbort(status, share):
            proto.abort.grpc_status = status
            proto.abort.percentage.CopyFrom(fractional_percent(share))
        case _:
            assert_never(fault.abort)
    return proto
