"""Any VirtualServices that the API admits: Envoy takes what becomes of them, in any order."""

import tempfile
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from argosy.api.meta import Duration, Metadata
from argosy.api.networking_virtual_service import (
    CorsPolicy,
    Destination,
    FaultAbort,
    FaultDelay,
    HeaderOperations,
    Headers,
    HTTPBody,
    HTTPDirectResponse,
    HTTPFaultInjection,
    HTTPMatchRequest,
    HTTPMirrorPolicy,
    HTTPRedirect,
    HTTPRetry,
    HTTPRewrite,
    HTTPRoute,
    HTTPRouteDestination,
    Percent,
    PortSelector,
    RegexRewrite,
    StringMatch,
    VirtualService,
    VirtualServiceSpec,
)
from argosy.base.names import Hostname, Namespace
from argosy.model.proxy import ProxyType, Scope
from argosy.model.route import (
    CookieHash,
    HashPolicy,
    RouteServer,
    RouteTable,
    UnknownHosts,
)
from argosy.model.service import Protocol, Service, ServicePort
from argosy.pilot.compile.actions import GRPC_STATUS
from argosy.pilot.compile.attachments import mesh_conflicts, winner
from argosy.pilot.compile.gateway_routes import gateway_table
from argosy.pilot.compile.references import check_references
from argosy.pilot.compile.routes import mesh_table, mesh_virtual_host
from argosy.pilot.compile.virtual_services import attachment, compile_virtual_service
from argosy.pilot.translate.route import route_configuration
from argosy.testing.route_listener import route_listener
from argosy.testing.running_envoy import validate

NAMES = ("a", "b", "c")
SCOPE = Scope(ProxyType.SIDECAR, Namespace("default"), ((("app", "x"),),))
GATEWAY = RouteServer("default/edge", 80, (("*", Hostname("*")),))


def host(name: str) -> Hostname:
    return Hostname(f"{name}.default.svc.cluster.local")


SERVICES = {
    host(name): Service(
        host(name),
        name,
        Namespace("default"),
        (ServicePort(80, "http", Protocol.HTTP, 80),),
        (f"10.96.0.{index}",),
    )
    for index, name in enumerate(NAMES)
}


class Lookup:
    def service(self, host: Hostname) -> Service | None:
        return SERVICES.get(host)

    def subsets(self, host: Hostname) -> frozenset[str]:
        return frozenset({"v1"})

    def hash_policy(self, host: Hostname, port: int, subset: str) -> HashPolicy | None:
        return CookieHash("session", "/") if subset == "v1" else None


def optional(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.none() | strategy


TOKEN = st.text("abcXYZ019-_.", min_size=1, max_size=8)
HEADER_TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=12
) | st.sampled_from(("%REQ(:path)%", "50%", "%%", "%START_TIME(%s.%3f)%", "%NOPE%", "%REQ%"))
URI = st.text("/abc?#%.~ é", max_size=8).map(lambda text: f"/{text}")
REGEX = st.sampled_from(("[a-z]+", ".*", "/x/(a|b)/.*", "*", "", "(?i)x"))
DURATION = st.integers(0, 10_000_000).map(Duration)
POSITIVE = st.integers(1, 10_000_000).map(Duration)
PERCENT = st.builds(Percent, value=st.floats(0, 100))
MATCH = st.one_of(
    st.builds(StringMatch, exact=HEADER_TEXT),
    st.builds(StringMatch, prefix=HEADER_TEXT.filter(bool)),
    st.builds(StringMatch, regex=REGEX),
    st.just(StringMatch()),
)
PATH_MATCH = st.one_of(
    st.builds(StringMatch, exact=URI),
    st.builds(StringMatch, prefix=URI),
    st.builds(StringMatch, regex=REGEX.filter(lambda regex: regex not in ("*", ""))),
)
PSEUDO = st.one_of(
    st.builds(StringMatch, exact=TOKEN),
    st.builds(StringMatch, prefix=TOKEN),
    st.builds(StringMatch, regex=st.just("GET|POST")),
)
HEADER_MATCHES = st.dictionaries(TOKEN | st.just("@request.auth.claims[a][b]"), MATCH, max_size=2)
MATCHES = st.builds(
    HTTPMatchRequest,
    name=st.just("") | TOKEN,
    uri=optional(PATH_MATCH),
    scheme=optional(PSEUDO),
    method=optional(PSEUDO),
    authority=optional(PSEUDO),
    headers=HEADER_MATCHES,
    without_headers=HEADER_MATCHES,
    query_params=st.dictionaries(TOKEN, MATCH, max_size=2),
    port=st.sampled_from((0, 0, 80, 81)),
    source_labels=st.sampled_from(({}, {"app": "x"}, {"app": "y"})),
    source_namespace=st.sampled_from(("", "default", "other")),
    ignore_uri_case=st.booleans(),
    stat_prefix=st.just("") | TOKEN,
)
DESTINATION = st.builds(
    Destination,
    host=st.sampled_from((*NAMES, "missing", "full.example.com")),
    subset=st.sampled_from(("", "v1", "v9")),
    port=optional(st.builds(PortSelector, number=st.integers(1, 65535))),
)
PAIRS = st.dictionaries(TOKEN | st.sampled_from(("Host", ":authority")), HEADER_TEXT, max_size=2)
OPERATIONS = st.builds(
    HeaderOperations, set=PAIRS, add=PAIRS, remove=st.lists(TOKEN, max_size=2).map(tuple)
)
HEADERS = st.builds(Headers, request=optional(OPERATIONS), response=optional(OPERATIONS))
ROUTES = st.lists(
    st.builds(
        HTTPRouteDestination,
        destination=DESTINATION,
        weight=st.integers(0, 100),
        headers=optional(HEADERS),
    ),
    min_size=1,
    max_size=3,
).map(tuple)
RETRIES = st.builds(
    HTTPRetry,
    attempts=st.integers(0, 5),
    per_try_timeout=optional(POSITIVE),
    retry_on=st.sampled_from(("", "5xx", "503,504", "gateway-error, 429 ,", "no-such-condition")),
    retry_remote_localities=st.none() | st.booleans(),
    retry_ignore_previous_hosts=st.none() | st.booleans(),
    backoff=optional(POSITIVE),
)
FAULT = st.builds(
    HTTPFaultInjection,
    delay=optional(st.builds(FaultDelay, fixed_delay=DURATION, percentage=optional(PERCENT))),
    abort=optional(
        st.builds(FaultAbort, http_status=st.integers(100, 700), percentage=optional(PERCENT))
        | st.builds(FaultAbort, grpc_status=st.sampled_from((*GRPC_STATUS, "NONSENSE")))
    ),
)
CORS = st.builds(
    CorsPolicy,
    allow_origins=st.lists(MATCH.filter(lambda m: m.regex != "*"), max_size=2).map(tuple),
    allow_origin=st.lists(TOKEN, max_size=1).map(tuple),
    allow_methods=st.lists(TOKEN, max_size=2).map(tuple),
    max_age=optional(DURATION),
    allow_credentials=st.none() | st.booleans(),
    unmatched_preflights=st.sampled_from(("UNSPECIFIED", "FORWARD", "IGNORE")),
)
REWRITE = st.one_of(
    st.builds(HTTPRewrite, uri=URI | st.just(""), authority=TOKEN | st.just("")),
    st.builds(
        HTTPRewrite,
        uri_regex_rewrite=st.just(RegexRewrite(match="^/(.*)$", rewrite=r"/x\1")),
    ),
)
FORWARDS = st.builds(
    HTTPRoute,
    name=st.just("") | TOKEN,
    match=st.lists(MATCHES, max_size=3).map(tuple),
    route=ROUTES,
    rewrite=optional(REWRITE),
    timeout=optional(DURATION),
    retries=optional(RETRIES),
    fault=optional(FAULT),
    mirror=optional(DESTINATION),
    mirror_percentage=optional(PERCENT),
    mirrors=st.lists(
        st.builds(HTTPMirrorPolicy, destination=DESTINATION, percentage=optional(PERCENT)),
        max_size=2,
    ).map(tuple),
    cors_policy=optional(CORS),
    headers=optional(HEADERS),
)
ANSWERS = st.builds(
    HTTPRoute,
    match=st.lists(MATCHES, max_size=2).map(tuple),
    direct_response=st.builds(
        HTTPDirectResponse,
        status=st.integers(0, 700),
        body=optional(st.builds(HTTPBody, string=st.text(max_size=20)) | st.just(HTTPBody())),
    ),
    fault=optional(FAULT),
    headers=optional(HEADERS),
)
REDIRECTS = st.builds(
    HTTPRoute,
    match=st.lists(MATCHES, max_size=2).map(tuple),
    redirect=st.builds(
        HTTPRedirect,
        uri=URI | st.just(""),
        authority=TOKEN | st.just(""),
        scheme=st.sampled_from(("", "http", "https")),
        port=st.none() | st.integers(1, 65535),
        redirect_code=st.sampled_from((0, 301, 302, 303, 304, 307, 308)),
    ),
    headers=optional(HEADERS),
)
RULES = st.lists(FORWARDS | FORWARDS | ANSWERS | REDIRECTS, min_size=1, max_size=3).map(tuple)


@st.composite
def virtual_services(draw: st.DrawFn, size: int) -> list[VirtualService]:
    """Several, of different names, some for the same host and of the same age."""
    return [
        VirtualService(
            metadata=Metadata(
                name=f"vs-{index}",
                namespace=draw(st.sampled_from(("default", "other"))),
                creation_timestamp=draw(st.sampled_from(("", "2026-01-01T00:00:00Z"))),
            ),
            spec=VirtualServiceSpec(
                hosts=tuple(
                    draw(st.sets(st.sampled_from([*SERVICES, "*.example.com"]), min_size=1))
                ),
                gateways=draw(st.sampled_from(((), ("mesh", "default/edge"), ("default/edge",)))),
                export_to=draw(st.sampled_from(((), ("*",), (".",), ("default",)))),
                http=draw(RULES),
            ),
        )
        for index in range(size)
    ]


def tables(written: list[VirtualService]) -> list[RouteTable]:
    claims = {}
    for vs in written:
        found = compile_virtual_service(vs, lambda _, __: None)
        claims[attachment(vs).value] = found.value
    hosts = []
    for service in SERVICES.values():
        best = winner(claims, service.hostname, SCOPE.namespace)
        rules = () if best is None else claims[best]
        hosts.append(mesh_virtual_host(service, service.ports[0], rules, SCOPE, Lookup()))
    gateway = gateway_table("http.8080", [GATEWAY], claims.items(), SCOPE, Lookup())
    return [mesh_table("80", hosts, UnknownHosts.PASSTHROUGH), gateway.value]


def encoded(written: list[VirtualService]) -> list[bytes]:
    return [
        route_configuration(table).SerializeToString(deterministic=True)
        for table in tables(written)
    ]


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(virtual_services(3))
def test_any_order_gives_equal_bytes(written: list[VirtualService]) -> None:
    expected = encoded(written)
    for order in permutations(written):
        assert encoded(list(order)) == expected


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(virtual_services(3))
def test_any_order_gives_equal_problems(written: list[VirtualService]) -> None:
    claims = [attachment(vs).value for vs in written]
    conflicts = mesh_conflicts(claims)
    assert all(mesh_conflicts(order) == conflicts for order in permutations(claims))
    for vs in written:
        rules = compile_virtual_service(vs, lambda _, __: None)
        problems = check_references(attachment(vs).value, rules.value, Lookup())
        for problem in (*rules.problems, *problems):
            assert problem.object == vs.key
            assert problem.field.startswith("spec.")
            assert problem.message


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(virtual_services(3))
def test_no_domain_twice_and_nothing_after_a_catch_all(written: list[VirtualService]) -> None:
    for table in tables(written):
        domains = [d for host in table.virtual_hosts for d in (*host.domains, *host.aliases)]
        assert len(domains) == len(set(domains))
        for virtual_host in table.virtual_hosts:
            before = virtual_host.routes[:-1]
            assert not any(route.match.is_catch_all for route in before)


@pytest.mark.envoy
@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(virtual_services(3), min_size=8, max_size=8))
def test_envoy_accepts_them(batch: list[list[VirtualService]]) -> None:
    built = [table for written in batch for table in tables(written)]
    with tempfile.TemporaryDirectory() as folder:
        validate(
            Path(folder),
            listeners=[
                route_listener(f"table-{index}", route_configuration(table))
                for index, table in enumerate(built)
            ],
        )
