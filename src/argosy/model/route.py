"""HTTP routes: which request goes where, and what happens to it on the way.

Two stages. A ``HttpRule`` is what a VirtualService says, normalised: names resolved, delegates
merged, defaults applied, but still for every client and port. A ``Route`` is that rule for one
route table: its conditions on the client and port are decided, its destinations are clusters.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Protocol

from argosy.base.names import Hostname, ObjectKey
from argosy.model.proxy import ClusterKey
from argosy.model.service import Service
from argosy.model.workload import Labels

MESH = "mesh"
"""The reserved gateway name that stands for all sidecars."""

Millionths = int
"""A share of requests: 1_000_000 is every request."""

ALL_REQUESTS: Millionths = 1_000_000


# Conditions on the request.


@dataclass(frozen=True, slots=True)
class Exact:
    value: str


@dataclass(frozen=True, slots=True)
class Prefix:
    value: str


@dataclass(frozen=True, slots=True)
class Regex:
    """RE2 syntax; must match the whole value."""

    value: str


@dataclass(frozen=True, slots=True)
class Present:
    """Any value, but there must be one."""


StringMatch = Exact | Prefix | Regex
ValueMatch = Exact | Prefix | Regex | Present


@dataclass(frozen=True, slots=True)
class HeaderMatch:
    """``name`` may be a pseudo header such as ``:method``. A missing header does match ``invert``."""

    name: str
    value: ValueMatch
    invert: bool = False


@dataclass(frozen=True, slots=True)
class QueryMatch:
    name: str
    value: ValueMatch


@dataclass(frozen=True, slots=True)
class ClaimMatch:
    """On a claim of the validated JWT; ``path`` descends into nested claims."""

    path: tuple[str, ...]
    value: ValueMatch
    invert: bool = False


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """All conditions must hold. Headers, queries and claims are in a deterministic order."""

    path: StringMatch = Prefix("/")
    case_sensitive: bool = True
    headers: tuple[HeaderMatch, ...] = ()
    queries: tuple[QueryMatch, ...] = ()
    claims: tuple[ClaimMatch, ...] = ()

    @property
    def is_catch_all(self) -> bool:
        """Matches every request, so that no later route of the virtual host is reached."""
        return (
            self.path in (Prefix("/"), Regex(".*"))
            and not self.headers
            and not self.queries
            and not self.claims
        )


# What happens to the request and its response.


@dataclass(frozen=True, slots=True)
class HeaderOperations:
    """First ``remove``, then ``set`` overwrites and ``add`` appends; pairs sorted by name.

    Values may hold Envoy's command operators (``%DOWNSTREAM_REMOTE_ADDRESS%``). Pseudo headers
    and Host are never among them: see ``authority`` of the actions.
    """

    request_set: tuple[tuple[str, str], ...] = ()
    request_add: tuple[tuple[str, str], ...] = ()
    request_remove: tuple[str, ...] = ()
    response_set: tuple[tuple[str, str], ...] = ()
    response_add: tuple[tuple[str, str], ...] = ()
    response_remove: tuple[str, ...] = ()


NO_HEADERS = HeaderOperations()


@dataclass(frozen=True, slots=True)
class PathRewrite:
    """Replaces what the route's path condition matched: the prefix, or the whole path."""

    value: str


@dataclass(frozen=True, slots=True)
class RegexRewrite:
    """Replaces every match of ``pattern`` in the path; ``substitution`` may use ``\\1``."""

    pattern: str
    substitution: str


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When the proxy asks again. ``attempts`` does not count the first request; at least 1.

    ``previous_hosts`` keeps a retry away from the hosts already tried; None means unless the
    destination hashes consistently. ``remote_localities`` lets retries leave the locality.
    """

    attempts: int
    retry_on: str
    status_codes: tuple[int, ...] = ()
    per_try_timeout: timedelta | None = None
    backoff: timedelta | None = None
    previous_hosts: bool | None = None
    remote_localities: bool = False


DEFAULT_RETRIES = RetryPolicy(
    attempts=2,
    retry_on="connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
)
"""https://istio.io/latest/docs/concepts/traffic-management/#retries"""


@dataclass(frozen=True, slots=True)
class Delay:
    fixed: timedelta
    share: Millionths


@dataclass(frozen=True, slots=True)
class HttpAbort:
    status: int
    share: Millionths


@dataclass(frozen=True, slots=True)
class GrpcAbort:
    """``status`` is the number of a gRPC status, such as 14 for UNAVAILABLE."""

    status: int
    share: Millionths


@dataclass(frozen=True, slots=True)
class Fault:
    delay: Delay | None
    abort: HttpAbort | GrpcAbort | None


@dataclass(frozen=True, slots=True)
class Cors:
    """``max_age`` in whole seconds. ``forward_unmatched_preflights``: to the destination."""

    allow_origins: tuple[StringMatch, ...]
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: int | None = None
    allow_credentials: bool | None = None
    forward_unmatched_preflights: bool = True


# Consistent hashing: which part of a request chooses the endpoint.


@dataclass(frozen=True, slots=True)
class HeaderHash:
    name: str


@dataclass(frozen=True, slots=True)
class CookieHash:
    """With a ``ttl`` (zero: a session cookie) the proxy makes the cookie if it is missing."""

    name: str
    path: str = ""
    ttl: timedelta | None = None
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class SourceIpHash:
    pass


@dataclass(frozen=True, slots=True)
class QueryParameterHash:
    name: str


HashPolicy = HeaderHash | CookieHash | SourceIpHash | QueryParameterHash


# Answers without a destination.


@dataclass(frozen=True, slots=True)
class Redirect:
    """Empty strings and None keep that part of the request's URL. ``code`` is an HTTP status.

    ``path`` replaces the whole path, ``path_prefix`` what the route's prefix matched; at most
    one is set.
    """

    code: int = 301
    path: str = ""
    path_prefix: str = ""
    authority: str = ""
    scheme: str = ""
    port: int | None = None


@dataclass(frozen=True, slots=True)
class DirectResponse:
    status: int
    body: bytes | str | None = None


# First stage: what a VirtualService says.


@dataclass(frozen=True, slots=True)
class Origin:
    """The place that a rule was written: for messages, and to trace a route back."""

    object: ObjectKey
    field: str


@dataclass(frozen=True, slots=True)
class Destination:
    """``port`` None: the destination's only port, or else the port that the client called."""

    host: Hostname
    subset: str = ""
    port: int | None = None
    field: str = ""
    """Where it stands, relative to the rule: ``route[0].destination``."""


@dataclass(frozen=True, slots=True)
class WeightedDestination:
    """``weight`` counts relative to the sum of the rule's weights."""

    destination: Destination
    weight: int
    headers: HeaderOperations = NO_HEADERS
    authority: str = ""


@dataclass(frozen=True, slots=True)
class Mirror:
    destination: Destination
    share: Millionths


@dataclass(frozen=True, slots=True)
class Forward:
    """At least one destination. ``timeout`` None: no timeout. ``retries`` None: no retries."""

    destinations: tuple[WeightedDestination, ...]
    rewrite: PathRewrite | RegexRewrite | None = None
    authority: str = ""
    timeout: timedelta | None = None
    retries: RetryPolicy | None = DEFAULT_RETRIES
    mirrors: tuple[Mirror, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleRedirect:
    """``port_of_request``: the port of the listener that the request came in by."""

    redirect: Redirect
    port_of_request: bool = False


@dataclass(frozen=True, slots=True)
class RuleMatch:
    """One alternative of a rule: conditions on the request, and on the client and listener.

    Empty ``gateways`` means every gateway of the VirtualService.
    """

    request: RouteMatch = RouteMatch()
    name: str = ""
    stat_prefix: str = ""
    port: int | None = None
    gateways: frozenset[str] = frozenset()
    source_labels: Labels = ()
    source_namespace: str = ""
    field: str = ""
    """Where it stands, relative to the rule: ``match[1]``; empty when the rule has none."""


@dataclass(frozen=True, slots=True)
class HttpRule:
    """One ``http`` item: the first alternative of ``matches`` that holds leads to ``action``.

    ``source`` is where it was written: with a delegate that is not in ``virtual_service``.
    """

    virtual_service: ObjectKey
    source: Origin
    matches: tuple[RuleMatch, ...]
    action: Forward | RuleRedirect | DirectResponse
    name: str = ""
    headers: HeaderOperations = NO_HEADERS
    fault: Fault | None = None
    cors: Cors | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    """Which hosts and listeners a VirtualService claims, and its rank among its rivals.

    ``gateways`` are ``mesh`` or ``<namespace>/<name>``. ``created`` is the creation timestamp
    (RFC 3339, UTC, so text order is time order; empty when unknown). ``http`` and ``opaque`` say
    whether it has HTTP rules, and TCP or TLS rules: only rules of one sort are rivals.
    """

    object: ObjectKey
    hosts: tuple[Hostname, ...]
    gateways: frozenset[str]
    export_to: frozenset[str]
    created: str
    http: bool = True
    opaque: bool = False


# Second stage: routes of one table.


@dataclass(frozen=True, slots=True)
class InboundCluster:
    """The application beside the proxy, by the port that it listens on."""

    port: int


Cluster = ClusterKey | InboundCluster


@dataclass(frozen=True, slots=True)
class WeightedCluster:
    cluster: Cluster
    weight: int = 1
    headers: HeaderOperations = NO_HEADERS
    authority: str = ""


@dataclass(frozen=True, slots=True)
class MirrorCluster:
    cluster: Cluster
    share: Millionths


@dataclass(frozen=True, slots=True)
class RouteTo:
    """At least one cluster, each weight at least 1. As ``Forward`` otherwise."""

    clusters: tuple[WeightedCluster, ...]
    rewrite: PathRewrite | RegexRewrite | None = None
    authority: str = ""
    timeout: timedelta | None = None
    retries: RetryPolicy | None = None
    mirrors: tuple[MirrorCluster, ...] = ()
    hash_policies: tuple[HashPolicy, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """``operation`` names the route in traces."""

    match: RouteMatch
    action: RouteTo | Redirect | DirectResponse
    name: str = ""
    operation: str = ""
    stat_prefix: str = ""
    headers: HeaderOperations = NO_HEADERS
    fault: Fault | None = None
    cors: Cors | None = None
    virtual_service: ObjectKey | None = None


@dataclass(frozen=True, slots=True)
class VirtualHost:
    """The routes of one host. ``domains`` are its own names: a request's Host is looked up there.

    ``aliases`` are further names, short or derived, which give way where another virtual host
    of the table owns the name.
    """

    host: str
    port: int
    domains: tuple[str, ...]
    routes: tuple[Route, ...]
    aliases: tuple[str, ...] = ()
    require_tls: bool = False


class UnknownHosts(Enum):
    """What happens to a request whose host is in no virtual host of the table."""

    NOT_FOUND = "404"
    PASSTHROUGH = "goes where the client sent it"
    DYNAMIC = "goes to the host that it names"
    BLOCK = "502"


@dataclass(frozen=True, slots=True)
class RouteTable:
    """One RouteConfiguration. No domain occurs twice. ``ignore_port``: ``Host: a:80`` is ``a``.

    ``egress_proxy``: where requests that are passed through go, if not where the client sent them.
    ``attempt_count``: requests say which try they are.
    """

    name: str
    virtual_hosts: tuple[VirtualHost, ...]
    unknown_hosts: UnknownHosts = UnknownHosts.NOT_FOUND
    ignore_port: bool = True
    egress_proxy: ClusterKey | None = None
    attempt_count: bool = True


@dataclass(frozen=True, slots=True)
class RouteServer:
    """One HTTP server of a Gateway, as far as routes care.

    ``gateway`` is ``<namespace>/<name>``. ``port`` is the server's own port number. ``hosts`` are
    pairs of the namespace whose VirtualServices may bind (``*``: any) and the host.
    """

    gateway: str
    port: int
    hosts: tuple[tuple[str, Hostname], ...]
    tls: bool = False
    https_redirect: bool = False


class RouteLookup(Protocol):
    """What routes need to know of the mesh, as one client sees it."""

    def service(self, host: Hostname) -> Service | None: ...

    def subsets(self, host: Hostname) -> frozenset[str]:
        """The subsets that the DestinationRule in force defines for ``host``."""

    def hash_policy(self, host: Hostname, port: int, subset: str) -> HashPolicy | None:
        """The consistent hash of that destination, if its DestinationRule asks for one."""
