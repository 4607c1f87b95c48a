"""Tokens in the graph: which keys are wanted, what they change, and what is told of them."""

import json
from datetime import timedelta
from typing import Any

from argosy.base.names import Namespace, ObjectKey
from argosy.derive import ABSENT
from argosy.model.proxy import ProxyType, Role
from argosy.model.request_authn import KeySource, RequestAuthn
from argosy.pilot.compile.request_authn import KeysFailure
from argosy.pilot.graph.problems import problems_of
from argosy.pilot.graph.request_authn import (
    FetchedKeys,
    FetchFailure,
    key_servers,
    request_authn,
    wanted_keys,
)
from argosy.testing.graph import UNVERIFIABLE, Graph

HTTPBIN = Role(ProxyType.SIDECAR, Namespace("default"), (("app", "httpbin"),), "default")
OTHER = Role(ProxyType.SIDECAR, Namespace("default"), (("app", "other"),), "default")
SOURCE = KeySource("https://keys.example.com/a")
KEY = ObjectKey("RequestAuthentication", Namespace("default"), "jwt")


def policy(*rules: object, name: str = "jwt", namespace: str = "default", **labels: str) -> str:
    spec: dict[str, Any] = {"jwtRules": rules}
    if labels:
        spec["selector"] = {"matchLabels": labels}
    head = {"apiVersion": "security.istio.io/v1", "kind": "RequestAuthentication"}
    return json.dumps({**head, "metadata": {"name": name, "namespace": namespace}, "spec": spec})


RULE = {"issuer": "a", "jwksUri": SOURCE.url}


def key_sets(graph: Graph, role: Role) -> list[str]:
    found = graph.engine.value(request_authn, role)
    if found is None:
        return []
    assert isinstance(found, RequestAuthn)
    return [one.key_set for one in found.providers]


def test_what_is_fetched_is_served_and_what_is_not_is_nobodys() -> None:
    graph = Graph(policy(RULE, app="httpbin"))
    assert graph.engine.value(wanted_keys) == ((SOURCE, timedelta(seconds=5)),)
    assert key_sets(graph, HTTPBIN) == [UNVERIFIABLE]
    assert key_sets(graph, OTHER) == []
    graph.engine.set({FetchedKeys(SOURCE): "keys"})
    assert key_sets(graph, HTTPBIN) == ["keys"]
    graph.engine.set({FetchedKeys(SOURCE): ABSENT})
    assert key_sets(graph, HTTPBIN) == [UNVERIFIABLE]
    graph.delete(*KEY)
    assert graph.engine.value(wanted_keys) == ()
    assert key_sets(graph, HTTPBIN) == []


def test_a_failure_changes_what_is_told_and_no_configuration() -> None:
    graph = Graph(policy(RULE))
    graph.engine.set({FetchedKeys(SOURCE): "keys"})
    graph.engine.observe(request_authn, HTTPBIN)
    graph.engine.observe(problems_of, KEY)
    changed = graph.engine.set({FetchFailure(SOURCE): KeysFailure("no", "S", "N", kept=True)})
    assert [change.formula for change in changed] == [problems_of]
    (problem,) = graph.engine.value(problems_of, KEY)
    assert problem.code == "KeysNotRefreshed"


def test_what_one_place_changes_is_of_those_who_check_with_it() -> None:
    elsewhere = {"issuer": "b", "jwksUri": "https://keys.example.com/b"}
    graph = Graph(policy(RULE, app="httpbin"), policy(elsewhere, name="other", app="other"))
    graph.engine.observe(request_authn, HTTPBIN)
    graph.engine.observe(request_authn, OTHER)
    changed = graph.engine.set({FetchedKeys(SOURCE): "keys"})
    assert [(change.formula, change.args) for change in changed] == [(request_authn, (HTTPBIN,))]


def test_the_longest_wait_of_all_policies_counts() -> None:
    graph = Graph(
        policy({**RULE, "timeout": "2s"}),
        policy({**RULE, "timeout": "9s"}, name="other", namespace="elsewhere"),
    )
    assert graph.engine.value(wanted_keys) == ((SOURCE, timedelta(seconds=9)),)


SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: keys, namespace: default}
spec:
  ports: [{name: http, port: 80, targetPort: 8080}]
  selector: {app: keys}
---
apiVersion: v1
kind: Pod
metadata: {name: keys-1, namespace: default, labels: {app: keys}}
spec: {containers: [{name: a, image: b}]}
status: {phase: Running, podIP: 10.244.0.7, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: keys-2, namespace: default, labels: {app: keys}}
spec: {containers: [{name: a, image: b}]}
status: {phase: Running, podIP: 10.244.0.8, conditions: [{type: Ready, status: "False"}]}
"""


def test_a_key_server_inside_the_mesh_is_its_ready_pods() -> None:
    graph = Graph(SERVICE)
    for host in (
        "keys.default",
        "keys.default.svc",
        "Keys.Default.svc.cluster.local",
        "keys.default.svc.cluster.local.",
    ):
        assert graph.engine.value(key_servers, host, 80) == (("10.244.0.7", 8080),), host
    assert graph.engine.value(key_servers, "keys.default", 81) == ()
    for host in ("keys", "keys.other", "keys.default.com", "example.com", "10.244.0.7"):
        assert graph.engine.value(key_servers, host, 80) is None, host
