"""``argosy authz``: the policies of a workload, and which of them decides about a request."""

from collections.abc import Callable
from typing import Any

import pytest

from argosy.testing.tokens import Issuer

Argosy = Callable[..., Any]

MESH = """
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default}
spec:
  ports: [{name: http, port: 9080}, {name: tcp-x, port: 7000}]
  selector: {app: reviews}
---
apiVersion: v1
kind: Pod
metadata:
  name: reviews-a
  namespace: default
  labels: {app: reviews, security.istio.io/tlsMode: istio}
spec: {containers: [{name: web, image: "reviews:1"}]}
status: {phase: Running, podIP: 10.244.0.7, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: web-a
  namespace: shop
  labels: {app: web, security.istio.io/tlsMode: istio}
spec: {serviceAccountName: web, containers: [{name: web, image: "web:1"}]}
status: {phase: Running, podIP: 10.244.0.8, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: old-a, namespace: shop, labels: {app: old}}
spec: {serviceAccountName: web, containers: [{name: web, image: "old:1"}]}
status: {phase: Running, podIP: 10.244.0.9, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: readers, namespace: default}
spec:
  rules:
  - from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}]
    to: [{operation: {methods: [GET]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin, namespace: istio-system}
spec:
  selector: {matchLabels: {app: reviews}}
  action: DENY
  rules: [{to: [{operation: {paths: ["/admin*"], notPorts: ["7000"]}}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: tried, namespace: default, annotations: {istio.io/dry-run: "true"}}
spec: {action: DENY, rules: [{}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: of-the-shop, namespace: shop}
spec: {}
"""


@pytest.fixture
def shop(mesh: Any) -> Any:
    mesh.put(MESH)
    return mesh


def test_the_policies_of_a_workload(shop: Any, argosy: Argosy) -> None:
    answer = argosy("authz", "check", "reviews-a")
    assert (answer.code, answer.err) == (0, "")
    lines = [" ".join(line.split()) for line in answer.out.splitlines()]
    assert lines[0] == "ACTION POLICY RULES FOR WHERE"
    assert [line.rpartition(" ")[0] for line in lines[1:4]] == [
        "DENY (dry run) default/tried 1 everyone",
        "DENY istio-system/no-admin 1 app=reviews",
        "ALLOW default/readers 1 everyone",
    ]
    assert lines[4] == "Only what an ALLOW policy allows may pass."


@pytest.mark.parametrize(
    ("source", "method", "url", "expected"),
    [
        (
            "web-a",
            "GET",
            "http://reviews.default:9080/x",
            "allowed by ALLOW default/readers spec.rules[0]",
        ),
        ("web-a", "POST", "http://reviews.default:9080/x", "denied: no ALLOW policy allows it"),
        (
            "web-a",
            "GET",
            "http://reviews.default:9080/admin?x",
            "denied by DENY istio-system/no-admin",
        ),
        ("old-a", "GET", "http://reviews.default:9080/x", "denied: no ALLOW policy allows it"),
        ("web-a", "GET", "http://reviews.default:7000/", "denied: no ALLOW policy allows it"),
    ],
)
def test_whether_a_workload_may(
    shop: Any, argosy: Argosy, source: str, method: str, url: str, expected: str
) -> None:
    answer = argosy("authz", "can", source, method, url, "-n", "shop")
    assert answer.out.startswith(f"reviews-a: {expected}"), answer
    assert answer.code == (0 if expected.startswith("allowed") else 1)


@pytest.mark.parametrize(
    ("url", "code", "message"),
    [
        ("ftp://reviews", 2, "is not an http URL"),
        ("http://nothing.default:80/", 1, "there is no service nothing.default"),
        ("http://reviews.default:81/", 1, "service reviews has no port 81"),
    ],
)
def test_what_cannot_be_asked(shop: Any, argosy: Argosy, url: str, code: int, message: str) -> None:
    answer = argosy("authz", "can", "web-a", "GET", url, "-n", "shop")
    assert answer.code == code
    assert message in answer.err


def test_paths_are_read_as_the_proxy_reads_them(mesh: Any, argosy: Argosy) -> None:
    mesh.put(MESH)
    for path in ("/x/../admin", "/%61dmin", "/.;a=b/admin", "/./admin?x=/../y"):
        answer = argosy("authz", "can", "web-a", "GET", f"http://reviews.default:9080{path}", *SHOP)
        assert (answer.code, "denied by DENY" in answer.out) == (1, True), path
    url = "http://reviews.default:9080//admin"
    assert argosy("authz", "can", "web-a", "GET", url, *SHOP).code == 0, "BASE keeps slashes"
    mesh.put(NORMALIZED)
    assert argosy("authz", "can", "web-a", "GET", url, *SHOP).code == 1
    answer = argosy("authz", "can", "web-a", "GET", "http://reviews.default:9080/a%00", *SHOP)
    assert (answer.code, "denied before any policy: 400" in answer.out) == (1, True)


SHOP = ("-n", "shop")
NORMALIZED = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: "pathNormalization: {normalization: MERGE_SLASHES}"
"""
ISSUER = Issuer("https://issuer.example")
USERS = f"""
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: users, namespace: default}}
spec:
  jwtRules:
  - issuer: {ISSUER.name}
    audiences: [shop]
    jwks: '{ISSUER.key_set()}'
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: readers, namespace: default}}
spec:
  rules:
  - from: [{{source: {{requestPrincipals: ["{ISSUER.name}/*"]}}}}]
    when: [{{key: "request.auth.claims[groups]", values: [admin]}}]
"""


def test_the_end_user_is_known_by_claims_or_by_a_token(mesh: Any, argosy: Argosy) -> None:
    mesh.put(MESH)
    mesh.put(USERS)
    ask = ("authz", "can", "web-a", "GET", "http://reviews.default:9080/", *SHOP)
    assert argosy(*ask).code == 1
    who = ("--claim", f"iss={ISSUER.name}", "--claim", "sub=jane")
    assert argosy(*ask, *who).code == 1
    assert argosy(*ask, *who, "--claim", "groups=dev,admin").code == 0
    good = {"aud": "shop", "groups": ["admin"]}
    assert argosy(*ask, "--token", "-", stdin=ISSUER.token(good)).code == 0
    stranger = Issuer(ISSUER.name)
    for token, why in (
        (ISSUER.token({**good, "aud": "bank"}), "its audience is none of shop"),
        (ISSUER.token({**good, "exp": 1_000_000_000}), "has expired"),
        (ISSUER.token({**good, "nbf": 99_999_999_999}), "not valid yet"),
        (ISSUER.token({**good, "iss": "https://other.example"}), "no rule is for the issuer"),
        (stranger.token(good), "no key has signed it"),
        (ISSUER.unsigned(good), "no key has signed it"),
        (ISSUER.confused(good), "no key has signed it"),
        ("a.b.c", "no JWT"),
    ):
        answer = argosy(*ask, "--token", "-", stdin=token)
        assert (answer.code, "denied before any policy: 401" in answer.out) == (1, True), why
        assert why in answer.out
    answer = argosy(*ask, "--token", "-", "--claim", "a=b", stdin="")
    assert (answer.code, "exclude each other" in answer.err) == (2, True)
