"""The URL of the counters, what stands for hosts at Gateways, and a mesh without Mixer."""

import pytest

from argosy.api.core import ConfigMap
from argosy.base.names import Namespace, ObjectKey
from argosy.base.problems import Severity
from argosy.derive import ABSENT
from argosy.model.authz import Host
from argosy.model.rate_limit import Limit
from argosy.pilot.compile.mesh import mesh
from argosy.pilot.compile.rate_limits import at_hosts
from argosy.pilot.graph.cells import HasMixer
from argosy.pilot.graph.rate_limits import limits_of
from argosy.testing.graph import Graph, gateway, objects, sidecar

LIMIT = """
apiVersion: argosy.dev/v1alpha1
kind: RateLimit
metadata: {name: all, namespace: NAMESPACE}
spec:
  rules:
  - {scope: SHARED, onFailure: DENY, limit: {requests: 1, unit: SECOND}}
  - {match: {hosts: [b.example.com]}, limit: {requests: 1, unit: SECOND}}
"""


def config(url: str) -> ConfigMap:
    (found,) = objects(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n"
        f"data:\n  argosy: 'rateLimitCounters: \"{url}\"'\n"
    )
    assert isinstance(found, ConfigMap)
    return found


@pytest.mark.parametrize(
    "url",
    [
        "redis://a.b:6379/0",
        "rediss://10.0.0.1",
        "unix:///run/r.sock?db=3",
        "rediss://a?ssl_ca_certs=/ca.pem",
        "",
    ],
)
def test_a_redis(url: str) -> None:
    compiled = mesh(config(url))
    assert compiled.problems == ()
    assert compiled.value.limit_counters == url


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://a", "no URL of a Redis"),
        ("redis://", "no URL of a Redis"),
        ("redis://a:x", "is no URL"),
        ("redis://:secret@a", "reads the password"),
        ("redis://a?password=secret", "reads the password"),
        ("rediss://a?ssl_password=secret", "reads the password"),
        ("redis://a?socket_timeout=x", "socket_timeout cannot be said"),
        ("redis://a?db=x", "db is no number"),
        ("redis://:secret@a:x", "is no URL"),
        ("http:secret", "no URL of a Redis"),
    ],
)
def test_no_redis(url: str, why: str) -> None:
    compiled = mesh(config(url))
    (problem,) = compiled.problems
    assert problem.severity is Severity.ERROR
    assert problem.field == "data.argosy.rateLimitCounters"
    assert why in problem.message
    assert "secret" not in problem.message
    assert compiled.value.limit_counters == ""


def limits(namespace: str, graph: Graph | None = None) -> tuple[Limit, ...]:
    graph = graph or Graph(LIMIT.replace("NAMESPACE", namespace))
    return graph.engine.value(limits_of, sidecar(app="reviews"))  # type: ignore[return-value]  # not Failed


def test_limits_of_the_namespace_and_of_the_root_hold() -> None:
    assert len(limits("default")) == 2
    assert len(limits("istio-system")) == 2
    assert limits("elsewhere") == ()
    graph = Graph(LIMIT.replace("NAMESPACE", "istio-system"))
    assert len(graph.engine.value(limits_of, gateway(istio="ingressgateway"))) == 2  # type: ignore[arg-type]  # not Failed


def test_hosts_of_a_gateway_stand_where_a_rule_names_none() -> None:
    first, second = limits("default")
    (clause,) = at_hosts(first, ["a.example.com", "*.b.com"]).clauses
    assert all(isinstance(fact, Host) for fact in clause.any_of)
    assert len(clause.any_of) == 2
    assert at_hosts(second, ["a.example.com"]) == second
    assert at_hosts(first, ["a.example.com", "*"]) == first


def test_without_mixer_each_replica_counts_for_itself_and_it_is_said() -> None:
    graph = Graph(LIMIT.replace("NAMESPACE", "default"))
    graph.engine.set({HasMixer(): True})
    assert [(one.shared, one.fail_closed) for one in limits("", graph)] == [
        (True, True),
        (False, False),
    ]
    graph.engine.set({HasMixer(): ABSENT})
    assert [(one.shared, one.fail_closed) for one in limits("", graph)] == [(False, False)] * 2
    (problem,) = graph.problems("RateLimit", Namespace("default"), "all")
    assert problem.object == ObjectKey("RateLimit", Namespace("default"), "all")
    assert (problem.code, problem.field) == ("NotShared", "spec.rules[0].scope")
