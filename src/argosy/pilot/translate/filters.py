"""The HTTP filters of every connection manager, in their order. The only place with an order.

A request passes the rows from top to bottom, its response from bottom to top. A new filter is one
file that builds its configuration and one row here that says why it stands where it stands.

Access logs, metrics and traces are no filters but parts of the connection manager, which sees what
filters refuse. What users' EnvoyFilters insert is placed in the finished list by ``patch_listener``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.filters.http.grpc_web.v3 import grpc_web_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from google.protobuf import wrappers_pb2
from google.protobuf.message import Message

from argosy.model.authz import NO_CHECKS, Checks
from argosy.model.rate_limit import Limit
from argosy.model.request_authn import RequestAuthn
from argosy.pilot.translate import authorization, dynamic_forward, jwt_authn, rate_limit
from argosy.pilot.translate.cors import CORS_FILTER
from argosy.pilot.translate.fault import FAULT_FILTER
from argosy.pilot.translate.grpc_stats import GRPC_STATS_FILTER, grpc_stats

GRPC_WEB_FILTER = "envoy.filters.http.grpc_web"
ROUTER_FILTER = "envoy.filters.http.router"


class Side(Enum):
    """Where a connection manager stands."""

    OUTBOUND = "outbound"
    INBOUND = "inbound"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class HttpFilterFacts:
    """What decides which filters a connection manager has.

    ``grpc_web``: a declared GRPC-Web port. ``dynamic_hosts``: routes may lead to hosts that are
    resolved when a request names them. ``debug_headers``: x-envoy-* go to clients and servers.
    ``checks`` are those of requests; the outbound side has none.
    ``request_authn``: which tokens of end users are checked. ``limits``: how many requests pass.
    ``counts_messages``: those of gRPC are counted.
    """

    side: Side
    grpc_web: bool = False
    dynamic_hosts: bool = False
    debug_headers: bool = True
    checks: Checks = NO_CHECKS
    request_authn: RequestAuthn | None = None
    limits: tuple[Limit, ...] = ()
    counts_messages: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """``config`` gives None where the filter is not needed."""

    name: str
    config: Callable[[HttpFilterFacts], Message | None]
    why_here: str


@dataclass(frozen=True, slots=True)
class Group:
    """Filters that are several, with the name of each."""

    filters: Callable[[HttpFilterFacts], Sequence[tuple[str, Message]]]
    why_here: str


def _grpc_web(facts: HttpFilterFacts) -> Message | None:
    return grpc_web_pb2.GrpcWeb() if facts.grpc_web else None


def _client_headers(facts: HttpFilterFacts) -> Message | None:
    authn = facts.request_authn
    return None if authn is None else jwt_authn.without_client_headers(authn)


def _jwt_authn(facts: HttpFilterFacts) -> Message | None:
    return None if facts.request_authn is None else jwt_authn.jwt_authn(facts.request_authn)


def _custom(facts: HttpFilterFacts) -> Sequence[tuple[str, Message]]:
    return authorization.custom_http(facts.checks)


def _authorization(facts: HttpFilterFacts) -> Sequence[tuple[str, Message]]:
    return authorization.native_http(facts.checks)


def _rate_limits(facts: HttpFilterFacts) -> Sequence[tuple[str, Message]]:
    return rate_limit.http_filters(facts.limits)


def _fault(facts: HttpFilterFacts) -> Message | None:
    return fault_pb2.HTTPFault() if facts.side is not Side.INBOUND else None


def _cors(facts: HttpFilterFacts) -> Message | None:
    return cors_pb2.Cors() if facts.side is not Side.INBOUND else None


def _dynamic_forward(facts: HttpFilterFacts) -> Message | None:
    return dynamic_forward.http_filter() if facts.dynamic_hosts else None


def _grpc_stats(facts: HttpFilterFacts) -> Message | None:
    return grpc_stats() if facts.counts_messages else None


def _router(facts: HttpFilterFacts) -> Message:
    # Without dynamic_stats the router keeps no counters per response code and cluster: they cost
    # memory per cluster, and Istio's default stats inclusion list drops them. The x-envoy-*
    # response headers stay, as Istio's do (x-envoy-upstream-service-time is in its log format).
    router = router_pb2.Router(dynamic_stats=wrappers_pb2.BoolValue(value=False))
    if not facts.debug_headers:
        router.suppress_envoy_headers = True
    found: Message = router
    return found


HTTP_FILTERS: tuple[Row | Group, ...] = (
    Row(
        GRPC_WEB_FILTER,
        _grpc_web,
        "Turns gRPC-Web into gRPC, so every later filter sees one protocol.",
    ),
    Row(
        jwt_authn.CLIENT_HEADERS_FILTER,
        _client_headers,
        "Before anybody reads or writes the headers that claims are told in: afterwards nobody could "
        "say which came from a client.",
    ),
    Group(
        _custom,
        "External authorization. Before tokens are read, as in Istio: the authorizer may bring one. "
        "Before DENY and ALLOW: it cannot undo them, nor they its refusal.",
    ),
    Row(
        jwt_authn.JWT_FILTER,
        _jwt_authn,
        "Before authorization, whose rules ask who the end user is, and before anything that "
        "answers or changes the request.",
    ),
    Group(
        _authorization,
        "AUDIT, DENY, ALLOW. Before anything that answers or changes the request.",
    ),
    Group(
        _rate_limits,
        "Rate limits. After authorization, so that refused requests cost no quota, and after tokens, "
        "whose claims may be keys. Before anything that answers: what is injected or answered here "
        "counts too.",
    ),
    Row(
        FAULT_FILTER,
        _fault,
        "Before cors, as in Istio: an injected fault hits preflights too. After authorization: "
        "a client that may not call learns nothing of the faults. Clients inject; servers do not.",
    ),
    Row(
        CORS_FILTER,
        _cors,
        "Answers preflights, so nothing behind it sees them. Configured by routes, and only "
        "clients and gateways have routes with rules.",
    ),
    Row(
        dynamic_forward.DYNAMIC_FORWARD_FILTER,
        _dynamic_forward,
        "Late, for the router, whose cluster finds the host that this filter has resolved: no "
        "name is looked up for requests that are answered or refused earlier.",
    ),
    Row(
        GRPC_STATS_FILTER,
        _grpc_stats,
        "Counts what goes to a cluster and comes from it: after all that answers requests or chooses "
        "their cluster, and before the router, whose further tries are no further messages.",
    ),
    Row(ROUTER_FILTER, _router, "Ends the chain: it sends the request on."),
)


def http_filters(facts: HttpFilterFacts) -> list[http_connection_manager_pb2.HttpFilter]:
    protos = []
    for name, config in (one for row in HTTP_FILTERS for one in _of_row(row, facts)):
        proto = http_connection_manager_pb2.HttpFilter(name=name)
        proto.typed_config.Pack(config, deterministic=True)
        protos.append(proto)
    return protos


def _of_row(row: Row | Group, facts: HttpFilterFacts) -> Sequence[tuple[str, Message]]:
    if isinstance(row, Group):
        return row.filters(facts)
    config = row.config(facts)
    return () if config is None else ((row.name, config),)
