"""The blocks of a traffic policy: api → model, with everything that is not in force reported."""

from dataclasses import replace
from datetime import timedelta

from argosy.api import networking_destination_rule as api
from argosy.api.meta import Duration
from argosy.model.route import (
    CookieHash,
    HashPolicy,
    HeaderHash,
    QueryParameterHash,
    SourceIpHash,
)
from argosy.model.secret import AuthoritiesReference, PairReference
from argosy.model.traffic import (
    UNLIMITED,
    ConnectionPool,
    CredentialTlsPolicy,
    ExactName,
    FileCertificate,
    Http2Keepalive,
    LeastRequest,
    LoadBalancer,
    Maglev,
    MeshTlsPolicy,
    OriginatedTls,
    OutlierDetection,
    Passthrough,
    Plaintext,
    PoolPolicy,
    ProxyProtocol,
    Random,
    RetryBudget,
    RingHash,
    RoundRobin,
    TcpKeepalive,
    TrafficDefaults,
    TrafficPolicy,
    Warmup,
)
from argosy.model.tunnel import Tunnel
from argosy.pilot.compile.localities import locality_policy, zone_policy
from argosy.pilot.compile.report import Report

Policy = api.TrafficPolicy | api.PortTrafficPolicy

DEFAULT_RING_SIZE = 1024
"""Istio's, when neither ringHash nor maglev is chosen."""

_DEFAULT_HTTP2_PING_TIMEOUT = timedelta(seconds=20)


def traffic_policy(
    written: api.TrafficPolicy, defaults: TrafficDefaults, report: Report
) -> TrafficPolicy:
    """A policy with its port-level settings. ``report`` stands at the policy."""
    ports: dict[int, TrafficPolicy] = {}
    for index, item in enumerate(written.port_level_settings):
        if item.port is None:
            continue
        place = report.at(f"portLevelSettings[{index}]")
        ports.setdefault(item.port.number, _blocks(item, defaults, place))
    return _blocks(
        written,
        defaults,
        report,
        proxy_protocol=_proxy_protocol(written.proxy_protocol),
        retry_budget=_retry_budget(written.retry_budget),
        tunnel=_tunnel(written.tunnel),
        ports=tuple(sorted(ports.items())),
    )


def _blocks(
    written: Policy,
    defaults: TrafficDefaults,
    report: Report,
    *,
    proxy_protocol: ProxyProtocol | None = None,
    retry_budget: RetryBudget | None = None,
    tunnel: Tunnel | None = None,
    ports: tuple[tuple[int, TrafficPolicy], ...] = (),
) -> TrafficPolicy:
    return TrafficPolicy(
        load_balancer=load_balancer(written.load_balancer, report.at("loadBalancer")),
        locality=None
        if written.load_balancer is None
        else locality_policy(written.load_balancer.locality_lb_setting),
        zones=None
        if written.load_balancer is None
        else zone_policy(written.load_balancer.zone_aware_lb_setting),
        connection_pool=connection_pool(written.connection_pool, defaults),
        outlier_detection=outlier_detection(written.outlier_detection),
        tls=client_tls(written.tls, report.at("tls")),
        proxy_protocol=proxy_protocol,
        retry_budget=retry_budget,
        tunnel=tunnel,
        ports=ports,
    )


# Load balancing.


def load_balancer(
    written: api.LoadBalancerSettings | None, report: Report
) -> LoadBalancer | Passthrough | None:
    if written is None:
        return None
    locality, zones = written.locality_lb_setting, written.zone_aware_lb_setting
    if locality and zones and zones.enabled is not False and locality.enabled is not False:
        report.at("localityLbSetting").warning(
            "NoEffect",
            "zoneAwareLbSetting is written too, and holds instead",
            "keep one of them",
        )
    if written.consistent_hash is not None:
        return _consistent_hash(written.consistent_hash)
    warmup = _warmup(written)
    match written.simple:
        case "PASSTHROUGH":
            return Passthrough()
        case "RANDOM":
            return Random()
        case "ROUND_ROBIN":
            return RoundRobin(warmup)
        case "LEAST_CONN" | "LEAST_REQUEST" | "UNSPECIFIED" | None:
            return LeastRequest(warmup)


def _warmup(written: api.LoadBalancerSettings) -> Warmup | None:
    if written.warmup is not None:
        percent, aggression = written.warmup.minimum_percent, written.warmup.aggression
        return Warmup(
            window=_timedelta(written.warmup.duration),
            minimum_percent=10.0 if percent is None else percent,
            aggression=1.0 if aggression is None else aggression,
        )
    if written.warmup_duration_secs is not None:
        return Warmup(_timedelta(written.warmup_duration_secs))
    return None


def _consistent_hash(written: api.ConsistentHashLB) -> LoadBalancer:
    key = _hash_key(written)
    if key is None:
        return LeastRequest()
    if written.maglev is not None:
        return Maglev(key, written.maglev.table_size or None)
    if written.ring_hash is not None:
        return RingHash(key, written.ring_hash.minimum_ring_size or None)
    return RingHash(key, written.minimum_ring_size or DEFAULT_RING_SIZE)


def _hash_key(written: api.ConsistentHashLB) -> HashPolicy | None:
    if written.http_header_name:
        return HeaderHash(written.http_header_name)
    cookie = written.http_cookie
    if cookie is not None:
        return CookieHash(
            name=cookie.name,
            path=cookie.path,
            ttl=_optional(cookie.ttl),
            attributes=tuple((item.name, item.value) for item in cookie.attributes),
        )
    if written.use_source_ip:
        return SourceIpHash()
    if written.http_query_parameter_name:
        return QueryParameterHash(written.http_query_parameter_name)
    return None


# Limits and health.


def connection_pool(
    written: api.ConnectionPoolSettings | None, defaults: TrafficDefaults
) -> PoolPolicy | None:
    """0 is "not set" in every count, as in protobuf."""
    if written is None:
        return None
    tcp = written.tcp or api.TCPSettings()
    http = written.http or api.HTTPSettings()
    pool = ConnectionPool(
        connect_timeout=_optional(tcp.connect_timeout) or defaults.connect_timeout,
        max_connections=tcp.max_connections or UNLIMITED,
        max_pending_requests=http.http1_max_pending_requests or UNLIMITED,
        max_requests=http.http2_max_requests or UNLIMITED,
        max_retries=http.max_retries or UNLIMITED,
        max_requests_per_connection=http.max_requests_per_connection or None,
        max_concurrent_streams=http.max_concurrent_streams or None,
        max_connection_duration=_optional(tcp.max_connection_duration),
        tcp_idle_timeout=_optional(tcp.idle_timeout),
        http_idle_timeout=_optional(http.idle_timeout),
        tcp_keepalive=_keepalive(tcp.tcp_keepalive, defaults.tcp_keepalive),
        http2_keepalive=_http2_keepalive(http.http2_keep_alive),
    )
    upgrade = {"DEFAULT": None, "UPGRADE": True, "DO_NOT_UPGRADE": False}
    return PoolPolicy(
        pool=pool,
        h2_upgrade=upgrade[http.h2_upgrade_policy],
        use_client_protocol=http.use_client_protocol,
        http1_limits=any(
            (
                tcp.max_connections,
                http.http1_max_pending_requests,
                http.max_requests_per_connection,
            )
        ),
    )


def keepalive(written: api.TcpKeepalive | None) -> TcpKeepalive | None:
    if written is None:
        return None
    return TcpKeepalive(
        written.probes or None, _optional(written.time), _optional(written.interval)
    )


def _keepalive(
    written: api.TcpKeepalive | None, default: TcpKeepalive | None
) -> TcpKeepalive | None:
    """Each value overrides the mesh's on its own, as in Istio."""
    own = keepalive(written)
    if own is None or default is None:
        return own or default
    return TcpKeepalive(
        probes=own.probes or default.probes,
        time=own.time or default.time,
        interval=own.interval or default.interval,
    )


def _http2_keepalive(written: api.HTTP2KeepAlive | None) -> Http2Keepalive | None:
    if written is None or written.interval is None:
        return None
    return Http2Keepalive(
        interval=_timedelta(written.interval),
        timeout=_optional(written.timeout) or _DEFAULT_HTTP2_PING_TIMEOUT,
    )


def outlier_detection(written: api.OutlierDetection | None) -> OutlierDetection | None:
    """The deprecated ``consecutiveErrors`` counts gateway errors."""
    if written is None:
        return None
    gateway = written.consecutive_gateway_errors
    if gateway is None:
        gateway = written.consecutive_errors or None
    return OutlierDetection(
        consecutive_5xx=written.consecutive_5xx_errors,
        consecutive_gateway=gateway,
        consecutive_local_origin=written.consecutive_local_origin_failures,
        split_local_origin=written.split_external_local_origin_errors,
        interval=_optional(written.interval),
        base_ejection=_optional(written.base_ejection_time),
        max_ejection_percent=written.max_ejection_percent or None,
        minimum_health_percent=written.min_health_percent,
        error_statuses=written.outlier_detection_http_error_codes,
    )


def _retry_budget(written: api.RetryBudget | None) -> RetryBudget | None:
    if written is None:
        return None
    default = RetryBudget()
    return RetryBudget(
        percent=default.percent if written.percent is None else written.percent,
        minimum=written.min_retry_concurrency or default.minimum,
        interval=_optional(written.budget_interval),
    )


def _proxy_protocol(written: api.ProxyProtocol | None) -> ProxyProtocol | None:
    return None if written is None else ProxyProtocol[written.version]


def _tunnel(written: api.TunnelSettings | None) -> Tunnel | None:
    """CONNECT unless POST is written."""
    if written is None:
        return None
    host = f"[{written.target_host}]" if ":" in written.target_host else written.target_host
    return Tunnel(f"{host}:{written.target_port}", post=written.protocol == "POST")


# Transport security.


def client_tls(
    written: api.ClientTLSSettings | None, report: Report
) -> Plaintext | MeshTlsPolicy | OriginatedTls | CredentialTlsPolicy | None:
    if written is None:
        return None
    names = tuple(ExactName(name) for name in written.subject_alt_names)
    match written.mode:
        case "DISABLE":
            return Plaintext()
        case "ISTIO_MUTUAL":
            return MeshTlsPolicy(written.sni, names)
        case "SIMPLE" | "MUTUAL":
            return _originated(written, names, report)


def _originated(
    written: api.ClientTLSSettings, names: tuple[ExactName, ...], report: Report
) -> OriginatedTls | CredentialTlsPolicy:
    """``credentialName`` has the authorities too, and in mode MUTUAL the client's certificate."""
    mutual = written.mode == "MUTUAL"
    certificate = None
    if mutual and written.client_certificate:
        certificate = FileCertificate(written.client_certificate, written.private_key)
    files = OriginatedTls(
        certificate=certificate,
        ca=written.ca_certificates,
        crl=written.ca_crl,
        sni=written.sni,
        peers=names,
        skip_verify=bool(written.insecure_skip_verify),
    )
    name = written.credential_name
    if not name:
        return files
    with_credential = replace(
        files,
        certificate=PairReference(name) if mutual else None,
        ca=files.ca if files.skip_verify else AuthoritiesReference(name),
    )
    return CredentialTlsPolicy(name, with_credential, files, report.at("credentialName").field)


def _timedelta(duration: Duration) -> timedelta:
    return timedelta(milliseconds=duration)


def _optional(duration: Duration | None) -> timedelta | None:
    return None if duration is None else _timedelta(duration)
