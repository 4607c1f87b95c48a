"""What a proxy's own configuration (ProxyConfig) does to connections and requests.

Equal for most proxies of a mesh, so that they go on sharing.
"""

from dataclasses import dataclass
from datetime import timedelta

from argosy.model.span_tags import NO_PROXY_TRACING, ProxyTracing


@dataclass(frozen=True, slots=True)
class CapturePorts:
    """The ports that a workload's connections are redirected to: those it makes, those it gets."""

    outbound: int = 15001
    inbound: int = 15006


USUAL_CAPTURE = CapturePorts()


@dataclass(frozen=True, slots=True)
class CertDetails:
    """Which facts of a client's certificate go into X-Forwarded-Client-Cert; None: as usual."""

    subject: bool | None = None
    cert: bool | None = None
    chain: bool | None = None
    dns: bool | None = None
    uri: bool | None = None


@dataclass(frozen=True, slots=True)
class Connections:
    """None: Envoy's own default, or Istio's where it has one. Sizes are in bytes.

    ``buffer_limit`` is of connections that are accepted, ``cluster_buffer_limit`` of those made.
    ``listener_limit`` is how many connections a listener serves at a time.
    """

    buffer_limit: int | None = None
    cluster_buffer_limit: int | None = None
    listener_limit: int | None = None
    idle_timeout: timedelta | None = None
    max_connection_duration: timedelta | None = None
    drain_timeout: timedelta | None = None
    request_timeout: timedelta | None = None
    headers_timeout: timedelta | None = None
    stream_idle_timeout: timedelta | None = None
    max_stream_duration: timedelta | None = None
    max_concurrent_streams: int | None = None
    stream_window: int | None = None
    connection_window: int | None = None
    underscores: str = ""
    merge_slashes: bool | None = None
    escaped_slashes: str = ""


DEFAULT_CONNECTIONS = Connections()


@dataclass(frozen=True, slots=True)
class ProxyTraffic:
    """``server``: the header's value; empty text: none is added, None: as usual.

    ``forward_client_cert`` is Envoy's name of a mode, empty: as usual. ``gateway_client_cert``,
    ``trusted_proxies`` and ``proxy_protocol`` are for gateways. ``http10``: answer HTTP/1.0
    instead of refusing it. ``capture`` is what the rules in the workload's network say.
    ``keep_envoy_headers``: a gateway's clients are trusted to set ``x-envoy-*``. ``tracing`` is
    for requests of which no Telemetry says more.
    """

    connections: Connections = DEFAULT_CONNECTIONS
    server: str | None = None
    request_id: bool = True
    attempt_count: bool = True
    debug_headers: bool = True
    forward_client_cert: str = ""
    gateway_client_cert: str = ""
    cert_details: CertDetails | None = None
    trusted_proxies: int = 0
    proxy_protocol: bool = False
    http10: bool = False
    keep_envoy_headers: bool = False
    tracing: ProxyTracing = NO_PROXY_TRACING
    capture: CapturePorts = USUAL_CAPTURE

    @property
    def of_clusters(self) -> "ProxyTraffic":
        """As much of it as clusters depend on."""
        limit = self.connections.cluster_buffer_limit
        if limit is None:
            return USUAL_TRAFFIC
        return ProxyTraffic(Connections(cluster_buffer_limit=limit))


USUAL_TRAFFIC = ProxyTraffic()
