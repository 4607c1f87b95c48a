"""Which policies hold for a workload, and what is wrong with one in a whole mesh."""

import pytest

from argosy.base.names import Namespace
from argosy.model.authz import Authorization
from argosy.model.ext_authz import GrpcAuthorizer, HttpAuthorizer
from argosy.model.proxy import ProxyType, Role
from argosy.model.workload import sorted_labels
from argosy.pilot.graph.authorization import authorization_of
from argosy.testing.graph import Graph

POD = """
apiVersion: v1
kind: Pod
metadata: {name: orders, namespace: prod, labels: {app: orders}}
spec: {containers: [{name: a, image: a}]}
status: {podIP: 10.0.0.1, phase: Running}
---
apiVersion: v1
kind: Service
metadata: {name: orders, namespace: prod}
spec:
  selector: {app: orders}
  ports: [{name: http, port: 80}, {name: tcp-db, port: 5432}]
"""


def policy(name: str, spec: str, namespace: str = "prod") -> str:
    head = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
    return f"{head}metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"


def mesh_config(text: str) -> str:
    head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n"
    indented = text.replace("\n", "\n    ")
    return f"{head}data:\n  mesh: |-\n    {indented}\n"


ORDERS = Role(ProxyType.SIDECAR, Namespace("prod"), sorted_labels({"app": "orders"}), "default")
DENY = "{action: DENY, rules: [{}]}"


def held(graph: Graph, role: Role = ORDERS) -> Authorization:
    found = graph.engine.value(authorization_of, role)
    assert isinstance(found, Authorization), found
    return found


def names(graph: Graph) -> list[str]:
    return [one.object.name for one in held(graph).http.deny]


def codes(graph: Graph, name: str) -> list[str]:
    return [p.code for p in graph.problems("AuthorizationPolicy", "prod", name)]


def test_policies_of_the_mesh_of_the_namespace_and_of_the_workload() -> None:
    graph = Graph(
        policy("a-mesh", DENY, "istio-system"),
        policy("b-namespace", DENY),
        policy("c-workload", "{selector: {matchLabels: {app: orders}}, action: DENY, rules: [{}]}"),
        policy("d-other", "{selector: {matchLabels: {app: web}}, action: DENY, rules: [{}]}"),
        policy("e-elsewhere", DENY, "dev"),
    )
    assert names(graph) == ["a-mesh", "b-namespace", "c-workload"]
    graph.delete("AuthorizationPolicy", "istio-system", "a-mesh")
    assert names(graph) == ["b-namespace", "c-workload"]
    graph.apply(policy("b-namespace", "{}"))
    assert names(graph) == ["c-workload"]
    assert [one.object.name for one in held(graph).http.allow] == ["b-namespace"]


def test_the_root_namespace_is_what_the_mesh_says() -> None:
    graph = Graph(mesh_config("rootNamespace: admin"), policy("a", DENY, "admin"))
    assert names(graph) == ["a"]


PROVIDERS = """extensionProviders:
- name: http
  envoyExtAuthzHttp: {service: prod/authorizer.prod.svc.cluster.local, port: 80}
- name: grpc
  envoyExtAuthzGrpc: {service: authorizer.prod.svc.cluster.local, port: 90}
- name: elsewhere
  envoyExtAuthzGrpc: {service: dev/authorizer.prod.svc.cluster.local, port: 90}
- name: other-port
  envoyExtAuthzGrpc: {service: authorizer.prod.svc.cluster.local, port: 91}"""
AUTHORIZER = """
apiVersion: v1
kind: Service
metadata: {name: authorizer, namespace: prod}
spec: {selector: {app: authorizer}, ports: [{name: http, port: 80}, {name: grpc, port: 90}]}
"""


@pytest.mark.parametrize(
    ("provider", "http", "tcp", "problems"),
    [
        ("http", HttpAuthorizer, type(None), ["OpaquePort"]),
        ("grpc", GrpcAuthorizer, GrpcAuthorizer, []),
        ("elsewhere", type(None), type(None), ["ProviderNotFound"]),
        ("other-port", type(None), type(None), ["ProviderNotFound"]),
        ("nobody", type(None), type(None), ["ProviderNotFound", "OpaquePort"]),
    ],
)
def test_who_is_asked(provider: str, http: type, tcp: type, problems: list[str]) -> None:
    """None: nobody can be asked, so what the policy matches is refused."""
    custom = f"{{action: CUSTOM, provider: {{name: {provider}}}, rules: [{{}}]}}"
    graph = Graph(mesh_config(PROVIDERS), AUTHORIZER, POD, policy("ask", custom))
    (of_http,), (of_tcp,) = held(graph).http.custom, held(graph).tcp.custom
    assert isinstance(of_http.authorizer, http)
    assert isinstance(of_tcp.authorizer, tcp)
    assert codes(graph, "ask") == problems


def test_an_authorizer_that_a_sidecar_hides_cannot_be_asked() -> None:
    hides = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: prod}
spec: {egress: [{hosts: ["dev/*"]}]}
"""
    custom = "{action: CUSTOM, provider: {name: grpc}, rules: [{}]}"
    graph = Graph(mesh_config(PROVIDERS), AUTHORIZER, POD, hides, policy("ask", custom))
    (of_http,) = held(graph).http.custom
    assert of_http.authorizer is None
    assert codes(graph, "ask") == ["ProviderNotFound"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{rules: [{to: [{operation: {methods: [GET]}}]}]}", ["OpaquePort"]),
        ("{action: DENY, rules: [{to: [{operation: {paths: [/a]}}]}]}", ["OpaquePort"]),
        ("{action: AUDIT, rules: [{to: [{operation: {paths: [/a]}}]}]}", []),
        ("{rules: [{to: [{operation: {ports: ['5432']}}]}]}", []),
        ("{rules: [{from: [{source: {namespaces: [prod]}}]}]}", []),
    ],
)
def test_rules_for_requests_at_ports_that_are_opaque(spec: str, expected: list[str]) -> None:
    assert codes(Graph(POD, policy("rule", spec)), "rule") == expected


def test_an_alias_of_the_trust_domain_changes_what_principals_mean() -> None:
    spec = "{rules: [{from: [{source: {principals: [old-td/ns/a/sa/b]}}]}]}"
    graph = Graph(mesh_config("trustDomain: new-td"), policy("a", spec))
    (before,) = held(graph).http.allow
    graph.apply(mesh_config("trustDomain: new-td\ntrustDomainAliases: [old-td]"))
    (after,) = held(graph).http.allow
    ((clause,),) = before.rules[0].sources
    ((wider,),) = after.rules[0].sources
    assert len(clause.any_of) == 1
    assert len(wider.any_of) == 2


def test_addresses_that_callers_make_up() -> None:
    spec = "{rules: [{from: [{source: {remoteIpBlocks: [10.0.0.1]}}]}]}"
    assert codes(Graph(POD, policy("a", spec)), "a") == ["UntrustedAddress"]
    of_gateways = spec.replace("{rules", "{selector: {matchLabels: {istio: ingress}}, rules")
    assert codes(Graph(POD, policy("a", of_gateways)), "a") == []


def test_workloads_without_a_proxy() -> None:
    proxyless = POD.replace(
        "labels: {app: orders}}",
        "labels: {app: orders}, annotations: {inject.istio.io/templates: grpc-agent}}",
    )
    assert codes(Graph(proxyless, policy("a", DENY)), "a") == ["NotEnforced"]
