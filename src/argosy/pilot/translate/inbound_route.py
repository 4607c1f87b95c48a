"""The one route of a workload's port: every request goes to the application."""

from datetime import timedelta

from envoy.config.route.v3 import route_components_pb2, route_pb2

from argosy.model.route import RetryPolicy
from argosy.pilot.translate import names

ROUTE_NAME = "default"


def inbound_route(
    cluster: str, service_port: int, operation: str, retries: RetryPolicy | None
) -> route_pb2.RouteConfiguration:
    """``cluster`` names the table too. ``operation`` names the route in traces."""
    proto = route_pb2.RouteConfiguration(name=cluster)
    proto.validate_clusters.value = False
    host = proto.virtual_hosts.add(name=names.inbound_virtual_host(service_port), domains=["*"])
    route = host.routes.add(name=ROUTE_NAME)
    route.match.prefix = "/"
    route.decorator.operation = operation
    route.route.CopyFrom(_action(cluster, retries))
    return proto


def _action(cluster: str, retries: RetryPolicy | None) -> route_components_pb2.RouteAction:
    proto = route_components_pb2.RouteAction(cluster=cluster)
    # The caller's timeout is the caller's proxy's business, and so is the caller's gRPC deadline.
    proto.timeout.FromTimedelta(timedelta(0))
    proto.max_stream_duration.max_stream_duration.FromTimedelta(timedelta(0))
    proto.max_stream_duration.grpc_timeout_header_max.FromTimedelta(timedelta(0))
    if retries is not None:
        proto.retry_policy.retry_on = retries.retry_on
        proto.retry_policy.num_retries.value = retries.attempts
        proto.retry_policy.retriable_status_codes.extend(retries.status_codes)
        if retries.backoff is not None:
            proto.retry_policy.retry_back_off.base_interval.FromTimedelta(retries.backoff)
    return proto
