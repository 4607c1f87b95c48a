"""``argosy authz``: the policies of a workload, and which of them decides about a request."""

from collections.abc import Callable
from typing import Any

import pytest

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
