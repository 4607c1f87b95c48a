"""Routes of gateways: what is bound to which server, and how hosts are merged."""

from argosy.base.names import Hostname, Namespace, ObjectKey
from argosy.base.problems import Severity
from argosy.model.proxy import ProxyType, Scope
from argosy.model.route import (
    Attachment,
    DirectResponse,
    HashPolicy,
    HttpRule,
    Origin,
    Prefix,
    Redirect,
    RouteMatch,
    RouteServer,
    RuleMatch,
    RuleRedirect,
)
from argosy.model.service import Service
from argosy.pilot.compile.gateway_routes import AttachedRules, gateway_virtual_hosts

SCOPE = Scope(ProxyType.ROUTER, Namespace("istio-system"))
EDGE = "istio-system/edge"


class Lookup:
    def service(self, host: Hostname) -> Service | None:
        return None

    def subsets(self, host: Hostname) -> frozenset[str]:
        return frozenset()

    def hash_policy(self, host: Hostname, port: int, subset: str) -> HashPolicy | None:
        return None


def bound(
    name: str,
    *hosts: str,
    created: str = "",
    namespace: str = "default",
    gateways: tuple[str, ...] = (EDGE,),
    paths: tuple[str, ...] = ("/",),
    status: int = 200,
) -> AttachedRules:
    key = ObjectKey("VirtualService", Namespace(namespace), name)
    matches = tuple(RuleMatch(RouteMatch(Prefix(path))) for path in paths)
    rule = HttpRule(key, Origin(key, "spec.http[0]"), matches, DirectResponse(status))
    names = tuple(Hostname(host) for host in hosts)
    return Attachment(key, names, frozenset(gateways), frozenset({"*"}), created), (rule,)


def server(
    *hosts: str, gateway: str = EDGE, port: int = 80, tls: bool = False, redirect: bool = False
) -> RouteServer:
    pairs = tuple((ns, Hostname(host)) for ns, _, host in (h.partition("/") for h in hosts))
    return RouteServer(gateway, port, pairs, tls, redirect)


def served(
    servers: list[RouteServer], *attached: AttachedRules
) -> dict[tuple[str, ...], list[tuple[str, int]]]:
    """Domains → path and status of each route."""
    found = gateway_virtual_hosts(servers, attached, SCOPE, Lookup()).value
    return {
        host.domains: [
            (route.match.path.value, route.action.status)
            for route in host.routes
            if isinstance(route.action, DirectResponse)
        ]
        for host in found
    }


def test_only_hosts_that_both_sides_name_are_served() -> None:
    rules = bound("vs", "a.example.com", "b.org", "*.c.com")
    assert served([server("*/*.example.com", "*/x.c.com")], rules) == {
        ("a.example.com", "x.c.com"): [("/", 200)]
    }


def test_a_server_may_be_for_one_namespace() -> None:
    ours, theirs = bound("a", "a.com"), bound("b", "b.com", namespace="other")
    assert list(served([server("other/*")], ours, theirs)) == [("b.com",)]


def test_only_what_names_the_gateway_is_bound() -> None:
    elsewhere = bound("vs", "a.com", gateways=("default/edge", "mesh"))
    assert served([server("*/*")], elsewhere) == {("*",): []}


def test_older_rules_go_first_and_one_catch_all_goes_last() -> None:
    young = bound("a", "a.com", created="2026-02-01", paths=("/young", "/"), status=201)
    old = bound("b", "a.com", created="2026-01-01", paths=("/old", "/"), status=202)
    expected = [("/old", 202), ("/young", 201), ("/", 202)]
    for attached in ([young, old], [old, young]):
        found = gateway_virtual_hosts([server("*/*")], attached, SCOPE, Lookup())
        assert served([server("*/*")], *attached) == {("a.com",): expected}
        (problem,) = found.problems
        assert problem.object.name == "a"
        assert problem.severity is Severity.WARNING
        assert "VirtualService default/b" in problem.message


def test_servers_of_several_gateways_share_a_host_in_any_order() -> None:
    other = "default/other"
    one, two = server("*/a.com"), server("*/*", gateway=other)
    rules = bound("vs", "a.com", gateways=(EDGE, other))
    assert served([one, two], rules) == served([two, one], rules) == {("a.com",): [("/", 200)]}


def test_https_redirect_holds_for_every_host_of_its_server() -> None:
    servers = [server("*/a.com", "*/b.com", redirect=True)]
    found = gateway_virtual_hosts(servers, [bound("vs", "a.com")], SCOPE, Lookup()).value
    assert [(host.domains, host.require_tls, len(host.routes)) for host in found] == [
        (("a.com",), True, 1),
        (("b.com",), True, 0),
    ]


def test_the_scheme_of_the_server_decides_the_default_port_of_a_redirect() -> None:
    attachment, (rule,) = bound("vs", "a.com")
    redirecting = HttpRule(
        rule.virtual_service, rule.source, rule.matches, RuleRedirect(Redirect(port=443))
    )
    for tls, expected in ((True, None), (False, 443)):
        (host,) = gateway_virtual_hosts(
            [server("*/*", port=443, tls=tls)], [(attachment, (redirecting,))], SCOPE, Lookup()
        ).value
        action = host.routes[0].action
        assert isinstance(action, Redirect)
        assert action.port == expected


def test_a_server_without_rules_answers_404() -> None:
    (host,) = gateway_virtual_hosts([server("*/*")], [], SCOPE, Lookup()).value
    assert (host.host, host.port, host.domains, host.routes) == ("blackhole", 80, ("*",), ())
