"""RateLimits that count what others count."""

from argosy.base.names import Namespace, ObjectKey
from argosy.base.problems import Problem
from argosy.pilot.analyze.rate_limits import overlaps
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
