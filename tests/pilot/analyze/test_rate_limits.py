"""RateLimits that name routes which are not there, or count what others count."""

from argosy.base.names import Namespace, ObjectKey
from argosy.base.problems import Problem
from argosy.pilot.analyze.rate_limits import overlaps, routes
from argosy.testing.graph import Graph, a_pod

FIRST = """
apiVersion: argosy.dev/v1alpha1
kind: RateLimit
metadata: {name: first, namespace: default}
spec:
  selector: {matchLabels: {app: reviews}}
  rules:
  - {match: {paths: [/a]}, keys: [{source: PRINCIPAL}], limit: {requests: 1, unit: SECOND}}
"""


def second(rule: str, app: str = "reviews") -> str:
    return f"""
apiVersion: argosy.dev/v1alpha1
kind: RateLimit
metadata: {{name: second, namespace: default}}
spec:
  selector: {{matchLabels: {{app: {app}}}}}
  rules:
  - {{{rule}, limit: {{requests: 9, unit: DAY}}}}
"""


def found(rule: str, app: str = "reviews") -> tuple[Problem, ...]:
    pods = (a_pod(f"{name}-1", address, app=name) for name, address in PODS.items())
    graph = Graph(FIRST, second(rule, app), *pods)
    return graph.engine.value(overlaps, ObjectKey("RateLimit", Namespace("default"), "second"))  # type: ignore[return-value]  # not Failed


PODS = {"reviews": "10.0.0.1", "ratings": "10.0.0.2"}
SAME = "match: {paths: [/a]}, keys: [{source: PRINCIPAL}]"


def test_the_same_requests_of_the_same_workload() -> None:
    (problem,) = found(SAME)
    assert (problem.code, problem.field) == ("OverlappingLimits", "spec.rules[0]")
    assert (
        "rule 0 of RateLimit default/first counts the same requests at reviews" in problem.message
    )


def test_other_requests_or_workloads_or_a_dry_run() -> None:
    assert found("match: {paths: [/b]}, keys: [{source: PRINCIPAL}]") == ()
    assert found("match: {paths: [/a]}") == ()
    assert found(SAME, "ratings") == ()
    assert found(f"{SAME}, dryRun: true") == ()


VIRTUAL_SERVICES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ratings, namespace: default}
spec:
  hosts: [ratings]
  http:
  - name: canary
    match: [{name: testers, headers: {x-tester: {exact: "1"}}}]
    route: [{destination: {host: ratings}}]
  - route: [{destination: {host: ratings}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge, namespace: default}
spec:
  hosts: [shop.example.com]
  gateways: [front]
  http: [{name: at-edge, route: [{destination: {host: ratings}}]}]
"""


def names(*called: str, target: str = "selector: {matchLabels: {app: reviews}}") -> list[str]:
    """What is said of each of these routes that no proxy takes for which the RateLimit holds."""
    limit = f"""
apiVersion: argosy.dev/v1alpha1
kind: RateLimit
metadata: {{name: by-route, namespace: default}}
spec:
  {target}
  rules:
  - {{limit: {{requests: 1, unit: DAY}}}}
  - {{match: {{routes: [{", ".join(map(repr, called))}]}}, limit: {{requests: 9, unit: DAY}}}}
"""
    pods = (a_pod(f"{name}-1", address, app=name) for name, address in PODS.items())
    graph = Graph(limit, VIRTUAL_SERVICES, *pods)
    key = ObjectKey("RateLimit", Namespace("default"), "by-route")
    problems: tuple[Problem, ...] = graph.engine.value(routes, key)  # type: ignore[assignment]  # not Failed
    assert {problem.code for problem in problems} <= {"RouteNotFound"}
    return [f"{problem.field}: {problem.message}" for problem in problems]


def test_routes_that_a_sidecar_takes() -> None:
    assert names("canary", "canary.testers", "can*", "*testers", "*") == []


def test_routes_that_are_not_there() -> None:
    first, second = names("canary", "canari", "testers")
    assert first == (
        "spec.rules[1].match.routes[1]: no VirtualService has an HTTP route that is called canari"
    )
    assert second.startswith("spec.rules[1].match.routes[2]: ")


def test_routes_of_other_proxies() -> None:
    (message,) = names("at-edge")
    assert "only gateways take the route at-edge" in message
    (message,) = names("canary", target="targetRefs: [{kind: Service, name: reviews}]")
    assert "only sidecars take the route canary" in message
