"""Routes of sidecars: domains, order, and what the golden cases do not show."""

from dataclasses import replace

from argosy.base.names import Hostname, Namespace, ObjectKey
from argosy.model.proxy import ClusterKey, ProxyType, Scope
from argosy.model.route import (
    DEFAULT_RETRIES,
    MESH,
    Destination,
    DirectResponse,
    Forward,
    HashPolicy,
    HttpRule,
    Origin,
    Prefix,
    Route,
    RouteMatch,
    RouteTo,
    RuleMatch,
    SourceIpHash,
    UnknownHosts,
    VirtualHost,
    WeightedDestination,
)
from argosy.model.service import Protocol, Service, ServicePort
from argosy.pilot.compile.routes import (
    Listening,
    default_route,
    distinct_domains,
    mesh_table,
    mesh_virtual_host,
    routes_of,
    rule_virtual_host,
)

KEY = ObjectKey("VirtualService", Namespace("default"), "vs")
HOST = Hostname("reviews.default.svc.cluster.local")
SCOPE = Scope(ProxyType.SIDECAR, Namespace("default"), ((("app", "a"),),))
ANSWER = DirectResponse(200)


class Lookup:
    """One service of two ports; subset ``sticky`` hashes by the source's address."""

    def service(self, host: Hostname) -> Service | None:
        ports = (
            ServicePort(80, "http", Protocol.HTTP, 80),
            ServicePort(81, "http-alt", Protocol.HTTP, 81),
        )
        return Service(HOST, "reviews", Namespace("default"), ports) if host == HOST else None

    def subsets(self, host: Hostname) -> frozenset[str]:
        return frozenset({"sticky"})

    def hash_policy(self, host: Hostname, port: int, subset: str) -> HashPolicy | None:
        return SourceIpHash() if subset == "sticky" else None


def rule(*matches: RuleMatch, action: Forward | DirectResponse = ANSWER) -> HttpRule:
    return HttpRule(KEY, Origin(KEY, "spec.http[0]"), matches or (RuleMatch(),), action)


def forward(*subsets: str, retries: bool = True, host: str = HOST) -> Forward:
    destinations = tuple(
        WeightedDestination(Destination(Hostname(host), subset), 1) for subset in subsets
    )
    return Forward(destinations, retries=DEFAULT_RETRIES if retries else None)


def routes(*rules: HttpRule, port: int = 80) -> tuple[Route, ...]:
    return routes_of(rules, Listening(MESH, port), SCOPE, Lookup())


def virtual_host(host: str, *domains: str, aliases: tuple[str, ...] = ()) -> VirtualHost:
    return VirtualHost(host, 80, domains, (), aliases)


def test_an_owner_keeps_its_name_against_anothers_alias() -> None:
    short = virtual_host("a.b.svc.cluster.local", "a.b.svc.cluster.local", aliases=("a.b",))
    owner = virtual_host("a.b", "a.b")
    for order in ([short, owner], [owner, short]):
        kept = {host.host: host.domains + host.aliases for host in distinct_domains(order)}
        assert kept == {"a.b": ("a.b",), "a.b.svc.cluster.local": ("a.b.svc.cluster.local",)}


def test_of_two_owners_the_first_by_name_keeps_the_domain_and_an_empty_one_goes() -> None:
    one = virtual_host("one", "one", "10.0.0.1")
    two = virtual_host("two", "10.0.0.1")
    assert distinct_domains([two, one]) == (one,)


def test_domains_are_compared_without_case() -> None:
    one, two = virtual_host("One.com", "One.com"), virtual_host("one.com", "one.com", "x")
    assert [host.domains for host in distinct_domains([one, two])] == [("One.com",), ("x",)]


def test_a_table_is_the_same_whatever_the_order() -> None:
    hosts = [virtual_host(name, name, aliases=("short",)) for name in ("c", "a", "b")]
    tables = {
        mesh_table("80", order, UnknownHosts.BLOCK) for order in (tuple(hosts), tuple(hosts[::-1]))
    }
    assert len(tables) == 1


def test_nothing_follows_a_route_that_takes_everything() -> None:
    found = routes(rule(RuleMatch(RouteMatch(Prefix("/a")))), rule(), rule())
    assert [route.match.path for route in found] == [Prefix("/a"), Prefix("/")]


def test_conditions_on_labels_are_the_scopes_classes() -> None:
    mine = RuleMatch(source_labels=(("app", "a"),))
    other = RuleMatch(source_labels=(("app", "b"),))
    assert len(routes(rule(mine))) == 1
    assert routes(rule(other)) == ()


def test_the_port_that_the_client_called_is_the_destinations() -> None:
    (route,) = routes(rule(action=forward("")), port=81)
    assert isinstance(route.action, RouteTo)
    assert route.action.clusters[0].cluster == ClusterKey(81, "", HOST)


def test_a_consistent_hash_lets_a_retry_go_to_the_same_host() -> None:
    (plain,) = routes(rule(action=forward("")))
    (hashed,) = routes(rule(action=forward("sticky")))
    (none,) = routes(rule(action=forward("sticky", retries=False)))
    assert isinstance(plain.action, RouteTo)
    assert plain.action.retries == replace(DEFAULT_RETRIES, previous_hosts=True)
    assert isinstance(hashed.action, RouteTo)
    assert hashed.action.retries == replace(DEFAULT_RETRIES, previous_hosts=False)
    assert hashed.action.hash_policies == (SourceIpHash(),)
    assert isinstance(none.action, RouteTo)
    assert none.action.retries is None


def test_equal_hash_policies_of_several_destinations_stand_once() -> None:
    (route,) = routes(rule(action=forward("sticky", "", "sticky")))
    assert isinstance(route.action, RouteTo)
    assert route.action.hash_policies == (SourceIpHash(),)


def test_without_rules_for_the_client_a_service_has_its_default_route() -> None:
    service = Lookup().service(HOST)
    assert service is not None
    found = mesh_virtual_host(service, service.ports[1], (), SCOPE, Lookup())
    assert found.routes == (default_route(HOST, 81, Lookup()),)
    assert (found.host, found.port, found.domains) == (HOST, 81, (HOST,))


def test_a_host_that_is_no_service_needs_a_rule_and_is_not_the_wildcard() -> None:
    only_other_port = rule(RuleMatch(port=81))
    host = Hostname("bookinfo.com")
    assert rule_virtual_host(host, 80, (only_other_port,), SCOPE, Lookup()) is None
    assert rule_virtual_host(Hostname("*"), 80, (rule(),), SCOPE, Lookup()) is None
    found = rule_virtual_host(host, 81, (only_other_port,), SCOPE, Lookup())
    assert found is not None
    assert found.domains == ("bookinfo.com",)
