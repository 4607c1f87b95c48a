"""Clusters: model → ``Cluster``, for services, for the application beside the proxy, for the rest."""

import dataclasses
from typing import assert_never

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import address_pb2, config_source_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf import struct_pb2

from argosy.base.names import Hostname, Namespace
from argosy.model.application import Loopback, OwnAddress, UnixSocket
from argosy.model.locality import ZonePolicy
from argosy.model.standard_metrics import SERVICE_METADATA, joined
from argosy.model.traffic import (
    ApplicationCluster,
    ClientTls,
    Cluster,
    ConnectionPool,
    CredentialMissing,
    Discovery,
    MeshTls,
    MeshTlsUse,
    OriginatedTls,
    Plaintext,
    ServiceName,
    UpstreamProtocol,
)
from argosy.pilot.translate import names, tls
from argosy.pilot.translate.cluster_policy import (
    HTTP_PROTOCOL_OPTIONS,
    apply_connection_pool,
    apply_load_balancer,
    http_options,
    outlier_detection,
)
from argosy.pilot.translate.dynamic_forward import apply_dynamic_forward
from argosy.pilot.translate.endpoint import (
    ISTIO_METADATA,
    TLS_MODE,
    TLS_MODE_ISTIO,
    cluster_load_assignment,
)

INBOUND_SOURCE = "127.0.0.6"
"""The address that the proxy connects to its application from; traffic capture lets it pass."""

_DNS_JITTER_NANOS = 100_000_000
_PASSTHROUGH_IDLE_SECONDS = 300
_CLEANUP_SECONDS = 60
_STAT_DELIMITER = ";"
"""Ends the cluster's name in statistics, as Istio's: names are full of dots."""


def cluster(value: Cluster) -> cluster_pb2.Cluster:
    """An outbound cluster. Endpoints that cannot take new requests get none, however few are left."""
    proto = _named(names.cluster_name(value.key), value.stat_name)
    if isinstance(value.tls, CredentialMissing):
        # Nobody is there: 503, and connections are closed. Nothing leaves unencrypted.
        proto.type = cluster_pb2.Cluster.STATIC
        proto.lb_policy = cluster_pb2.Cluster.ROUND_ROBIN
        proto.connect_timeout.FromTimedelta(value.connection_pool.connect_timeout)
        _metadata(proto, value)
        return proto
    match value.discovery:
        case Discovery.EDS:
            proto.type = cluster_pb2.Cluster.EDS
            proto.eds_cluster_config.service_name = proto.name
            _ads(proto.eds_cluster_config.eds_config)
            apply_load_balancer(proto, value.load_balancer)
            if value.weighted_localities:
                proto.common_lb_config.locality_weighted_lb_config.SetInParent()
            elif value.zones is not None:
                _zones(proto.common_lb_config.zone_aware_lb_config, value.zones)
        case Discovery.ORIGINAL_DST:
            _original_destination(proto)
        case Discovery.STRICT_DNS | Discovery.LOGICAL_DNS:
            _resolved(proto, value)
            apply_load_balancer(proto, value.load_balancer)
        case Discovery.DYNAMIC:
            apply_dynamic_forward(proto, verified=_is_verified(value.tls))
        case _:
            assert_never(value.discovery)
    panic = proto.common_lb_config.healthy_panic_threshold
    panic.SetInParent()
    if value.outlier_detection is not None:
        proto.outlier_detection.CopyFrom(outlier_detection(value.outlier_detection))
        panic.value = value.outlier_detection.minimum_health_percent
    apply_connection_pool(proto, value.connection_pool, value.retry_budget)
    originated = value.tls if isinstance(value.tls, OriginatedTls) else None
    options = http_options(
        value.protocol, value.connection_pool, value.outlier_detection, originated
    )
    _set_http_options(proto, options)
    _transport(proto, value)
    _metadata(proto, value)
    return proto


def sni_cluster(value: Cluster) -> cluster_pb2.Cluster:
    """``outbound_.80_.v1_.host``: mesh TLS of others to the endpoints of a cluster, as it is."""
    opaque = dataclasses.replace(
        value,
        tls=Plaintext(),
        protocol=UpstreamProtocol.TCP,
        discovery=Discovery.EDS,
        proxy_protocol=None,
        stat_name="",
    )
    proto = cluster(opaque)
    proto.name = names.outbound_sni(*dataclasses.astuple(value.key))
    proto.alt_stat_name = proto.name + _STAT_DELIMITER
    return proto


def application_cluster(value: ApplicationCluster) -> cluster_pb2.Cluster:
    """``inbound|<port>||``: on to the application, from an address that is not captured."""
    proto = _named(names.inbound_cluster(value.port), value.stat_name)
    match value.endpoint:
        case OwnAddress(port):
            _original_destination(proto)
            if port not in (None, value.port):
                proto.original_dst_lb_config.upstream_port_override.value = port
            _bind_inbound(proto)
        case Loopback(address, port):
            socket = _one_endpoint(proto).socket_address
            socket.address = address
            socket.port_value = port
        case UnixSocket(path):
            _one_endpoint(proto).pipe.path = path
        case _:
            assert_never(value.endpoint)
    apply_connection_pool(proto, value.connection_pool, None)
    _set_http_options(proto, http_options(value.protocol, value.connection_pool))
    if value.services:
        _services(proto.metadata.filter_metadata[ISTIO_METADATA], value.services)
        _service(proto, value.services[0])
    return proto


def _one_endpoint(proto: cluster_pb2.Cluster) -> address_pb2.Address:
    proto.type = cluster_pb2.Cluster.STATIC
    proto.lb_policy = cluster_pb2.Cluster.ROUND_ROBIN
    proto.load_assignment.cluster_name = proto.name
    return proto.load_assignment.endpoints.add().lb_endpoints.add().endpoint.address


def passthrough_cluster(pool: ConnectionPool) -> cluster_pb2.Cluster:
    """Where the client wanted to go, in the protocol that it spoke."""
    proto = _named(names.PASSTHROUGH_CLUSTER)
    _original_destination(proto)
    apply_connection_pool(proto, pool, None)
    options = http_options(UpstreamProtocol.DOWNSTREAM, pool)
    assert options is not None
    options.common_http_protocol_options.idle_timeout.seconds = _PASSTHROUGH_IDLE_SECONDS
    _set_http_options(proto, options)
    _service(proto, _no_service(proto.name))
    return proto


def dynamic_dns_cluster(pool: ConnectionPool, originated: ClientTls) -> cluster_pb2.Cluster:
    """To the host that a request names, whatever address its client dialled."""
    proto = _named(names.DYNAMIC_DNS_CLUSTER)
    _service(proto, _no_service(proto.name))
    secured = originated if isinstance(originated, OriginatedTls) else None
    apply_dynamic_forward(proto, verified=_is_verified(originated))
    apply_connection_pool(proto, pool, None)
    _set_http_options(proto, http_options(UpstreamProtocol.HTTP1, pool, None, secured))
    if secured is not None:
        context = tls.originated_upstream_context(secured, UpstreamProtocol.HTTP1)
        proto.transport_socket.CopyFrom(tls.tls_transport_socket(context))
    return proto


def inbound_passthrough_cluster(pool: ConnectionPool) -> cluster_pb2.Cluster:
    """The application's ports that no service names."""
    proto = passthrough_cluster(pool)
    proto.name = names.INBOUND_PASSTHROUGH_CLUSTER
    _service(proto, _no_service(proto.name))
    proto.alt_stat_name = proto.name + _STAT_DELIMITER
    _bind_inbound(proto)
    return proto


def black_hole_cluster(pool: ConnectionPool) -> cluster_pb2.Cluster:
    """A cluster without endpoints: HTTP gets 503, opaque connections are closed."""
    proto = _named(names.BLACK_HOLE_CLUSTER)
    proto.type = cluster_pb2.Cluster.STATIC
    proto.lb_policy = cluster_pb2.Cluster.ROUND_ROBIN
    proto.connect_timeout.FromTimedelta(pool.connect_timeout)
    _service(proto, _no_service(proto.name))
    return proto


def _named(name: str, stat_name: str = "") -> cluster_pb2.Cluster:
    proto = cluster_pb2.Cluster()
    proto.name = name
    proto.alt_stat_name = (stat_name or name) + _STAT_DELIMITER
    return proto


def _zones(proto: cluster_pb2.Cluster.CommonLbConfig.ZoneAwareLbConfig, zones: ZonePolicy) -> None:
    proto.SetInParent()
    if not zones.enabled:
        proto.routing_enabled.SetInParent()
    elif zones.minimum_size is not None:
        proto.min_cluster_size.value = zones.minimum_size


def _ads(source: config_source_pb2.ConfigSource) -> None:
    source.ads.SetInParent()
    source.resource_api_version = config_source_pb2.V3
    source.initial_fetch_timeout.SetInParent()


def _original_destination(proto: cluster_pb2.Cluster) -> None:
    proto.type = cluster_pb2.Cluster.ORIGINAL_DST
    proto.lb_policy = cluster_pb2.Cluster.CLUSTER_PROVIDED
    proto.cleanup_interval.seconds = _CLEANUP_SECONDS


def _is_verified(value: ClientTls) -> bool:
    """Whether the server's certificate must carry the host that the request names."""
    if not isinstance(value, OriginatedTls):
        return False
    return not value.sni and not value.peers and not value.skip_verify


def _resolved(proto: cluster_pb2.Cluster, value: Cluster) -> None:
    """Names that Envoy resolves by itself, as often as their records say."""
    strict = value.discovery is Discovery.STRICT_DNS
    proto.type = cluster_pb2.Cluster.STRICT_DNS if strict else cluster_pb2.Cluster.LOGICAL_DNS
    proto.dns_lookup_family = cluster_pb2.Cluster.V4_ONLY
    proto.dns_refresh_rate.FromTimedelta(value.dns_refresh)
    proto.dns_jitter.nanos = _DNS_JITTER_NANOS
    proto.respect_dns_ttl = True
    proto.load_assignment.CopyFrom(cluster_load_assignment(proto.name, value.groups))


def _bind_inbound(proto: cluster_pb2.Cluster) -> None:
    source = proto.upstream_bind_config.source_address
    source.address = INBOUND_SOURCE
    source.port_value = 0


def _set_http_options(
    proto: cluster_pb2.Cluster, options: http_protocol_options_pb2.HttpProtocolOptions | None
) -> None:
    if options is not None:
        proto.typed_extension_protocol_options[HTTP_PROTOCOL_OPTIONS].Pack(
            options, deterministic=True
        )


def _transport(proto: cluster_pb2.Cluster, value: Cluster) -> None:
    match value.tls:
        case Plaintext():
            if value.proxy_protocol is not None:
                proto.transport_socket.CopyFrom(tls.raw_buffer_transport_socket())
        case CredentialMissing():
            raise AssertionError("such a cluster has no endpoints")
        case OriginatedTls():
            context = tls.originated_upstream_context(value.tls, value.protocol)
            proto.transport_socket.CopyFrom(tls.tls_transport_socket(context))
        case MeshTls():
            sni = value.tls.sni or names.outbound_sni(*dataclasses.astuple(value.key))
            context = tls.mesh_upstream_context(
                value.tls.peers, sni, value.protocol, value.tls.curves
            )
            socket = tls.tls_transport_socket(context)
            if value.tls.use is MeshTlsUse.ALWAYS:
                proto.transport_socket.CopyFrom(socket)
            else:
                meshed = proto.transport_socket_matches.add(name="tlsMode-istio")
                meshed.match.fields[TLS_MODE].string_value = TLS_MODE_ISTIO
                meshed.transport_socket.CopyFrom(socket)
                plain = proto.transport_socket_matches.add(name="tlsMode-disabled")
                plain.match.SetInParent()
                plain.transport_socket.CopyFrom(_RAW_BUFFER)
        case _:
            assert_never(value.tls)
    if value.proxy_protocol is not None:
        if proto.HasField("transport_socket"):
            wrapped = tls.proxy_protocol_transport_socket(
                value.proxy_protocol, proto.transport_socket
            )
            proto.transport_socket.CopyFrom(wrapped)
        for item in proto.transport_socket_matches:
            wrapped = tls.proxy_protocol_transport_socket(
                value.proxy_protocol, item.transport_socket
            )
            item.transport_socket.CopyFrom(wrapped)


def _metadata(proto: cluster_pb2.Cluster, value: Cluster) -> None:
    """What telemetry and ``describe`` learn from the cluster: the keys are Istio's."""
    istio = proto.metadata.filter_metadata[ISTIO_METADATA]
    fields = istio.fields
    fields["default_original_port"].number_value = value.key.port
    _services(istio, (value.service,))
    _service(proto, value.service)
    if value.key.subset:
        fields["subset"].string_value = value.key.subset
    if value.rule is not None:
        fields["config"].string_value = (
            "/apis/networking.istio.io/v1/namespaces/"
            f"{value.rule.namespace}/destination-rule/{value.rule.name}"
        )


def _services(istio: struct_pb2.Struct, services: tuple[ServiceName, ...]) -> None:
    values = istio.fields["services"].list_value.values
    for service in services:
        fields = values.add().struct_value.fields
        fields["host"].string_value = service.host
        fields["name"].string_value = service.name
        fields["namespace"].string_value = service.namespace


def _service(proto: cluster_pb2.Cluster, service: ServiceName) -> None:
    """The same for metrics, as one value: access logs cannot take lists apart."""
    namespace, key = SERVICE_METADATA
    text = joined((service.host, service.name, service.namespace))
    proto.metadata.filter_metadata[namespace].fields[key].string_value = text


def _no_service(cluster: str) -> ServiceName:
    """What metrics call a cluster that is no service's, as Istio's do."""
    return ServiceName(Hostname(""), cluster, Namespace(""))


_RAW_BUFFER = tls.raw_buffer_transport_socket()
