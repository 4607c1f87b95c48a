"""Clusters against Istio's documented defaults and Envoy's own judgement."""

from datetime import timedelta
from pathlib import Path

import pytest
from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2
from envoy.extensions.transport_sockets.proxy_protocol.v3 import upstream_proxy_protocol_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from argosy.base.names import Hostname, Namespace, ObjectKey
from argosy.model.application import Loopback
from argosy.model.proxy import ClusterKey
from argosy.model.route import SourceIpHash
from argosy.model.traffic import (
    ApplicationCluster,
    Cluster,
    ConnectionPool,
    Discovery,
    ExactName,
    FileCertificate,
    Http2Keepalive,
    LeastRequest,
    LoadBalancer,
    Maglev,
    MeshTls,
    MeshTlsUse,
    OriginatedTls,
    OutlierDetection,
    ProxyProtocol,
    Random,
    RetryBudget,
    RingHash,
    RoundRobin,
    ServiceName,
    TcpKeepalive,
    UpstreamProtocol,
    Warmup,
)
from argosy.pilot.translate import cluster as translate
from argosy.pilot.translate.cluster_policy import HTTP_PROTOCOL_OPTIONS
from argosy.testing.running_envoy import validate

HOST = Hostname("reviews.default.svc.cluster.local")
SERVICE = ServiceName(HOST, "reviews", Namespace("default"))
KEY = ClusterKey(9080, "", HOST)
MESH_TLS = MeshTls(
    MeshTlsUse.PER_ENDPOINT,
    (ExactName("spiffe://cluster.local/ns/default/sa/bookinfo-reviews"),),
)
EVERYTHING = ConnectionPool(
    connect_timeout=timedelta(milliseconds=30),
    max_connections=1,
    max_pending_requests=2,
    max_requests=3,
    max_retries=4,
    max_requests_per_connection=5,
    max_concurrent_streams=6,
    max_connection_duration=timedelta(minutes=10),
    http_idle_timeout=timedelta(seconds=15),
    tcp_keepalive=TcpKeepalive(3, timedelta(hours=2), timedelta(seconds=75)),
    http2_keepalive=Http2Keepalive(timedelta(seconds=10), timedelta(seconds=2)),
)


def options_of(proto: cluster_pb2.Cluster) -> http_protocol_options_pb2.HttpProtocolOptions:
    options = http_protocol_options_pb2.HttpProtocolOptions()
    assert proto.typed_extension_protocol_options[HTTP_PROTOCOL_OPTIONS].Unpack(options)
    return options


def test_defaults_are_istios() -> None:
    """Least requests, ten seconds to connect, no limit but the largest number, EDS over ADS."""
    proto = translate.cluster(Cluster(KEY, SERVICE))
    assert proto.name == f"outbound|9080||{HOST}"
    assert proto.type == cluster_pb2.Cluster.EDS
    assert proto.eds_cluster_config.service_name == proto.name
    assert proto.eds_cluster_config.eds_config.HasField("ads")
    assert proto.lb_policy == cluster_pb2.Cluster.LEAST_REQUEST
    assert proto.connect_timeout.ToTimedelta() == timedelta(seconds=10)
    (threshold,) = proto.circuit_breakers.thresholds
    for limit in ("max_connections", "max_pending_requests", "max_requests", "max_retries"):
        assert getattr(threshold, limit).value == 4294967295, limit
    assert threshold.track_remaining
    assert not proto.HasField("outlier_detection")
    assert not proto.HasField("upstream_connection_options")


def test_draining_endpoints_get_nothing_even_when_most_are() -> None:
    """Envoy's own panic threshold of 50 % would send new requests to them."""
    proto = translate.cluster(Cluster(KEY, SERVICE))
    assert proto.common_lb_config.HasField("healthy_panic_threshold")
    assert proto.common_lb_config.healthy_panic_threshold.value == 0


def test_connection_pool() -> None:
    proto = translate.cluster(
        Cluster(KEY, SERVICE, protocol=UpstreamProtocol.HTTP2, connection_pool=EVERYTHING)
    )
    (threshold,) = proto.circuit_breakers.thresholds
    assert threshold.max_connections.value == 1
    assert threshold.max_pending_requests.value == 2
    assert threshold.max_requests.value == 3
    assert threshold.max_retries.value == 4
    assert proto.connect_timeout.ToTimedelta() == timedelta(milliseconds=30)
    keepalive = proto.upstream_connection_options.tcp_keepalive
    assert keepalive.keepalive_probes.value == 3
    assert keepalive.keepalive_time.value == 7200
    assert keepalive.keepalive_interval.value == 75
    options = options_of(proto)
    common = options.common_http_protocol_options
    assert common.max_requests_per_connection.value == 5
    assert common.max_connection_duration.ToTimedelta() == timedelta(minutes=10)
    assert common.idle_timeout.ToTimedelta() == timedelta(seconds=15)
    http2 = options.explicit_http_config.http2_protocol_options
    assert http2.max_concurrent_streams.value == 6
    assert http2.connection_keepalive.interval.ToTimedelta() == timedelta(seconds=10)


@pytest.mark.parametrize(
    ("protocol", "field"),
    [
        (UpstreamProtocol.HTTP1, "explicit_http_config"),
        (UpstreamProtocol.HTTP2, "explicit_http_config"),
        (UpstreamProtocol.DOWNSTREAM, "use_downstream_protocol_config"),
    ],
)
def test_protocol(protocol: UpstreamProtocol, field: str) -> None:
    options = options_of(translate.cluster(Cluster(KEY, SERVICE, protocol=protocol)))
    assert options.WhichOneof("upstream_protocol_options") == field
    explicit = options.explicit_http_config.WhichOneof("protocol_config")
    assert (explicit == "http2_protocol_options") == (protocol is UpstreamProtocol.HTTP2)


def test_opaque_clusters_have_no_http_options() -> None:
    proto = translate.cluster(Cluster(KEY, SERVICE, protocol=UpstreamProtocol.TCP))
    assert not proto.typed_extension_protocol_options


def test_websockets_pass_over_http2() -> None:
    """Extended CONNECT (RFC 8441) must be allowed explicitly."""
    options = options_of(translate.cluster(Cluster(KEY, SERVICE, protocol=UpstreamProtocol.HTTP2)))
    assert options.explicit_http_config.http2_protocol_options.allow_connect


@pytest.mark.parametrize(
    ("balancer", "policy"),
    [
        (LeastRequest(), "LEAST_REQUEST"),
        (RoundRobin(), "ROUND_ROBIN"),
        (Random(), "RANDOM"),
        (RingHash(SourceIpHash(), 1024), "RING_HASH"),
        (Maglev(SourceIpHash(), 101), "MAGLEV"),
    ],
)
def test_load_balancer(balancer: LoadBalancer, policy: str) -> None:
    proto = translate.cluster(Cluster(KEY, SERVICE, load_balancer=balancer))
    assert cluster_pb2.Cluster.LbPolicy.Name(proto.lb_policy) == policy
    if isinstance(balancer, RingHash):
        assert proto.ring_hash_lb_config.minimum_ring_size.value == 1024
    if isinstance(balancer, Maglev):
        assert proto.maglev_lb_config.table_size.value == 101


@pytest.mark.parametrize("balancer", [LeastRequest, RoundRobin])
def test_warmup(balancer: type[LeastRequest] | type[RoundRobin]) -> None:
    warmup = Warmup(timedelta(seconds=30), minimum_percent=20, aggression=2)
    proto = translate.cluster(Cluster(KEY, SERVICE, load_balancer=balancer(warmup)))
    lb_config = (
        proto.least_request_lb_config if balancer is LeastRequest else proto.round_robin_lb_config
    )
    slow_start = lb_config.slow_start_config
    assert slow_start.slow_start_window.seconds == 30
    assert slow_start.min_weight_percent.value == 20
    assert slow_start.aggression.default_value == 2


def test_original_destination() -> None:
    proto = translate.cluster(Cluster(KEY, SERVICE, discovery=Discovery.ORIGINAL_DST))
    assert proto.type == cluster_pb2.Cluster.ORIGINAL_DST
    assert proto.lb_policy == cluster_pb2.Cluster.CLUSTER_PROVIDED
    assert not proto.HasField("eds_cluster_config")


def test_outlier_detection() -> None:
    proto = translate.cluster(
        Cluster(
            KEY,
            SERVICE,
            outlier_detection=OutlierDetection(
                consecutive_5xx=1,
                consecutive_gateway=0,
                interval=timedelta(seconds=1),
                base_ejection=timedelta(minutes=3),
                max_ejection_percent=100,
                minimum_health_percent=30,
            ),
        )
    )
    outlier = proto.outlier_detection
    assert outlier.consecutive_5xx.value == 1
    assert outlier.enforcing_consecutive_5xx.value == 100
    assert outlier.HasField("consecutive_gateway_failure")
    assert outlier.enforcing_consecutive_gateway_failure.value == 0
    assert outlier.interval.seconds == 1
    assert outlier.base_ejection_time.seconds == 180
    assert outlier.max_ejection_percent.value == 100
    assert outlier.HasField("enforcing_success_rate")
    assert outlier.enforcing_success_rate.value == 0
    assert proto.common_lb_config.healthy_panic_threshold.value == 30
    assert not outlier.split_external_local_origin_errors


def test_local_origin_failures_count_only_when_split() -> None:
    split = OutlierDetection(split_local_origin=True, consecutive_local_origin=7)
    outlier = translate.cluster(Cluster(KEY, SERVICE, outlier_detection=split)).outlier_detection
    assert outlier.split_external_local_origin_errors
    assert outlier.consecutive_local_origin_failure.value == 7
    assert outlier.enforcing_consecutive_local_origin_failure.value == 100
    joined = OutlierDetection(consecutive_local_origin=7)
    outlier = translate.cluster(Cluster(KEY, SERVICE, outlier_detection=joined)).outlier_detection
    assert not outlier.HasField("consecutive_local_origin_failure")


@pytest.mark.parametrize("statuses", [(429,), (429, 503)])
def test_error_statuses(statuses: tuple[int, ...]) -> None:
    outlier = OutlierDetection(error_statuses=statuses)
    options = options_of(translate.cluster(Cluster(KEY, SERVICE, outlier_detection=outlier)))
    matcher = options.outlier_detection.error_matcher
    rules = matcher.or_match.rules if len(statuses) > 1 else (matcher,)
    found = [rule.http_response_headers_match.headers[0].string_match.exact for rule in rules]
    assert found == [str(status) for status in statuses]


def test_retry_budget_interval_is_written_though_the_protos_are_older() -> None:
    """Field 3 of RetryBudget, read back by hand: 10 s is the Duration ``08 0a``."""
    budget = RetryBudget(25, 10, timedelta(seconds=10))
    proto = translate.cluster(Cluster(KEY, SERVICE, retry_budget=budget))
    (threshold,) = proto.circuit_breakers.thresholds
    written = threshold.retry_budget
    assert written.budget_percent.value == 25
    assert written.min_retry_concurrency.value == 10
    plain = circuit_breaker_pb2.CircuitBreakers.Thresholds.RetryBudget()
    plain.budget_percent.value = 25
    plain.min_retry_concurrency.value = 10
    assert written.SerializeToString() == plain.SerializeToString() + b"\x1a\x02\x08\x0a"


def test_automatic_mtls_is_chosen_by_endpoint() -> None:
    proto = translate.cluster(Cluster(KEY, SERVICE, tls=MESH_TLS))
    assert not proto.HasField("transport_socket")
    meshed, plain = proto.transport_socket_matches
    assert dict(meshed.match) == {"tlsMode": "istio"}
    assert dict(plain.match) == {}
    assert plain.transport_socket.name == "envoy.transport_sockets.raw_buffer"
    context = tls_pb2.UpstreamTlsContext()
    assert meshed.transport_socket.typed_config.Unpack(context)
    assert context.sni == f"outbound_.9080_._.{HOST}"


def test_proxy_protocol_wraps_every_transport_socket() -> None:
    proto = translate.cluster(Cluster(KEY, SERVICE, tls=MESH_TLS, proxy_protocol=ProxyProtocol.V2))
    inner = []
    for match in proto.transport_socket_matches:
        config = upstream_proxy_protocol_pb2.ProxyProtocolUpstreamTransport()
        assert match.transport_socket.typed_config.Unpack(config)
        inner.append(config.transport_socket.name)
    assert inner == ["envoy.transport_sockets.tls", "envoy.transport_sockets.raw_buffer"]


def test_metadata_names_service_subset_and_rule() -> None:
    rule = ObjectKey("DestinationRule", Namespace("default"), "reviews")
    proto = translate.cluster(Cluster(ClusterKey(9080, "v1", HOST), SERVICE, rule=rule))
    istio = proto.metadata.filter_metadata["istio"]
    assert istio["config"] == (
        "/apis/networking.istio.io/v1/namespaces/default/destination-rule/reviews"
    )
    assert istio["subset"] == "v1"
    assert istio["default_original_port"] == 9080
    (service,) = istio["services"]
    assert dict(service) == {"host": HOST, "name": "reviews", "namespace": "default"}


def test_the_application_is_called_from_an_address_that_capture_lets_pass() -> None:
    proto = translate.application_cluster(
        ApplicationCluster(9080, UpstreamProtocol.HTTP1, (SERVICE,))
    )
    assert proto.name == "inbound|9080||"
    assert proto.type == cluster_pb2.Cluster.ORIGINAL_DST
    assert proto.upstream_bind_config.source_address.address == "127.0.0.6"


def test_the_application_on_loopback() -> None:
    proto = translate.application_cluster(
        ApplicationCluster(9080, UpstreamProtocol.HTTP1, endpoint=Loopback("127.0.0.1", 9080))
    )
    address = proto.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address
    assert (address.address, address.port_value) == ("127.0.0.1", 9080)
    assert not proto.HasField("upstream_bind_config")


def test_static_clusters() -> None:
    passthrough = translate.passthrough_cluster(ConnectionPool())
    assert passthrough.name == "PassthroughCluster"
    assert passthrough.circuit_breakers.thresholds[0].max_connections.value == 4294967295
    inbound = translate.inbound_passthrough_cluster(ConnectionPool())
    assert inbound.upstream_bind_config.source_address.address == "127.0.0.6"
    black_hole = translate.black_hole_cluster(ConnectionPool())
    assert black_hole.type == cluster_pb2.Cluster.STATIC
    assert not black_hole.HasField("load_assignment")


@pytest.mark.envoy
def test_envoy_accepts_them_all(tmp_path: Path) -> None:
    (tmp_path / "certs").mkdir()
    values = [
        Cluster(KEY, SERVICE, UpstreamProtocol.HTTP2, tls=MESH_TLS, connection_pool=EVERYTHING),
        Cluster(KEY, SERVICE, load_balancer=Maglev(SourceIpHash(), 101)),
        Cluster(KEY, SERVICE, load_balancer=RingHash(SourceIpHash(), 1024)),
        Cluster(KEY, SERVICE, load_balancer=RoundRobin(Warmup(timedelta(seconds=1)))),
        Cluster(KEY, SERVICE, load_balancer=Random(), proxy_protocol=ProxyProtocol.V1),
        Cluster(KEY, SERVICE, tls=OriginatedTls(skip_verify=True)),
        Cluster(KEY, SERVICE, tls=OriginatedTls(sni="a.example", peers=(ExactName("a.example"),))),
        Cluster(KEY, SERVICE, tls=MESH_TLS, proxy_protocol=ProxyProtocol.V2),
        Cluster(KEY, SERVICE, UpstreamProtocol.DOWNSTREAM, Discovery.ORIGINAL_DST),
        Cluster(KEY, SERVICE, outlier_detection=OutlierDetection(error_statuses=(429, 503))),
        Cluster(KEY, SERVICE, retry_budget=RetryBudget(interval=timedelta(seconds=10))),
    ]
    protos = [translate.cluster(value) for value in values]
    for index, proto in enumerate(protos):
        proto.name = f"{index}{proto.name}"
    protos.append(translate.application_cluster(ApplicationCluster(1, UpstreamProtocol.HTTP1)))
    protos.append(
        translate.application_cluster(
            ApplicationCluster(2, UpstreamProtocol.DOWNSTREAM, endpoint=Loopback("127.0.0.1", 2))
        )
    )
    protos.append(translate.passthrough_cluster(ConnectionPool()))
    protos.append(translate.inbound_passthrough_cluster(ConnectionPool()))
    protos.append(translate.black_hole_cluster(ConnectionPool()))
    validate(tmp_path, clusters=protos)


def test_a_user_certificate_is_read_from_its_files() -> None:
    own = OriginatedTls(FileCertificate("/etc/c.pem", "/etc/k.pem"), ca="/etc/ca.pem")
    proto = translate.cluster(Cluster(KEY, SERVICE, tls=own))
    context = tls_pb2.UpstreamTlsContext()
    assert proto.transport_socket.typed_config.Unpack(context)
    (certificate,) = context.common_tls_context.tls_certificates
    assert certificate.certificate_chain.filename == "/etc/c.pem"
    assert certificate.private_key.filename == "/etc/k.pem"
    assert context.common_tls_context.validation_context.trusted_ca.filename == "/etc/ca.pem"
    upstream = options_of(proto).upstream_http_protocol_options
    assert upstream.auto_sni
    assert upstream.auto_san_validation
