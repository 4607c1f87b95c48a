"""DestinationRules: which is in force, and what its cluster is. Whole clusters: the golden cases."""

import dataclasses
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.api.networking_destination_rule import DestinationRule
from argosy.api.typed import decode_hook
from argosy.base.names import Hostname, Namespace
from argosy.model.proxy import ProxyType, Scope
from argosy.model.route import CookieHash, HashPolicy, HeaderHash, QueryParameterHash, SourceIpHash
from argosy.model.service import Protocol, Service, ServicePort
from argosy.model.traffic import (
    Cluster,
    Destination,
    Discovery,
    LeastRequest,
    MeshTls,
    MeshTlsUse,
    NamePrefix,
    OutlierDetection,
    Plaintext,
    Random,
    RoundRobin,
    TrafficDefaults,
    TrafficPolicy,
    UpstreamProtocol,
)
from argosy.model.workload import Labels
from argosy.pilot.compile.destinations import (
    DestinationIndex,
    Target,
    check,
    client_selector,
    cluster,
    default_pool,
    destination,
    index,
    select,
)
from argosy.pilot.compile.endpoints import EndpointSummary
from argosy.pilot.compile.mesh import Mesh
from argosy.pilot.compile.port_policies import hash_policy, policy_of, subset_names

HOST = Hostname("reviews.default.svc.cluster.local")
ROOT = Namespace("istio-system")
MESHED = EndpointSummary(("spiffe://cluster.local/ns/default/sa/reviews",), all_mtls=True)
MIXED = dataclasses.replace(MESHED, all_mtls=False)
NOBODY = EndpointSummary()


def a_rule(
    spec: dict[str, Any] | None = None,
    *,
    host: str = "reviews",
    name: str = "rule",
    namespace: str = "default",
    created: str = "",
) -> DestinationRule:
    metadata = {"name": name, "namespace": namespace, "creationTimestamp": created}
    whole = {"metadata": metadata, "spec": {"host": host, **(spec or {})}}
    return msgspec.convert(whole, DestinationRule, dec_hook=decode_hook)


def compiled(rule: DestinationRule, mesh: Mesh | None = None) -> Destination:
    result = destination(rule) if mesh is None else destination(rule, mesh)
    assert not result.problems
    return result.value


def with_policy(**policy: Any) -> Destination:
    return compiled(a_rule({"trafficPolicy": policy}))


def a_scope(
    namespace: str = "default",
    *classes: Labels,
    kind: ProxyType = ProxyType.SIDECAR,
) -> Scope:
    return Scope(kind, Namespace(namespace), classes)


def in_force(
    *rules: DestinationRule, scope: Scope | None = None, service: str = "default"
) -> str | None:
    values = [compiled(rule) for rule in rules]

    def index_of(namespace: Namespace) -> DestinationIndex:
        return index(v for v in values if v.rule.namespace == namespace).value

    found = select(HOST, Namespace(service), scope or a_scope(), ROOT, index_of)
    return None if found is None else found.rule.name


# Which rule.


def in_namespace(name: str, host: str = HOST, *export_to: str) -> DestinationRule:
    return a_rule({"exportTo": list(export_to)}, host=host, name=name, namespace=name)


@pytest.mark.parametrize(
    ("rules", "client", "expected"),
    [
        ([], "default", None),
        ([in_namespace("default")], "default", "default"),
        ([in_namespace("default")], "other", "default"),
        ([in_namespace("default"), in_namespace("other")], "other", "other"),
        ([in_namespace("default"), in_namespace("other")], "third", "default"),
        ([in_namespace("third")], "other", None),
        ([in_namespace("istio-system")], "other", "istio-system"),
        ([in_namespace("istio-system"), in_namespace("default")], "other", "default"),
        ([in_namespace("default", HOST, ".")], "default", "default"),
        ([in_namespace("default", HOST, ".")], "other", None),
        ([in_namespace("default", HOST, "other")], "other", "default"),
        ([in_namespace("default", HOST, "~")], "default", None),
        ([in_namespace("default", HOST, "."), in_namespace("istio-system")], "other", "istio-system"),
        # A wildcard in the client's namespace comes before an exact host elsewhere.
        ([in_namespace("other", "*.local"), in_namespace("default")], "other", "other"),
        # The root namespace's own proxies look at the service's namespace before its public rules.
        ([in_namespace("istio-system"), in_namespace("default")], "istio-system", "default"),
        ([in_namespace("istio-system", HOST, "."), in_namespace("default")], "istio-system", "istio-system"),
    ],
)  # fmt: skip
def test_lookup_order(rules: list[DestinationRule], client: str, expected: str | None) -> None:
    assert in_force(*rules, scope=a_scope(client)) == expected


def test_the_most_specific_host_wins() -> None:
    rules = [
        a_rule(host="*", name="all"),
        a_rule(host="*.cluster.local", name="domain"),
        a_rule(host="*.default.svc.cluster.local", name="namespace"),
        a_rule(host="reviews", name="service"),
    ]
    while rules:
        assert in_force(*rules) == rules[-1].metadata.name
        rules.pop()


def test_a_short_name_is_of_the_rules_own_namespace() -> None:
    assert in_force(a_rule(namespace="other"), scope=a_scope("other")) is None


def test_workload_selector() -> None:
    labels = {"app": "productpage"}
    selecting = a_rule(
        {"workloadSelector": {"matchLabels": labels}}, name="selecting", created="2026-01-02"
    )
    for_all = a_rule(name="all", created="2026-01-01")
    selector = client_selector(selecting)
    assert selector == (("app", "productpage"),)
    assert client_selector(for_all) is None
    assert in_force(for_all, selecting, scope=a_scope("default", selector)) == "selecting"
    assert in_force(for_all, selecting) == "all"
    assert in_force(selecting) is None
    # It chooses among the workloads of its own namespace only.
    assert in_force(selecting, scope=a_scope("other", selector)) is None


def test_rules_of_one_host_are_merged() -> None:
    subset = {"name": "v1", "labels": {"version": "v1"}}
    old = a_rule({"subsets": [subset]}, name="old", created="2026-01-01")
    new = a_rule(
        {
            "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}},
            "subsets": [{**subset, "labels": {"version": "other"}}, {**subset, "name": "v2"}],
        },
        name="new",
        created="2026-01-02",
    )
    result = index([compiled(new), compiled(old)])
    (merged,) = result.value.by_host[HOST]
    assert merged.rule.name == "old"
    assert subset_names(merged) == {"v1", "v2"}
    v1 = merged.get_subset("v1")
    assert v1 is not None
    assert v1.labels == (("version", "v1"),)
    assert policy_of(merged, 9080, "").load_balancer == Random()
    (problem,) = result.problems
    assert (problem.object.name, problem.code) == ("new", "DuplicateSubset")
    assert problem.field == "spec.subsets[0].name"


# Which policy.


def test_subsets_override_block_by_block() -> None:
    rule = compiled(
        a_rule(
            {
                "trafficPolicy": {
                    "loadBalancer": {"simple": "RANDOM"},
                    "outlierDetection": {"consecutive5xxErrors": 1},
                },
                "subsets": [
                    {
                        "name": "v1",
                        "labels": {"version": "v1"},
                        "trafficPolicy": {"loadBalancer": {"simple": "ROUND_ROBIN"}},
                    }
                ],
            }
        )
    )
    v1 = policy_of(rule, 9080, "v1")
    assert v1.load_balancer == RoundRobin()
    assert v1.outlier_detection == OutlierDetection(consecutive_5xx=1)
    assert policy_of(rule, 9080, "").load_balancer == Random()


def test_port_settings_inherit_nothing() -> None:
    rule = with_policy(
        loadBalancer={"simple": "RANDOM"},
        outlierDetection={"consecutive5xxErrors": 1},
        portLevelSettings=[{"port": {"number": 80}, "loadBalancer": {"simple": "ROUND_ROBIN"}}],
    )
    at_80 = policy_of(rule, 80, "")
    assert at_80.load_balancer == RoundRobin()
    assert at_80.outlier_detection is None
    assert policy_of(rule, 81, "").outlier_detection is not None


def test_the_meshs_default_policy_fills_the_gaps() -> None:
    default = TrafficPolicy(outlier_detection=OutlierDetection(consecutive_5xx=9))
    assert policy_of(None, 80, "", default).outlier_detection == default.outlier_detection
    own = with_policy(outlierDetection={"consecutive5xxErrors": 1})
    assert policy_of(own, 80, "", default).outlier_detection == OutlierDetection(1)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"httpHeaderName": "x-user"}, HeaderHash("x-user")),
        ({"useSourceIp": True}, SourceIpHash()),
        ({"httpQueryParameterName": "user"}, QueryParameterHash("user")),
        ({"httpCookie": {"name": "u", "path": "/"}}, CookieHash("u", "/")),
    ],
)
def test_hash_policy(written: dict[str, Any], expected: HashPolicy) -> None:
    rule = with_policy(loadBalancer={"consistentHash": written})
    assert hash_policy(rule, 80, "") == expected
    assert hash_policy(with_policy(loadBalancer={"simple": "RANDOM"}), 80, "") is None
    assert hash_policy(None, 80, "") is None


# Which cluster.


def a_cluster(
    rule: Destination | None = None,
    protocol: Protocol = Protocol.HTTP,
    endpoints: EndpointSummary = MESHED,
    *,
    client: ProxyType = ProxyType.SIDECAR,
    headless: bool = False,
    subset: str = "",
    defaults: TrafficDefaults = TrafficDefaults(),  # noqa: B008 (frozen)
) -> Cluster:
    port = ServicePort(9080, "p", protocol, 9080)
    service = Service(HOST, "reviews", Namespace("default"), (port,), headless=headless)
    return cluster(Target(service, port, subset, client), rule, endpoints, defaults)


HTTP1_LIMITS = with_policy(connectionPool={"http": {"http1MaxPendingRequests": 1}})
NO_UPGRADE = with_policy(connectionPool={"http": {"h2UpgradePolicy": "DO_NOT_UPGRADE"}})
UPGRADE = with_policy(connectionPool={"http": {"h2UpgradePolicy": "UPGRADE"}})
CLIENTS = with_policy(connectionPool={"http": {"useClientProtocol": True}})
IN_PLAINTEXT = with_policy(tls={"mode": "DISABLE"})
HTTP1, HTTP2 = UpstreamProtocol.HTTP1, UpstreamProtocol.HTTP2
DOWNSTREAM, TCP = UpstreamProtocol.DOWNSTREAM, UpstreamProtocol.TCP


@pytest.mark.parametrize(
    ("declared", "endpoints", "rule", "expected"),
    [
        (Protocol.HTTP, MESHED, None, HTTP2),
        (Protocol.HTTP, NOBODY, None, HTTP2),
        (Protocol.HTTP, MIXED, None, HTTP1),
        (Protocol.HTTP, MESHED, HTTP1_LIMITS, HTTP1),
        (Protocol.HTTP, MESHED, with_policy(connectionPool={"tcp": {"maxConnections": 1}}), HTTP1),
        (
            Protocol.HTTP,
            MESHED,
            with_policy(connectionPool={"http": {"maxRequestsPerConnection": 1}}),
            HTTP1,
        ),
        (Protocol.HTTP, MESHED, with_policy(connectionPool={"http": {"maxRetries": 1}}), HTTP2),
        (Protocol.HTTP, MESHED, NO_UPGRADE, HTTP1),
        (Protocol.HTTP, MIXED, UPGRADE, HTTP2),
        (Protocol.HTTP, MESHED, CLIENTS, DOWNSTREAM),
        (Protocol.HTTP, MESHED, IN_PLAINTEXT, HTTP1),
        (Protocol.HTTP, MESHED, with_policy(tls={"mode": "ISTIO_MUTUAL"}), HTTP2),
        (Protocol.HTTP, MESHED, with_policy(tls={"mode": "SIMPLE"}), HTTP1),
        (Protocol.GRPC, MIXED, None, HTTP2),
        (Protocol.HTTP2, MIXED, HTTP1_LIMITS, HTTP2),
        (Protocol.AUTO, MESHED, None, DOWNSTREAM),
        (Protocol.TCP, MESHED, None, TCP),
        (Protocol.TCP, MESHED, CLIENTS, TCP),
        (Protocol.HTTPS, MESHED, None, TCP),
    ],
)
def test_protocol(
    declared: Protocol,
    endpoints: EndpointSummary,
    rule: Destination | None,
    expected: UpstreamProtocol,
) -> None:
    assert a_cluster(rule, declared, endpoints).protocol is expected


def test_the_mesh_decides_about_http2_where_no_rule_does() -> None:
    always, never = TrafficDefaults(h2_upgrade=True), TrafficDefaults(h2_upgrade=False)
    assert a_cluster(endpoints=MIXED, defaults=always).protocol is HTTP2
    assert a_cluster(endpoints=MESHED, defaults=never).protocol is HTTP1
    assert a_cluster(UPGRADE, endpoints=MESHED, defaults=never).protocol is HTTP2
    assert a_cluster(protocol=Protocol.GRPC, defaults=never).protocol is HTTP2


def test_gateways_do_not_detect_and_have_nothing_dialled() -> None:
    found = a_cluster(protocol=Protocol.AUTO, client=ProxyType.ROUTER, headless=True)
    assert found.protocol is HTTP1
    assert found.discovery is Discovery.EDS


def test_headless() -> None:
    found = a_cluster(headless=True)
    assert found.discovery is Discovery.ORIGINAL_DST
    assert isinstance(found.tls, MeshTls)
    assert found.tls.use is MeshTlsUse.ALWAYS
    assert a_cluster(headless=True, endpoints=MIXED).tls == Plaintext()
    assert a_cluster(headless=True, endpoints=NOBODY).tls == Plaintext()
    assert a_cluster(headless=True, subset="v1").discovery is Discovery.EDS


def test_passthrough() -> None:
    found = a_cluster(with_policy(loadBalancer={"simple": "PASSTHROUGH"}))
    assert found.discovery is Discovery.ORIGINAL_DST
    assert found.load_balancer == LeastRequest()


def test_automatic_mtls() -> None:
    tls = a_cluster().tls
    assert isinstance(tls, MeshTls)
    assert tls.use is MeshTlsUse.PER_ENDPOINT
    assert [name.value for name in tls.peers] == list(MESHED.identities)
    assert a_cluster(defaults=TrafficDefaults(auto_mtls=False)).tls == Plaintext()
    assert a_cluster(IN_PLAINTEXT).tls == Plaintext()


def test_peers_are_pinned_even_before_there_are_any() -> None:
    tls = a_cluster(endpoints=NOBODY).tls
    assert isinstance(tls, MeshTls)
    assert tls.peers == (NamePrefix("spiffe://cluster.local/ns/default/"),)


def test_default_pool_is_the_meshs() -> None:
    assert default_pool(TrafficDefaults()) == a_cluster().connection_pool
    default = with_policy(connectionPool={"tcp": {"maxConnections": 5}}).policy
    assert default is not None
    assert default_pool(TrafficDefaults(policy=default)).max_connections == 5


# What is wrong.


BOTH = {"loadBalancer": {"zoneAwareLbSetting": {}, "localityLbSetting": {}}}


def test_zones_and_localities_exclude_each_other() -> None:
    (problem,) = destination(a_rule({"trafficPolicy": BOTH})).problems
    field = "spec.trafficPolicy.loadBalancer.localityLbSetting"
    assert (problem.code, problem.field) == ("NoEffect", field)


def test_problems_in_subsets_are_found_at_their_place() -> None:
    subset = {"name": "v1", "trafficPolicy": BOTH}
    (problem,) = destination(a_rule({"subsets": [subset]})).problems
    assert problem.field == "spec.subsets[0].trafficPolicy.loadBalancer.localityLbSetting"


def test_what_a_rule_names_must_be_there() -> None:
    port = ServicePort(9080, "http", Protocol.HTTP, 9080)
    service = Service(HOST, "reviews", Namespace("default"), (port,))
    rule = compiled(
        a_rule(
            {
                "trafficPolicy": {"portLevelSettings": [{"port": {"number": 1}}]},
                "subsets": [{"name": "v9", "labels": {"version": "v9"}}],
            }
        )
    )
    missing = check(rule, lambda _: None, lambda *_: True)
    assert [p.code for p in missing] == ["UnknownDestinationRuleHost"]
    found = check(rule, lambda _: service, lambda *_: False)
    assert [p.code for p in found] == ["PortNotFound", "SubsetSelectsNothing"]
    wildcard = compiled(a_rule(host="*.example.com"))
    assert check(wildcard, lambda _: None, lambda *_: False) == ()


POLICIES = st.sampled_from(
    [
        {},
        {"trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}},
        {"subsets": [{"name": "v1", "labels": {"version": "v1"}}]},
        {"subsets": [{"name": "v1", "labels": {"version": "x"}}, {"name": "v2"}]},
        {"exportTo": ["."]},
        {"workloadSelector": {"matchLabels": {"app": "a"}}},
    ]
)


@given(
    st.lists(
        st.builds(
            a_rule,
            POLICIES,
            host=st.sampled_from(["reviews", "*.local", "*"]),
            name=st.text("abc", min_size=1, max_size=3),
            namespace=st.sampled_from(["default", "istio-system"]),
            created=st.sampled_from(["2026-01-01", "2026-01-02"]),
        ),
        max_size=6,
        unique_by=lambda rule: rule.key,
    ),
    st.randoms(use_true_random=False),
)
def test_order_does_not_matter(rules: list[DestinationRule], shuffler: random.Random) -> None:
    def outcome() -> object:
        result = index(destination(rule).value for rule in rules)
        chosen = in_force(*rules, scope=a_scope("default", (("app", "a"),)))
        return list(result.value.by_host.items()), result.problems, chosen

    expected = outcome()
    shuffler.shuffle(rules)
    assert outcome() == expected
