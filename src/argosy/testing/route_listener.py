"""A listener that does nothing but route, to try a route table in a real Envoy."""

from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,
)


def route_listener(name: str, table: route_pb2.RouteConfiguration) -> listener_pb2.Listener:
    """Listens on 127.0.0.1, any port. With the filters that routes configure: fault and CORS."""
    hcm = http_connection_manager_pb2.HttpConnectionManager(stat_prefix=name, route_config=table)
    hcm.http_filters.add(name="envoy.filters.http.fault").typed_config.Pack(fault_pb2.HTTPFault())
    hcm.http_filters.add(name="envoy.filters.http.cors").typed_config.Pack(cors_pb2.Cors())
    hcm.http_filters.add(name="envoy.filters.http.router").typed_config.Pack(router_pb2.Router())
    listener = listener_pb2.Listener(name=name)
    listener.address.socket_address.address = "127.0.0.1"
    listener.address.socket_address.port_value = 0
    network_filter = listener.filter_chains.add().filters.add(
        name="envoy.filters.network.http_connection_manager"
    )
    network_filter.typed_config.Pack(hcm)
    return listener
