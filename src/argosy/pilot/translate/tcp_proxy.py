"""Opaque bytes to a cluster: ``envoy.filters.network.tcp_proxy``, and what must precede it."""

from envoy.config.core.v3 import substitution_format_string_pb2
from envoy.config.listener.v3 import listener_components_pb2
from envoy.extensions.filters.common.set_filter_state.v3 import value_pb2
from envoy.extensions.filters.network.set_filter_state.v3 import set_filter_state_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from argosy.model.listener import ListenerSettings, TcpForward
from argosy.pilot.translate import names
from argosy.pilot.translate.access_log import apply_tcp_access_logs
from argosy.pilot.translate.authorization import network_filters
from argosy.pilot.translate.dynamic_forward import sni_filter

TCP_PROXY_FILTER = "envoy.filters.network.tcp_proxy"
SET_FILTER_STATE_FILTER = "envoy.filters.network.set_filter_state"

APPLICATION_PROTOCOLS = "envoy.network.application_protocols"
"""The filter state that overrides the ALPN which a cluster offers.

https://www.envoyproxy.io/docs/envoy/latest/configuration/advanced/well_known_filter_state
"""

EARLY_DATA_BYTES = 16 * 1024
"""How much a client may send before its connection goes on; then it is not read for a while."""

OPAQUE_ALPN = "istio"
"""Mesh mTLS around bytes that are not HTTP; HTTP is ``istio-http/1.1`` and ``istio-h2``."""


def tcp_filters(
    forward: TcpForward, settings: ListenerSettings
) -> list[listener_components_pb2.Filter]:
    """The network filters of an outbound or gateway chain that forwards opaque bytes."""
    filters = network_filters(settings.authorization.tcp)
    if forward.opaque_to_detecting:
        filters.append(_offer_opaque_alpn())
    if forward.dynamic_port is not None:
        filters.append(sni_filter(forward.dynamic_port))
    filters.append(network_filter(TCP_PROXY_FILTER, tcp_proxy(forward, settings)))
    return filters


def tcp_proxy(forward: TcpForward, settings: ListenerSettings) -> tcp_proxy_pb2.TcpProxy:
    first = forward.targets[0].cluster
    proto = tcp_proxy_pb2.TcpProxy()
    if len(forward.targets) == 1:
        proto.cluster = names.cluster_name(first)
        proto.stat_prefix = forward.stat_prefix or proto.cluster
    else:
        whole_service = names.outbound_cluster(first.port, "", first.host)
        proto.stat_prefix = forward.stat_prefix or whole_service
        for target in forward.targets:
            weighted = proto.weighted_clusters.clusters.add()
            weighted.name = names.cluster_name(target.cluster)
            weighted.weight = target.weight
    if forward.source_ip_hash:
        proto.hash_policy.add().source_ip.SetInParent()
    if forward.idle_timeout is not None:
        proto.idle_timeout.FromTimedelta(forward.idle_timeout)
    if forward.max_duration is not None:
        proto.max_downstream_connection_duration.FromTimedelta(forward.max_duration)
    if forward.tunnel is not None:
        proto.tunneling_config.hostname = forward.tunnel.target
        proto.tunneling_config.use_post = forward.tunnel.post
    apply_tcp_access_logs(proto, settings.telemetry)
    return proto


def single_cluster(
    cluster: str, settings: ListenerSettings, *, authenticated: bool = False
) -> listener_components_pb2.Filter:
    """A ``tcp_proxy`` filter to one of the clusters that every proxy has.

    ``authenticated``: the cluster is not connected to before the client's certificate is accepted.
    By default Envoy connects at once, so that strangers could open connections to the application.
    """
    forward = tcp_proxy_pb2.TcpProxy(stat_prefix=cluster, cluster=cluster)
    if authenticated:
        forward.upstream_connect_mode = tcp_proxy_pb2.ON_DOWNSTREAM_TLS_HANDSHAKE
        forward.max_early_data_bytes.value = EARLY_DATA_BYTES
    apply_tcp_access_logs(forward, settings.telemetry)
    return network_filter(TCP_PROXY_FILTER, forward)


def network_filter(
    name: str,
    config: tcp_proxy_pb2.TcpProxy | set_filter_state_pb2.Config,
) -> listener_components_pb2.Filter:
    proto = listener_components_pb2.Filter(name=name)
    proto.typed_config.Pack(config, deterministic=True)
    return proto


def _offer_opaque_alpn() -> listener_components_pb2.Filter:
    """Clusters of detected ports offer HTTP's ALPN, since most of their traffic is HTTP."""
    config = set_filter_state_pb2.Config()
    config.on_new_connection.append(
        value_pb2.FilterStateValue(
            object_key=APPLICATION_PROTOCOLS,
            format_string=_literal(OPAQUE_ALPN),
        )
    )
    return network_filter(SET_FILTER_STATE_FILTER, config)


def _literal(text: str) -> substitution_format_string_pb2.SubstitutionFormatString:
    proto = substitution_format_string_pb2.SubstitutionFormatString()
    proto.text_format_source.inline_string = text
    return proto
