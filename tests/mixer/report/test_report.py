"""What a report finds in facts, and the score that follows."""

from dataclasses import replace

import pytest

from argosy.base.names import Namespace, ObjectKey
from argosy.mixer.report.checks import CONFIGURED, is_everybody
from argosy.mixer.report.facts import (
    Call,
    Certificate,
    Checked,
    Edge,
    Facts,
    GatewayServer,
    Port,
    Problem,
    Proxy,
    Workload,
)
from argosy.mixer.report.findings import (
    ALLOW_ALL,
    ANYONE,
    CERTIFICATE,
    CONFIGURATION,
    DRY_RUN,
    EGRESS,
    EGRESS_UNKNOWN,
    GATEWAY_TLS,
    MTLS_ACCEPTED,
    MTLS_TRAFFIC,
    NO_AUTHORIZATION,
    NO_PROXY,
    REJECTED,
    RULES,
    UNUSED_ALLOW,
    Finding,
    Outcome,
    Place,
    Rule,
    Severity,
)
from argosy.mixer.report.report import report, score
from argosy.model.authn import MtlsMode
from argosy.model.authz import Policy
from argosy.pilot.compile.authz import policy
from argosy.pilot.compile.authz_values import namespace_of_identity, principal
from argosy.testing.graph import objects

STRICT = (Port(9080, MtlsMode.STRICT),)
NOTHING = Facts(mesh="m", version="1", moment="2026-01-01T00:00:00Z")


def allow(name: str, rules: str, scope: str = "", annotations: str = "{}") -> Policy:
    (written,) = objects(f"""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: default, annotations: {annotations}}}
spec: {{{scope} rules: {rules}}}
""")
    return policy(written, ("cluster.local",))  # type: ignore[arg-type]  # it is one


TIGHT = allow(
    "tight",
    '[{from: [{source: {principals: ["cluster.local/ns/default/sa/a"]}}], '
    'to: [{operation: {paths: ["/x"], methods: [GET]}}]}]',
)
GOOD = Workload("Deployment", "default", "good", "good", ports=STRICT, policies=(TIGHT,))


def found(facts: Facts) -> dict[tuple[Rule, str], Severity]:
    return {(one.rule, one.object): one.finding.severity for one in report(facts).findings}


def of_workload(workload: Workload) -> dict[tuple[Rule, str], Severity]:
    return found(replace(NOTHING, workloads=(workload,)))


def test_a_good_workload() -> None:
    made = report(replace(NOTHING, workloads=(GOOD,)))
    assert made.findings == ()
    assert made.score == 100
    assert made.checked > 3


@pytest.mark.parametrize(
    ("mode", "severity"),
    [(MtlsMode.PERMISSIVE, Severity.MEDIUM), (MtlsMode.DISABLE, Severity.HIGH)],
)
def test_plaintext_ports(mode: MtlsMode, severity: Severity) -> None:
    workload = replace(GOOD, ports=(*STRICT, Port(80, mode)))
    assert of_workload(workload) == {(MTLS_ACCEPTED, "Deployment default/good"): severity}
    assert of_workload(replace(workload, gateway=True)) == {}


def test_a_workload_without_ports_is_judged_by_its_mode() -> None:
    assert of_workload(replace(GOOD, ports=())) == {
        (MTLS_ACCEPTED, "Deployment default/good"): Severity.LOW
    }
    assert of_workload(replace(GOOD, ports=(), mode=MtlsMode.STRICT)) == {}


def test_no_proxy() -> None:
    bare = replace(GOOD, proxy=False, ports=(Port(80, MtlsMode.DISABLE),), policies=())
    assert of_workload(bare) == {(NO_PROXY, "Deployment default/good"): Severity.MEDIUM}


def test_no_authorization() -> None:
    name = "Deployment default/good"
    deny = replace(GOOD, policies=())
    assert of_workload(deny) == {(NO_AUTHORIZATION, name): Severity.HIGH}
    tried = replace(TIGHT, dry_run=True)
    assert of_workload(replace(GOOD, policies=(tried,))) == {
        (NO_AUTHORIZATION, name): Severity.HIGH,
        (DRY_RUN, "AuthorizationPolicy default/tight"): Severity.INFO,
    }


@pytest.mark.parametrize(
    ("rules", "rule", "severity"),
    [
        ("[{}]", ALLOW_ALL, Severity.HIGH),
        ("[{to: [{operation: {methods: [GET]}}]}]", ANYONE, Severity.MEDIUM),
        ('[{from: [{source: {principals: ["*"]}}]}]', ANYONE, Severity.MEDIUM),
        ('[{from: [{source: {principals: ["cluster.local/*"]}}]}]', ANYONE, Severity.MEDIUM),
        ('[{from: [{source: {namespaces: ["*"]}}]}]', ANYONE, Severity.MEDIUM),
        ('[{from: [{source: {namespaces: ["a"]}}, {source: {principals: ["*"]}}]}]', ANYONE, Severity.MEDIUM),
        ('[{from: [{source: {principals: ["*"], namespaces: ["a"]}}]}]', None, None),
        ('[{from: [{source: {principals: ["cluster.local/ns/a/*"]}}]}]', None, None),
        ('[{from: [{source: {ipBlocks: ["10.0.0.0/8"]}}]}]', None, None),
        ('[{from: [{source: {notPrincipals: ["*"]}}]}]', None, None),
        ("[{when: [{key: 'request.headers[x]', values: [y]}]}]", None, None),
        ("[]", None, None),
    ],
)  # fmt: skip
def test_broad_policies(rules: str, rule: Rule | None, severity: Severity | None) -> None:
    got = of_workload(replace(GOOD, policies=(allow("p", rules),)))
    expected = {} if rule is None else {(rule, "AuthorizationPolicy default/p rules[0]"): severity}
    assert got == expected


def test_a_rule_is_placed_where_it_is_written() -> None:
    key = ObjectKey("AuthorizationPolicy", Namespace("default"), "p")
    facts = replace(
        NOTHING,
        workloads=(replace(GOOD, policies=(allow("p", "[{}]"),)),),
        places=(((key, ""), Place("p.yaml", 1)), ((key, "spec.rules[0]"), Place("p.yaml", 7))),
    )
    (one,) = report(facts).findings
    assert str(one.finding.place) == "p.yaml:7"


def test_who_is_everybody() -> None:
    everybody = [principal("*"), principal("cluster.local/*"), namespace_of_identity("*")]
    assert all(is_everybody(one.match, "cluster.local") for one in everybody)
    some = [principal("*/sa/a"), principal("other.mesh/*"), namespace_of_identity("a*")]
    assert not any(is_everybody(one.match, "cluster.local") for one in some)


def test_gateways_certificates_objects_and_proxies() -> None:
    problem = Problem("warning", "IST0001", "spec.x", "it is odd", "change it")
    facts = replace(
        NOTHING,
        gateways=(
            GatewayServer("default", "g", 0, 443, "HTTPS", True),
            GatewayServer("default", "g", 1, 80, "HTTP", False),
        ),
        certificates=(
            Certificate("default", "a.default"),
            Certificate("default", "b.default", "error", "it expired"),
            Certificate("istio-system", "CN=root", "notice", "it ends"),
        ),
        objects=(
            Checked("Service", "default", "a"),
            Checked("Service", "default", "b", (problem, replace(problem, level="error"))),
        ),
        proxies=(Proxy("default", "a"), Proxy("default", "b", (("LDS", "no"),))),
    )
    assert found(facts) == {
        (GATEWAY_TLS, "Gateway default/g servers[1]"): Severity.HIGH,
        (CERTIFICATE, "Certificate of b.default"): Severity.HIGH,
        (CERTIFICATE, "Certificate of CN=root"): Severity.LOW,
        (CONFIGURATION, "Service default/b"): Severity.MEDIUM,
        (REJECTED, "Proxy default/b"): Severity.HIGH,
    }
    assert len(report(facts).findings) == 6, "both problems of one object"
    assert {one.namespace for one in report(facts, "default").findings} == {"default"}


def test_measured_traffic() -> None:
    facts = replace(
        NOTHING,
        edges=(
            Edge("default", "a", "default", "b", "b.default", 90, 10, 100),
            Edge("default", "a", "default", "c", "c.default", 5, 0, 5),
            Edge("default", "a", "", "", "example.com", 0, 3, 3),
            Edge("default", "a", "", "", "PassthroughCluster", 0, 2, 2, registered=False),
        ),
        calls=(),
    )
    assert found(facts) == {
        (MTLS_TRAFFIC, "Traffic default/a → default/b"): Severity.HIGH,
        (EGRESS, "Traffic default/a → example.com"): Severity.INFO,
        (EGRESS_UNKNOWN, "Traffic default/a → PassthroughCluster"): Severity.MEDIUM,
    }
    share = report(facts).mutual_tls
    assert share is not None
    assert (share.mutual_tls, share.total, share.percent) == (95, 105, 90.4)
    assert report(NOTHING).mutual_tls is None


def a_call(path: str = "/x", method: str = "GET", account: str = "a") -> Call:
    who = f"spiffe://cluster.local/ns/default/sa/{account}"
    return Call(who, "default", "good", 9080, True, method, path, 3, 0, 1.0, 2.0)


def test_unused_permissions() -> None:
    title = "AuthorizationPolicy default/tight rules[0]"
    facts = replace(NOTHING, workloads=(GOOD,))
    assert found(replace(facts, calls=(a_call(),))) == {}
    assert found(replace(facts, calls=(a_call("/y"),))) == {(UNUSED_ALLOW, title): Severity.LOW}
    assert found(replace(facts, calls=(a_call(account="b"),))) == {
        (UNUSED_ALLOW, title): Severity.LOW
    }
    assert found(replace(facts, calls=())) == {}, (
        "of a workload that nobody called nothing is known"
    )
    assert found(facts) == {}, "nothing was recorded"


# The score.


def outcome(rule: Rule, name: str, severity: Severity | None = None) -> Outcome:
    finding = None if severity is None else Finding(severity, "m", "r")
    return Outcome(rule, "default", name, finding)


def test_the_score_is_the_weighted_share_of_what_was_right() -> None:
    assert score([]) == 100
    assert score([outcome(NO_AUTHORIZATION, "a")]) == 100
    assert score([outcome(NO_AUTHORIZATION, "a", Severity.HIGH)]) == 0
    half = [outcome(NO_AUTHORIZATION, "a", Severity.HIGH), outcome(NO_AUTHORIZATION, "b")]
    assert score(half) == 50
    # HIGH counts 20, MEDIUM 10: 1 - 10 / 30
    assert score([*half, outcome(NO_PROXY, "a")]) == 66
    # A medium finding of a high rule loses half of it.
    assert score([outcome(MTLS_ACCEPTED, "a", Severity.MEDIUM)]) == 50
    twice = [outcome(MTLS_ACCEPTED, "a", Severity.LOW), outcome(MTLS_ACCEPTED, "a", Severity.HIGH)]
    assert score(twice) == 0, "an object is counted once, by the gravest"
    assert score([outcome(EGRESS, "a", Severity.INFO)]) == 100


def test_more_of_the_same_changes_no_score() -> None:
    def mesh(size: int) -> list[Outcome]:
        return [
            outcome(rule, f"{i}", Severity.HIGH if i % 4 == 0 else None)
            for rule in (NO_AUTHORIZATION, GATEWAY_TLS)
            for i in range(size)
        ]

    assert score(mesh(4)) == score(mesh(400)) == 75


def test_100_means_nothing_to_do() -> None:
    many = [outcome(NO_AUTHORIZATION, str(i)) for i in range(10_000)]
    assert score([*many, outcome(NO_AUTHORIZATION, "bad", Severity.LOW)]) == 99


def test_rules_have_names_of_their_own() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)
    assert len(CONFIGURED) == len(set(CONFIGURED))
