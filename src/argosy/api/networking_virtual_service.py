"""VirtualService of ``networking.istio.io``.

Fields and comments as in https://istio.io/latest/docs/reference/config/networking/virtual-service/
"""

from collections.abc import Mapping
from typing import Literal

from msgspec import field

from argosy.api.meta import Duration, Int32, IstioStatus, Object, Part, UInt32

RedirectPort = Literal["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"]
UnmatchedPreflights = Literal["UNSPECIFIED", "FORWARD", "IGNORE"]


class StringMatch(Part, frozen=True, kw_only=True):
    """Exactly one of three; in a map of headers or parameters none means "is present"."""

    exact: str | None = None
    prefix: str | None = None
    regex: str | None = None


class Percent(Part, frozen=True, kw_only=True):
    """0.0 to 100.0, in steps of 0.0001."""

    value: float = 0.0


class PortSelector(Part, frozen=True, kw_only=True):
    number: UInt32 = 0


class Destination(Part, frozen=True, kw_only=True):
    host: str
    subset: str = ""
    port: PortSelector | None = None


class HeaderOperations(Part, frozen=True, kw_only=True):
    set: Mapping[str, str] = {}
    add: Mapping[str, str] = {}
    remove: tuple[str, ...] = ()


class Headers(Part, frozen=True, kw_only=True):
    request: HeaderOperations | None = None
    response: HeaderOperations | None = None


class HTTPRouteDestination(Part, frozen=True, kw_only=True):
    destination: Destination
    weight: Int32 = 0
    headers: Headers | None = None


class RouteDestination(Part, frozen=True, kw_only=True):
    destination: Destination
    weight: Int32 = 0


class HTTPMatchRequest(Part, frozen=True, kw_only=True):
    name: str = ""
    uri: StringMatch | None = None
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: Mapping[str, StringMatch] = {}
    port: UInt32 = 0
    source_labels: Mapping[str, str] = {}
    gateways: tuple[str, ...] = ()
    query_params: Mapping[str, StringMatch] = {}
    ignore_uri_case: bool = False
    without_headers: Mapping[str, StringMatch] = {}
    source_namespace: str = ""
    stat_prefix: str = ""


class RegexRewrite(Part, frozen=True, kw_only=True):
    match: str = ""
    rewrite: str = ""


class HTTPRewrite(Part, frozen=True, kw_only=True):
    uri: str = ""
    authority: str = ""
    uri_regex_rewrite: RegexRewrite | None = None


class HTTPRedirect(Part, frozen=True, kw_only=True):
    """``redirect_code`` 0 is 301."""

    uri: str = ""
    prefix_rewrite: str = ""
    authority: str = ""
    port: UInt32 | None = None
    derive_port: RedirectPort | None = None
    scheme: str = ""
    redirect_code: UInt32 = 0


class HTTPBody(Part, frozen=True, kw_only=True):
    """``data`` is base64 under the name ``bytes`` on the wire, and decoded here."""

    string: str | None = None
    data: bytes | None = field(name="bytes", default=None)


class HTTPDirectResponse(Part, frozen=True, kw_only=True):
    status: UInt32
    body: HTTPBody | None = None


class Delegate(Part, frozen=True, kw_only=True):
    name: str = ""
    namespace: str = ""


class HTTPRetry(Part, frozen=True, kw_only=True):
    attempts: Int32 = 0
    per_try_timeout: Duration | None = None
    retry_on: str = ""
    retry_remote_localities: bool | None = None
    retry_ignore_previous_hosts: bool | None = None
    backoff: Duration | None = None


class FaultDelay(Part, frozen=True, kw_only=True):
    percent: Int32 = 0
    fixed_delay: Duration | None = None
    exponential_delay: Duration | None = None
    percentage: Percent | None = None


class FaultAbort(Part, frozen=True, kw_only=True):
    http_status: Int32 | None = None
    grpc_status: str | None = None
    http2_error: str | None = None
    percentage: Percent | None = None


class HTTPFaultInjection(Part, frozen=True, kw_only=True):
    delay: FaultDelay | None = None
    abort: FaultAbort | None = None


class HTTPMirrorPolicy(Part, frozen=True, kw_only=True):
    destination: Destination
    percentage: Percent | None = None


class CorsPolicy(Part, frozen=True, kw_only=True):
    allow_origin: tuple[str, ...] = ()
    allow_origins: tuple[StringMatch, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: Duration | None = None
    allow_credentials: bool | None = None
    unmatched_preflights: UnmatchedPreflights = "UNSPECIFIED"


class HTTPRoute(Part, frozen=True, kw_only=True):
    """``mirror_percent`` and ``mirror_percentage`` belong to ``mirror``."""

    name: str = ""
    match: tuple[HTTPMatchRequest, ...] = ()
    route: tuple[HTTPRouteDestination, ...] = ()
    redirect: HTTPRedirect | None = None
    direct_response: HTTPDirectResponse | None = None
    delegate: Delegate | None = None
    rewrite: HTTPRewrite | None = None
    timeout: Duration | None = None
    retries: HTTPRetry | None = None
    fault: HTTPFaultInjection | None = None
    mirror: Destination | None = None
    mirrors: tuple[HTTPMirrorPolicy, ...] = ()
    mirror_percent: UInt32 | None = None
    mirror_percentage: Percent | None = None
    cors_policy: CorsPolicy | None = None
    headers: Headers | None = None


class TLSMatchAttributes(Part, frozen=True, kw_only=True):
    sni_hosts: tuple[str, ...] = ()
    destination_subnets: tuple[str, ...] = ()
    port: UInt32 = 0
    source_labels: Mapping[str, str] = {}
    gateways: tuple[str, ...] = ()
    source_namespace: str = ""


class TLSRoute(Part, frozen=True, kw_only=True):
    match: tuple[TLSMatchAttributes, ...] = ()
    route: tuple[RouteDestination, ...] = ()


class L4MatchAttributes(Part, frozen=True, kw_only=True):
    destination_subnets: tuple[str, ...] = ()
    port: UInt32 = 0
    source_subnet: str = ""
    source_labels: Mapping[str, str] = {}
    gateways: tuple[str, ...] = ()
    source_namespace: str = ""


class TCPRoute(Part, frozen=True, kw_only=True):
    match: tuple[L4MatchAttributes, ...] = ()
    route: tuple[RouteDestination, ...] = ()


class VirtualServiceSpec(Part, frozen=True, kw_only=True):
    """Empty ``gateways`` means ``mesh``; empty ``export_to`` means the mesh's default."""

    hosts: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    http: tuple[HTTPRoute, ...] = ()
    tls: tuple[TLSRoute, ...] = ()
    tcp: tuple[TCPRoute, ...] = ()
    export_to: tuple[str, ...] = ()


class VirtualService(Object, frozen=True, kw_only=True):
    api_version: str = "networking.istio.io/v1"
    kind: str = "VirtualService"
    spec: VirtualServiceSpec = VirtualServiceSpec()
    status: IstioStatus | None = None
