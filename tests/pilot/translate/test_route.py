"""Route tables as Envoy's: what the golden cases do not show."""

from datetime import timedelta

import pytest

from argosy.model.proxy import ClusterKey
from argosy.model.route import (
    CookieHash,
    HashPolicy,
    HeaderHash,
    HeaderOperations,
    InboundCluster,
    PathRewrite,
    QueryParameterHash,
    Redirect,
    RegexRewrite,
    Route,
    RouteMatch,
    RouteTable,
    RouteTo,
    SourceIpHash,
    UnknownHosts,
    VirtualHost,
    WeightedCluster,
)
from argosy.pilot.translate.route import (
    encoded_route_configuration,
    encoded_virtual_host,
    route,
    route_configuration,
)
from argosy.pilot.translate.route_action import cluster_name, hash_policy, redirect_action

KEY = ClusterKey(9080, "v1", "reviews.default.svc.cluster.local")


def forward(*clusters: WeightedCluster, timeout: timedelta | None = None) -> RouteTo:
    return RouteTo(clusters or (WeightedCluster(KEY),), timeout=timeout)


def test_clusters_have_istios_names() -> None:
    assert cluster_name(KEY) == "outbound|9080|v1|reviews.default.svc.cluster.local"
    assert cluster_name(InboundCluster(9080)) == "inbound|9080||"


def test_a_timeout_is_always_said_since_envoys_default_is_15_seconds() -> None:
    none = route(Route(RouteMatch(), forward())).route
    assert none.HasField("timeout")
    assert none.timeout.ToTimedelta() == timedelta()
    assert none.max_stream_duration.HasField("grpc_timeout_header_max")
    some = route(Route(RouteMatch(), forward(timeout=timedelta(seconds=3)))).route
    assert some.timeout.ToTimedelta() == timedelta(seconds=3)
    assert some.max_grpc_timeout.seconds == 3
    assert not some.HasField("max_stream_duration"), "Envoy would ignore the timeout"


def test_headers_of_a_single_destination_follow_those_of_the_route() -> None:
    own = HeaderOperations(request_set=(("x", "route"),))
    cluster = WeightedCluster(KEY, 1, HeaderOperations(request_set=(("x", "cluster"),)))
    proto = route(Route(RouteMatch(), forward(cluster), headers=own))
    assert [h.header.value for h in proto.request_headers_to_add] == ["route", "cluster"]
    both = route(Route(RouteMatch(), forward(cluster, WeightedCluster(KEY)), headers=own))
    assert [h.header.value for h in both.request_headers_to_add] == ["route"]
    (first, _) = both.route.weighted_clusters.clusters
    assert [h.header.value for h in first.request_headers_to_add] == ["cluster"]


def test_the_routes_authority_wins_over_a_destinations() -> None:
    cluster = WeightedCluster(KEY, authority="destination")
    assert route(Route(RouteMatch(), forward(cluster))).route.host_rewrite_literal == "destination"
    action = RouteTo((cluster,), authority="route")
    assert route(Route(RouteMatch(), action)).route.host_rewrite_literal == "route"


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (HeaderHash("x-user"), 'header {\n  header_name: "x-user"\n}\n'),
        (SourceIpHash(), "connection_properties {\n  source_ip: true\n}\n"),
        (QueryParameterHash("user"), 'query_parameter {\n  name: "user"\n}\n'),
        (CookieHash("c"), 'cookie {\n  name: "c"\n}\n'),
        (
            CookieHash("c", "/", timedelta(0), (("SameSite", "Lax"),)),
            'cookie {\n  name: "c"\n  ttl {\n  }\n  path: "/"\n  attributes {\n'
            '    name: "SameSite"\n    value: "Lax"\n  }\n}\n',
        ),
    ],
)
def test_hash_policies(policy: HashPolicy, expected: str) -> None:
    assert str(hash_policy(policy)) == expected


def test_rewrites() -> None:
    def rewritten(rewrite: PathRewrite | RegexRewrite) -> str:
        proto = route(Route(RouteMatch(), RouteTo((WeightedCluster(KEY),), rewrite))).route
        return f"{proto.prefix_rewrite}|{proto.regex_rewrite.pattern.regex}"

    assert rewritten(PathRewrite("/new")) == "/new|"
    assert rewritten(RegexRewrite("^/a", "/b")) == "|^/a"


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (301, "MOVED_PERMANENTLY"),
        (302, "FOUND"),
        (303, "SEE_OTHER"),
        (307, "TEMPORARY_REDIRECT"),
        (308, "PERMANENT_REDIRECT"),
    ],
)
def test_redirect_codes(code: int, name: str) -> None:
    proto = redirect_action(Redirect(code=code))
    assert proto.RedirectResponseCode.Name(proto.response_code) == name


def test_unknown_hosts_come_last() -> None:
    known = VirtualHost("zzz", 80, ("zzz",), ())

    def last(unknown: UnknownHosts) -> tuple[str, str, int]:
        host = route_configuration(RouteTable("80", (known,), unknown)).virtual_hosts[-1]
        action = host.routes[0] if host.routes else None
        cluster = "" if action is None else action.route.cluster
        return host.name, cluster, 0 if action is None else action.direct_response.status

    assert last(UnknownHosts.NOT_FOUND) == ("zzz:80", "", 0)
    assert last(UnknownHosts.PASSTHROUGH) == ("allow_any", "PassthroughCluster", 0)
    assert last(UnknownHosts.BLOCK) == ("block_all", "", 502)


def test_equal_tables_give_equal_bytes() -> None:
    def encoded() -> bytes:
        host = VirtualHost("a", 80, ("a",), (Route(RouteMatch(), forward()),), ("b",))
        table = RouteTable("80", (host,), UnknownHosts.PASSTHROUGH)
        return bytes(route_configuration(table).SerializeToString(deterministic=True))

    assert encoded() == encoded()


def test_a_table_in_parts_is_the_table() -> None:
    hosts = tuple(
        VirtualHost(name, 80, (name,), (Route(RouteMatch(), forward()),)) for name in ("a", "b")
    )
    for unknown in UnknownHosts:
        table = RouteTable("80", hosts, unknown)
        whole = route_configuration(table).SerializeToString(deterministic=True)
        parts = encoded_route_configuration(table, encoded_virtual_host)
        assert b"".join(parts) == whole
        assert parts[1] == encoded_virtual_host(hosts[0])
