"""What compile says of VirtualServices that the golden cases do not show."""

from collections.abc import Mapping

import pytest

from argosy.api.meta import Metadata
from argosy.api.networking_virtual_service import (
    Delegate,
    Destination,
    HeaderOperations,
    Headers,
    HTTPMatchRequest,
    HTTPMirrorPolicy,
    HTTPRewrite,
    HTTPRoute,
    HTTPRouteDestination,
    StringMatch,
    VirtualService,
    VirtualServiceSpec,
)
from argosy.base.names import Namespace
from argosy.base.problems import Problem
from argosy.model.route import ClaimMatch, Exact, Forward, HttpRule, Prefix, Present
from argosy.pilot.compile.virtual_services import (
    attachment,
    compile_virtual_service,
    source_selectors,
)

TO_REVIEWS = (HTTPRouteDestination(destination=Destination(host="reviews")),)


def service(
    *http: HTTPRoute,
    name: str = "vs",
    namespace: str = "default",
    hosts: tuple[str, ...] = ("reviews",),
    gateways: tuple[str, ...] = (),
    export_to: tuple[str, ...] = (),
) -> VirtualService:
    return VirtualService(
        metadata=Metadata(name=name, namespace=namespace),
        spec=VirtualServiceSpec(hosts=hosts, gateways=gateways, http=http, export_to=export_to),
    )


def route(
    *matches: HTTPMatchRequest, headers: Headers | None = None, rewrite: HTTPRewrite | None = None
) -> HTTPRoute:
    return HTTPRoute(match=matches, route=TO_REVIEWS, headers=headers, rewrite=rewrite)


def path(
    prefix: str | None = None, exact: str | None = None, headers: Mapping[str, StringMatch] = {}
) -> HTTPMatchRequest:
    uri = StringMatch(prefix=prefix, exact=exact)
    return HTTPMatchRequest(uri=uri, headers=headers)


def compiled(
    vs: VirtualService, *delegates: VirtualService
) -> tuple[tuple[HttpRule, ...], tuple[Problem, ...]]:
    known = {(d.key.namespace, d.key.name): d for d in delegates}
    result = compile_virtual_service(vs, lambda ns, name: known.get((ns, name)))
    return result.value, result.problems


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("mesh", "mesh"),
        ("edge", "default/edge"),
        ("./edge", "default/edge"),
        ("other/edge", "other/edge"),
        ("edge.other.svc.cluster.local", "other/edge"),
    ],
)
def test_gateway_names(written: str, expected: str) -> None:
    assert attachment(service(route(), gateways=(written,))).value.gateways == {expected}


def test_without_gateways_it_is_for_the_mesh_and_without_export_to_for_all() -> None:
    claim = attachment(service(route())).value
    assert claim.gateways == {"mesh"}
    assert claim.export_to == {"*"}
    assert attachment(service(route(), export_to=(".", "a"))).value.export_to == {"default", "a"}
    assert attachment(service(route(), export_to=("~",))).value.export_to == frozenset()


def test_the_bare_wildcard_is_for_gateways() -> None:
    (problem,) = attachment(service(route(), hosts=("a", "*"))).problems
    assert (problem.code, problem.field) == ("WildcardHostOnMesh", "spec.hosts[1]")
    assert attachment(service(route(), hosts=("*",), gateways=("edge",))).problems == ()


def test_source_selectors_are_the_label_sets_of_all_matches() -> None:
    one = HTTPMatchRequest(source_labels={"b": "2", "a": "1"})
    two = HTTPMatchRequest(source_labels={"a": "1"})
    vs = service(route(one, two), route(one, path(prefix="/")))
    assert source_selectors(vs) == {(("a", "1"), ("b", "2")), (("a", "1"),)}


def test_claims_outside_gateways_are_reported() -> None:
    match = path(prefix="/", headers={"@request.auth.claims[a][b.c]": StringMatch()})
    rules, (problem,) = compiled(service(route(match)))
    assert problem.code == "ClaimMatchOutsideGateway"
    assert problem.field == "spec.http[0].match[0].headers"
    assert rules[0].matches[0].request.claims == (ClaimMatch(("a", "b.c"), Present()),)
    assert compiled(service(route(match), gateways=("edge",)))[1] == ()


def test_source_labels_at_gateways_only_are_reported() -> None:
    match = HTTPMatchRequest(source_labels={"a": "b"}, uri=StringMatch(prefix="/a"))
    _, (problem,) = compiled(service(route(match), gateways=("edge",)))
    assert problem.code == "SourceConditionOutsideMesh"
    assert compiled(service(route(match), gateways=("edge", "mesh")))[1] == ()


def test_a_gateway_that_the_service_does_not_list_is_reported() -> None:
    match = HTTPMatchRequest(gateways=("edge",), uri=StringMatch(prefix="/a"))
    _, (problem,) = compiled(service(route(match)))
    assert (problem.code, problem.field) == ("GatewayNotListed", "spec.http[0].match[0].gateways")


@pytest.mark.parametrize(
    ("earlier", "later", "unreachable"),
    [
        (path(prefix="/a"), path(prefix="/a/b"), True),
        (path(prefix="/a"), path(exact="/ab"), True),
        (path(prefix="/a/b"), path(prefix="/a"), False),
        (path(exact="/a"), path(prefix="/a"), False),
        (path(prefix="/a", headers={"x": StringMatch()}), path(prefix="/a/b"), False),
        (path(prefix="/a"), path(prefix="/a", headers={"x": StringMatch()}), True),
        (HTTPMatchRequest(port=80), path(prefix="/a"), False),
        (HTTPMatchRequest(source_labels={"a": "b"}), path(prefix="/a"), False),
        (path(prefix="/"), HTTPMatchRequest(source_labels={"a": "b"}), True),
    ],
)
def test_unreachable_rules(
    earlier: HTTPMatchRequest, later: HTTPMatchRequest, unreachable: bool
) -> None:
    _, problems = compiled(service(route(earlier), route(later)))
    assert [p.code for p in problems] == (["UnreachableRule"] if unreachable else [])
    assert all(p.field == "spec.http[1].match[0]" for p in problems)


def test_the_rewrites_authority_wins_over_the_headers() -> None:
    headers = Headers(request=HeaderOperations(set={"Host": "headers.example.com"}))
    (rule,), _ = compiled(service(route(headers=headers)))
    assert isinstance(rule.action, Forward)
    assert rule.action.authority == "headers.example.com"
    rewrite = HTTPRewrite(authority="rewrite.example.com")
    (rule,), _ = compiled(service(route(headers=headers, rewrite=rewrite)))
    assert isinstance(rule.action, Forward)
    assert rule.action.authority == "rewrite.example.com"
    assert rule.headers.request_set == ()


def test_a_rule_that_does_nothing_is_left_out_and_the_others_stay() -> None:
    rules, (problem,) = compiled(service(HTTPRoute(), route()))
    assert (problem.code, problem.field) == ("NoAction", "spec.http[0]")
    assert [rule.source.field for rule in rules] == ["spec.http[1]"]


def delegating(*matches: HTTPMatchRequest, **fields: object) -> VirtualService:
    http = HTTPRoute(match=matches, delegate=Delegate(name="child", namespace="other"), **fields)  # type: ignore[arg-type]
    return service(http)


def child(*http: HTTPRoute, export_to: tuple[str, ...] = ()) -> VirtualService:
    return service(*http, name="child", namespace="other", hosts=(), export_to=export_to)


def test_a_delegates_problems_are_its_own() -> None:
    rules, (problem,) = compiled(delegating(), child(HTTPRoute(), route()))
    assert problem.object == child().key
    assert problem.field == "spec.http[0]"
    assert rules[0].source.object == child().key
    assert rules[0].virtual_service == service().key


def test_short_names_mean_the_namespace_of_the_object_that_says_them() -> None:
    mirrors = (HTTPMirrorPolicy(destination=Destination(host="ratings")),)
    ((rule,), problems) = compiled(delegating(mirrors=mirrors), child(route()))
    assert problems == ()
    assert isinstance(rule.action, Forward)
    assert rule.action.destinations[0].destination.host == "reviews.other.svc.cluster.local"
    assert rule.action.mirrors[0].destination.host == "ratings.default.svc.cluster.local"


def test_a_delegate_must_be_exported_to_its_root() -> None:
    rules, (problem,) = compiled(delegating(), child(route(), export_to=(".",)))
    assert problem.code == "DelegateNotVisible"
    assert rules == ()
    rules, problems = compiled(delegating(), child(route(), export_to=("default",)))
    assert (len(rules), problems) == (1, ())


def test_the_roots_conditions_on_the_client_stay() -> None:
    match = HTTPMatchRequest(source_labels={"a": "b"}, uri=StringMatch(prefix="/a"))
    (rule,), _ = compiled(delegating(match), child(route(path(exact="/a/b"))))
    (merged,) = rule.matches
    assert merged.source_labels == (("a", "b"),)
    assert merged.request.path == Exact("/a/b")


def test_every_agreeing_pair_of_matches_stays() -> None:
    root = delegating(path(prefix="/a"), path(prefix="/b"))
    narrow = HTTPMatchRequest(method=StringMatch(exact="GET"))
    (rule,), _ = compiled(root, child(route(narrow, path(exact="/b/c"))))
    assert [m.request.path for m in rule.matches] == [Prefix("/a"), Prefix("/b"), Exact("/b/c")]


def test_the_same_delegate_may_serve_several_rules() -> None:
    delegate = Delegate(name="child", namespace="other")
    root = service(
        HTTPRoute(match=(path(prefix="/a"),), delegate=delegate),
        HTTPRoute(match=(path(prefix="/b"),), delegate=delegate),
    )
    rules, problems = compiled(root, child(route()))
    assert problems == ()
    assert [rule.matches[0].request.path for rule in rules] == [Prefix("/a"), Prefix("/b")]


def test_namespaces_are_not_mixed_up() -> None:
    assert child().key.namespace == Namespace("other")
    _, (problem,) = compiled(delegating(), service(route(), name="child"))
    assert problem.code == "DelegateNotFound"
