"""Sharing between namespaces changes no byte, and is there where it should be."""

from collections.abc import Callable
from dataclasses import replace
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from argosy.base.names import Hostname, Namespace
from argosy.model.workload import Locality
from argosy.pilot.graph import destinations, localities, outbound, views
from argosy.pilot.graph.hosts import HostSet
from argosy.testing.graph import Graph, a_pod, a_service, gateway, sidecar

ROLES = (
    replace(sidecar("a", app="client", team="x"), locality=Locality("eu", "eu-1")),
    replace(sidecar("c", app="client", team="y"), locality=Locality("eu", "eu-2")),
    replace(sidecar("c", app="client", team="y"), locality=Locality("us", "us-1")),
    sidecar("a", app="other"),
    sidecar("b", app="client"),
    sidecar("c", app="client"),
    sidecar("istio-system", app="client"),
    gateway(istio="ingressgateway"),
)
PLAIN = ROLES[2:7]
NAMESPACES = ("a", "b", "c", "istio-system")
SERVICES = ("one", "two", "three")  # in a, b and b; two ports for the last
EXPORTS = (None, ["*"], ["."], ["a"], ["b", "c"], ["istio-system"])
HOSTS = (
    "one.a.svc.cluster.local",
    "two.b.svc.cluster.local",
    "three.b.svc.cluster.local",
    "*.b.svc.cluster.local",
    "*.local",
    "elsewhere.example.com",
)
EXACT = HOSTS[:3]


def services(exports: tuple[object, ...]) -> str:
    texts = []
    for name, namespace, export in zip(SERVICES, ("a", "b", "b"), exports, strict=True):
        text = a_service(name, 80, namespace)
        if export is not None:
            value = ",".join(export)  # type: ignore[arg-type]  # a list of names
            note = f'annotations: {{networking.istio.io/exportTo: "{value}"}}'
            text = text.replace(f"namespace: {namespace}}}", f"namespace: {namespace}, {note}}}")
        texts.append(text)
        for version in ("v1", "v2"):
            address = f"10.1.{SERVICES.index(name)}.{1 if version == 'v1' else 2}"
            place = {"istio-locality": "eu.eu-1" if version == "v1" else "us.us-1", "team": "x"}
            labels = {"app": name, "version": version, **place}
            pod = a_pod(f"{name}-{version}", address, namespace, True, **labels)
            texts.append(pod)
    texts.append(a_service("tcp", 9000, "b", "tcp"))
    return "\n---\n".join(texts)


def document(kind: str, number: int, namespace: str, spec: dict[str, object]) -> str:
    version = "v1alpha3" if kind == "EnvoyFilter" else "v1"
    return f"""
apiVersion: networking.istio.io/{version}
kind: {kind}
metadata: {{name: rule-{number}, namespace: {namespace}}}
spec: {spec!r}
"""


PLACED = tuple(
    {"localityLbSetting": setting}
    for setting in (
        {"distribute": [{"from": "eu/*", "to": {"eu/eu-1": 70, "us/*": 30}}]},
        {"failover": [{"from": "eu", "to": "us"}]},
        {"failoverPriority": ["team", "topology.kubernetes.io/region"]},
    )
)


@st.composite
def destination_rule(draw: st.DrawFn) -> tuple[str, str, dict[str, object]]:
    namespace = draw(st.sampled_from(NAMESPACES))
    spec: dict[str, object] = {
        "host": draw(st.sampled_from(HOSTS)),
        "trafficPolicy": {
            "connectionPool": {"tcp": {"maxConnections": draw(st.integers(1, 1000))}},
            "loadBalancer": draw(
                st.sampled_from(
                    [{"simple": "RANDOM"}, {"consistentHash": {"useSourceIp": 1 > 0}}, *PLACED]
                )
            ),
            **draw(st.sampled_from([{}, {"outlierDetection": {"consecutive5xxErrors": 1}}])),
        },
        "subsets": [{"name": v, "labels": {"version": v}} for v in draw(_VERSIONS)],
    }
    if draw(st.booleans()):
        spec["workloadSelector"] = {"matchLabels": {"app": "client"}}
    else:
        _export(draw, spec)
    return "DestinationRule", namespace, spec


_VERSIONS = st.lists(st.sampled_from(["v1", "v2"]), unique=True)


@st.composite
def virtual_service(draw: st.DrawFn) -> tuple[str, str, dict[str, object]]:
    namespace = draw(st.sampled_from(NAMESPACES))

    def destination() -> dict[str, object]:
        found: dict[str, object] = {"host": draw(st.sampled_from(EXACT))}
        subset = draw(st.sampled_from(["", "v1", "v2"]))
        return {"destination": {**found, "subset": subset} if subset else found}

    match: dict[str, object] = {"uri": {"prefix": "/x"}}
    if draw(st.booleans()):
        match["sourceLabels"] = {"app": "client"}
    if draw(st.booleans()):
        match["sourceNamespace"] = draw(st.sampled_from(NAMESPACES))
    first: dict[str, object] = {"match": [match], "route": [destination()]}
    if draw(st.booleans()):
        first["mirror"] = destination()["destination"]
    hosts = draw(st.lists(st.sampled_from(HOSTS), min_size=1, max_size=2, unique=True))
    spec: dict[str, object] = {"hosts": hosts, "http": [first, {"route": [destination()]}]}
    _export(draw, spec)
    return "VirtualService", namespace, spec


def _export(draw: st.DrawFn, spec: dict[str, object]) -> None:
    export = draw(st.sampled_from(EXPORTS))
    if export is not None:
        spec["exportTo"] = export


IMPORTS = (
    "*/*",
    "./*",
    "~/*",
    "a/*",
    "b/two.b.svc.cluster.local",
    "*/one.a.svc.cluster.local",
    "b/*.b.svc.cluster.local",
    "*/elsewhere.example.com",
)
PORTS = (
    {"number": 80, "protocol": "HTTP", "name": "http"},
    {"number": 9000, "protocol": "TCP", "name": "tcp"},
    {"number": 3128, "protocol": "HTTP_PROXY", "name": "proxy"},
)


@st.composite
def sidecar_object(draw: st.DrawFn) -> tuple[str, str, dict[str, object]]:
    hosts = st.lists(st.sampled_from(IMPORTS), min_size=1, max_size=3)
    ports = draw(st.lists(st.sampled_from(PORTS), max_size=2, unique_by=lambda p: str(p["number"])))
    capture = st.sampled_from(["DEFAULT", "NONE"])
    egress: list[object] = [
        {"port": port, "hosts": draw(hosts), "captureMode": draw(capture)} for port in ports
    ]
    if not egress or draw(st.booleans()):
        egress.append({"hosts": draw(hosts)})
    spec: dict[str, object] = {"egress": egress}
    if draw(st.booleans()):
        spec["workloadSelector"] = {"labels": {"app": "client"}}
    if draw(st.booleans()):
        mode = draw(st.sampled_from(["REGISTRY_ONLY", "ALLOW_ANY"]))
        spec["outboundTrafficPolicy"] = {"mode": mode}
    return "Sidecar", draw(st.sampled_from(NAMESPACES)), spec


ENTRY_PORTS = (
    {"number": 80, "protocol": "HTTP", "name": "http", "targetPort": 8080},
    {"number": 443, "protocol": "TLS", "name": "tls"},
    {"number": 9000, "protocol": "TCP", "name": "tcp"},
)
RESOLUTIONS: tuple[dict[str, object], ...] = (
    {"resolution": "NONE"},
    {"resolution": "DNS"},
    {"resolution": "STATIC", "endpoints": [{"address": "10.2.0.1", "labels": {"version": "v1"}}]},
    {"resolution": "STATIC", "workloadSelector": {"labels": {"app": "one"}}},
)


@st.composite
def service_entry(draw: st.DrawFn) -> tuple[str, str, dict[str, object]]:
    """Hosts of its own, and hosts that a Service or another namespace's entry has too."""
    hosts = st.sampled_from(["elsewhere.example.com", "other.example.com", *EXACT[:2]])
    spec: dict[str, object] = {
        "hosts": draw(st.lists(hosts, min_size=1, max_size=2, unique=True)),
        "ports": draw(
            st.lists(st.sampled_from(ENTRY_PORTS), min_size=1, unique_by=lambda p: str(p["number"]))
        ),
        "location": draw(st.sampled_from(["MESH_EXTERNAL", "MESH_INTERNAL"])),
        **draw(st.sampled_from(RESOLUTIONS)),
    }
    _export(draw, spec)
    return "ServiceEntry", draw(st.sampled_from(NAMESPACES)), spec


RULES = st.lists(
    st.one_of(destination_rule(), virtual_service(), sidecar_object(), service_entry()), max_size=5
)


def configuration(texts: list[str]) -> list[object]:
    graph = Graph(*texts)
    return [graph.resources(role) for role in ROLES]


def unshared(texts: list[str]) -> list[object]:
    with (
        mock.patch.object(views, "of_host", lambda get, scope, host: scope),
        mock.patch.object(views, "of_endpoints", lambda get, scope, host: scope),
        mock.patch.object(views, "of_routes", lambda get, scope, service: scope),
    ):
        return configuration(texts)


TO_TWO: dict[str, object] = {"route": [{"destination": {"host": "two.b.svc.cluster.local"}}]}
HASHING: dict[str, object] = {
    "host": "two.b.svc.cluster.local",
    "trafficPolicy": {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}}},
}
MIRROR: dict[str, object] = {
    "route": [{"destination": {"host": "one.a.svc.cluster.local"}}],
    "mirror": {"host": "two.b.svc.cluster.local"},
}


@example(  # a namespace's rule for the host that everybody's rules lead to
    (None, None, None),
    [
        ("VirtualService", "a", {"hosts": ["one"], "http": [TO_TWO]}),
        ("DestinationRule", "c", HASHING),
    ],
)
@example(  # a service that not all see, behind a host that all see
    (None, ["b", "c"], None), [("VirtualService", "a", {"hosts": ["one"], "http": [MIRROR]})]
)
@example(  # the rules that everybody else has are not imported
    (None, None, None),
    [
        ("VirtualService", "c", {"hosts": ["one.a.svc.cluster.local"], "http": [TO_TWO]}),
        ("Sidecar", "b", {"egress": [{"hosts": ["*/one.a.svc.cluster.local", "a/*", "b/*"]}]}),
        ("Sidecar", "istio-system", {"egress": [{"hosts": ["a/*"]}]}),
    ],
)
@settings(max_examples=100, deadline=None)
@given(st.tuples(*[st.sampled_from(EXPORTS)] * 3), RULES)
def test_sharing_changes_no_byte(
    exports: tuple[object, ...], rules: list[tuple[str, str, dict[str, object]]]
) -> None:
    texts = [services(exports)]
    texts += [document(kind, n, namespace, spec) for n, (kind, namespace, spec) in enumerate(rules)]
    assert configuration(texts) == unshared(texts)


def particular(graph: Graph, namespace: str) -> Callable[[str], bool]:
    found = graph.engine.value(views.particular_hosts, Namespace(namespace))
    assert isinstance(found, HostSet)
    return lambda host: Hostname(host) in found


@pytest.mark.parametrize(
    ("namespace", "spec", "by"),
    [
        # https://istio.io/latest/docs/reference/config/networking/destination-rule/: a client's
        # own namespace is looked in first; exportTo says who else sees a rule.
        ("b", {"host": "two"}, {"b"}),
        ("c", {"host": "two.b.svc.cluster.local"}, {"c"}),
        ("c", {"host": "*.b.svc.cluster.local"}, {"c"}),
        ("b", {"host": "two", "exportTo": ["a", "c"]}, {"a", "b", "c"}),
        ("istio-system", {"host": "two.b.svc.cluster.local"}, {"istio-system"}),
    ],
)
def test_who_sees_a_host_apart(namespace: str, spec: dict[str, object], by: set[str]) -> None:
    graph = Graph(services((None, None, None)), document("DestinationRule", 1, namespace, spec))
    found = {n for n in NAMESPACES if particular(graph, n)("two.b.svc.cluster.local")}
    assert found == by
    assert not any(particular(graph, n)("one.a.svc.cluster.local") for n in NAMESPACES)


def test_plain_services_are_computed_once_for_all_namespaces() -> None:
    graph = Graph(services((None, None, None)))
    for role in PLAIN:
        graph.observe(role)
    graph.engine.runs.clear()
    graph.apply(a_pod("two-v3", "10.1.9.9", "b", app="two", version="v3"))
    assert graph.engine.runs[localities.load_assignment] == 1
    graph.engine.runs.clear()
    graph.apply(a_service("two", 80, "b", "http2"))
    # One for the namespace's own short names, one for everybody else; not one for each of three.
    assert graph.engine.runs[destinations.cluster] == 1
    assert graph.engine.runs[outbound.service_virtual_host] == 2


def test_a_rule_of_one_namespace_sets_it_apart_and_back() -> None:
    graph = Graph(services((None, None, None)))
    for role in PLAIN:
        graph.observe(role)
    rule = document(
        "DestinationRule",
        1,
        "a",
        {
            "host": "two.b.svc.cluster.local",
            "trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": 7}}},
        },
    )
    name = "outbound|80||two.b.svc.cluster.local"
    before = {role: graph.resources(role)["CDS", name] for role in PLAIN}
    changed = graph.apply(rule)
    assert {change.args[0].scope.namespace for change in changed} == {"a"}  # type: ignore[attr-defined]  # a layer
    after = {role: graph.resources(role)["CDS", name] for role in PLAIN}
    assert {role.namespace for role in before if before[role] != after[role]} == {"a"}
    graph.delete("DestinationRule", "a", "rule-1")
    assert {role: graph.resources(role)["CDS", name] for role in PLAIN} == before


def test_a_sidecar_makes_proxies_small() -> None:
    texts = [a_service(f"svc-{n}", 80, f"ns-{n % 10}") for n in range(200)]
    graph = Graph(*texts)
    role = sidecar("ns-1", app="client")
    before = graph.resources(role)
    assert sum(kind == "CDS" for kind, _ in before) > 200
    graph.apply(document("Sidecar", 1, "ns-1", {"egress": [{"hosts": ["./*"]}]}))
    after = graph.resources(role)
    own = {name for kind, name in after if kind == "CDS" and name.startswith("outbound|")}
    assert len(own) == 20
    # What it sees is what everybody sees: the same bytes, computed once.
    assert {key: after[key] for key in after if key[0] in ("CDS", "EDS")}.items() <= before.items()
    assert len(after["RDS", "80"].body) < len(before["RDS", "80"].body) / 5


def test_proxies_of_one_sidecar_share_everything() -> None:
    graph = Graph(services((None, None, None)))
    graph.apply(document("Sidecar", 1, "istio-system", {"egress": [{"hosts": ["b/*"]}]}))
    graph.observe(sidecar("a", app="client"))
    graph.engine.runs.clear()
    graph.observe(sidecar("a", app="other"))
    assert graph.engine.runs[outbound.port_table] == 0
    assert graph.engine.runs[destinations.cluster] == 0


def test_services_that_a_sidecar_does_not_import_change_nothing() -> None:
    graph = Graph(services((None, None, None)))
    graph.apply(document("Sidecar", 1, "a", {"egress": [{"hosts": ["a/*"]}]}))
    graph.observe(ROLES[0])
    assert graph.apply(a_service("more", 80, "b")) == ()
    assert graph.apply(a_pod("two-v3", "10.1.9.9", "b", app="two", version="v3")) == ()
