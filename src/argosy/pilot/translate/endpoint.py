"""Endpoints: model → ``ClusterLoadAssignment``. On the hot path, hence attributes, no constructors."""

from collections.abc import Iterable

from envoy.config.core.v3 import health_check_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2

from argosy.model.locality import LocalityGroup
from argosy.model.workload import Endpoint, Health

TRANSPORT_SOCKET_MATCH = "envoy.transport_socket_match"
TLS_MODE = "tlsMode"
TLS_MODE_ISTIO = "istio"
"""Endpoint metadata ``tlsMode: istio`` chooses mesh mTLS: the names are Istio's."""

ISTIO_METADATA = "istio"

UNIX = "unix://"
"""Begins an address that is the path of a socket; ``@`` after it: an abstract name."""

_HEALTH = {
    Health.HEALTHY: health_check_pb2.HEALTHY,
    Health.DRAINING: health_check_pb2.DRAINING,
    Health.UNHEALTHY: health_check_pb2.UNHEALTHY,
}


def cluster_load_assignment(
    name: str, groups: Iterable[LocalityGroup]
) -> endpoint_pb2.ClusterLoadAssignment:
    """The endpoints of the cluster ``name``, in the order of ``groups``."""
    assignment = endpoint_pb2.ClusterLoadAssignment()
    assignment.cluster_name = name
    for group in groups:
        localized = assignment.endpoints.add()
        locality = group.locality
        if locality.region:
            localized.locality.region = locality.region
        if locality.zone:
            localized.locality.zone = locality.zone
        if locality.subzone:
            localized.locality.sub_zone = locality.subzone
        for endpoint in group.endpoints:
            _lb_endpoint(localized.lb_endpoints.add(), endpoint)
        localized.load_balancing_weight.value = group.weight
        localized.priority = group.priority
    return assignment


def _lb_endpoint(proto: endpoint_components_pb2.LbEndpoint, endpoint: Endpoint) -> None:
    if endpoint.address.startswith(UNIX):
        proto.endpoint.address.pipe.path = endpoint.address.removeprefix(UNIX)
    else:
        address = proto.endpoint.address.socket_address
        address.address = endpoint.address
        address.port_value = endpoint.port
    proto.health_status = _HEALTH[endpoint.health]
    if endpoint.weight != 1:
        proto.load_balancing_weight.value = endpoint.weight
    if endpoint.mtls or endpoint.workload:
        metadata = proto.metadata.filter_metadata
        if endpoint.mtls:
            metadata[TRANSPORT_SOCKET_MATCH].fields[TLS_MODE].string_value = TLS_MODE_ISTIO
        if endpoint.workload:
            metadata[ISTIO_METADATA].fields["workload"].string_value = endpoint.workload
