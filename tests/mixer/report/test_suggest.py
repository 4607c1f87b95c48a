"""Suggested policies: tight, complete, and judged by the mesh's own evaluator."""

import yaml
from hypothesis import given
from hypothesis import strategies as st

from argosy.api.decode import decode_json, decode_yaml
from argosy.mixer.report.facts import Call, Port, Workload
from argosy.mixer.report.policies import policies_yaml
from argosy.mixer.report.proof import proof
from argosy.mixer.report.suggest import Suggestion, suggestions
from argosy.model.authn import MtlsMode
from argosy.model.authz import Authorization
from argosy.pilot.graph.authorization import authorization_of
from argosy.testing.graph import Graph, sidecar

LABELS = (("app", "web"),)
WEB = Workload("Deployment", "default", "web", "web", LABELS, ports=(Port(80, MtlsMode.STRICT),))
A, B, GATE = (
    f"spiffe://cluster.local/ns/{where}"
    for where in ("default/sa/a", "x/sa/b", "istio-system/sa/in")
)


def a_call(
    principal: str = A,
    path: str = "/",
    method: str = "GET",
    port: int = 80,
    count: int = 1,
    denied: int = 0,
    http: bool = True,
) -> Call:
    if not http:
        method = path = ""
    return Call(
        principal, "default", "web", port, http, method, path, count, denied, 1.8e9, 1.8e9 + 60
    )


def suggested(*calls: Call, plaintext: bool = False) -> Suggestion:
    (found,) = suggestions([WEB], calls, plaintext=plaintext)
    return found


def rules(*calls: Call, plaintext: bool = False) -> object:
    return suggested(*calls, plaintext=plaintext).policy["spec"].get("rules")


def authorization(one: Suggestion) -> Authorization:
    graph = Graph()
    decoded = decode_json(one.policy)
    assert not decoded.problems, decoded.problems
    graph.put(decoded.objects)
    return graph._value(authorization_of, sidecar(app="web"))


def test_only_what_was_seen_together() -> None:
    assert rules(
        a_call(path="/a"), a_call(path="/b"), a_call(path="/b", method="POST"), a_call(path="/a", port=81)
    ) == [
        {
            "from": [{"source": {"principals": ["cluster.local/ns/default/sa/a"]}}],
            "to": [
                {"operation": {"ports": ["80"], "methods": ["GET", "POST"], "paths": ["/b"]}},
                {"operation": {"ports": ["80", "81"], "methods": ["GET"], "paths": ["/a"]}},
            ],
        }
    ]  # fmt: skip


def test_callers_that_do_the_same_are_one_rule() -> None:
    (rule,) = rules(a_call(A), a_call(B))  # type: ignore[misc]
    assert rule["from"][0]["source"]["principals"] == [
        "cluster.local/ns/default/sa/a",
        "cluster.local/ns/x/sa/b",
    ]
    assert len(rules(a_call(A), a_call(B, path="/other"))) == 2  # type: ignore[arg-type]


def test_connections_are_allowed_by_port() -> None:
    (rule,) = rules(a_call(http=False, port=5432))  # type: ignore[misc]
    assert rule["to"] == [{"operation": {"ports": ["5432"]}}]


def test_nobody_called_it() -> None:
    assert rules() is None
    assert suggested().policy["spec"] == {
        "selector": {"matchLabels": {"app": "web"}},
        "action": "ALLOW",
    }


def test_what_is_left_out_and_why() -> None:
    found = suggested(
        a_call(count=2, denied=2),
        a_call("", count=5),
        a_call(path="/a*"),
        a_call(path="/{}"),
        a_call(method="*"),
        a_call(path="/ü"),
        a_call(path="/ok", count=3, denied=1),
    )
    assert [(left.why.split(",")[0].split(":")[0][:30], len(left.calls)) for left in found.left_out] == [
        ("a policy denies them already", 1),
        ("they came in plaintext", 1),
        ("their paths or methods hold ch", 4),
    ]  # fmt: skip
    (permission,) = found.permissions
    assert [call.path for call in permission.evidence] == ["/ok"]


def test_plaintext_only_if_asked_for() -> None:
    assert rules(a_call("")) is None
    (rule,) = rules(a_call(""), plaintext=True)  # type: ignore[misc]
    assert rule["from"] == [{"source": {"notPrincipals": ["*"]}}]
    held = authorization(suggested(a_call(""), plaintext=True))
    shown = proof([WEB], [A], [a_call("")], lambda _: held)
    assert shown.broken == ()
    assert shown.open == (), "who has an identity is not let in with them"


def test_gateways_and_workloads_without_proxy_get_none() -> None:
    gateway = Workload("Deployment", "istio-system", "in", "in", gateway=True)
    bare = Workload("Deployment", "default", "bare", "bare", proxy=False)
    assert suggestions([gateway, bare], []) == ()


def test_the_yaml_says_the_same_and_on_what_it_rests() -> None:
    found = suggested(
        a_call(GATE, "/x", count=40),
        a_call(A, "/y"),
        a_call("", "/no", count=9),
        a_call(A, "/\n  action: DENY"),
    )
    gateway = Workload("Deployment", "istio-system", "in", "in", gateway=True)
    text = policies_yaml([found], [gateway], ["About: it\nall"])
    assert yaml.safe_load(text) == found.policy
    decoded = decode_yaml(text, "x.yaml")
    assert not decoded.problems
    assert (
        "# Deployment default/web: 41 calls of 2 callers, the last at 2027-01-15T08:01:00Z" in text
    )
    assert "    # 40 × GET /x at 80, the last at 2027-01-15T08:01:00Z" in text
    assert "# a gateway: whoever reaches it from outside" in text
    assert "# NOT ALLOWED: 9 calls, because they came in plaintext" in text
    assert "\n  action: DENY" not in text, "what others wrote stays in its comment"


principals = st.sampled_from([A, B, GATE])
paths = st.lists(
    st.sampled_from(["a", "b", "{*}", "c.d", "%20", "~x"]), min_size=0, max_size=3
).map(lambda parts: "/" + "/".join(parts))
calls = st.builds(
    a_call,
    principal=principals,
    path=paths,
    method=st.sampled_from(["GET", "POST", "PUT"]),
    port=st.sampled_from([80, 81]),
    count=st.integers(1, 5),
    http=st.booleans(),
)


@given(st.lists(calls, max_size=12), principals, st.sampled_from([80, 81]))
def test_what_was_seen_is_allowed_and_what_was_not_is_denied(
    seen: list[Call], stranger: str, port: int
) -> None:
    """Of calls by paths that no template covers: the evaluator allows exactly those."""
    held = authorization(suggested(*seen))
    assert proof([WEB], [], seen, lambda _: held).broken == ()
    other = [
        a_call(stranger, "/never", port=port),
        a_call(stranger, "/a", "DELETE", port=port),
        a_call(stranger, "/a", port=9999),
        a_call("spiffe://cluster.local/ns/z/sa/z", "/a", port=port),
        a_call("", "/a", port=port),
    ]
    by_port = {(one.principal, one.port) for one in seen if not one.http}
    unseen = [one for one in other if (one.principal, one.port) not in by_port]
    found = proof([WEB], [], unseen, lambda _: held)
    assert [one.call for one in found.judged if one.verdict.allowed] == []
