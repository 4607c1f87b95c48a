"""Kubernetes' NetworkPolicies, as Istio's egress gateway task needs them, and beyond.

https://istio.io/latest/docs/tasks/traffic-management/egress/egress-gateway/#apply-kubernetes-network-policies
https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

import contextlib
import functools
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from credentials import GATEWAYS
from external import Internet, Site, internet
from inside import Inside, inside
from manifests import deployment, namespace, server, service
from mesh import Mesh, eventually
from rules import Rules

pytestmark = pytest.mark.e2e

CNN = "edition.cnn.com"
URL = f"https://{CNN}/politics"
PAST = {"traffic.sidecar.istio.io/excludeOutboundIPRanges": "0.0.0.0/0"}
NO_SIDECAR = {"sidecar.istio.io/inject": "false"}
GATEWAY = "istio-egressgateway.istio-system.svc.cluster.local"
SECONDS = 2.0
"""What is dropped is never answered."""

WORKLOADS = (
    namespace("test-egress")
    + namespace("legacy", {"istio-injection": "disabled"})
    + namespace(GATEWAYS, {"istio": "system"})
    + deployment("plain", image="curlimages/curl", namespace="test-egress", annotations=NO_SIDECAR)
    + deployment("curl", image="curlimages/curl", namespace="test-egress")
    + deployment("past", image="curlimages/curl", namespace="test-egress", annotations=PAST)
    + deployment("web", *server("any", "8000,9000"), port=8000)
    + service("web", "web", {"name": "http", "port": 8000}, {"name": "tcp", "port": 9000})
    + deployment("curl", image="curlimages/curl")
    + deployment("curl", image="curlimages/curl", namespace="legacy")
)


class World(NamedTuple):
    mesh: Mesh
    rules: Rules
    net: Internet
    clients: dict[str, Inside]


@pytest.fixture(scope="module")
def world(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("policies")
    file = directory / "world.yaml"
    file.write_text(WORKLOADS)
    with internet(mesh, directory, Site(CNN)) as net:
        mesh.up(file, net.manifest, options=("--egress-gateway",))
        net.connect()
        names = {
            "plain": ("plain", "test-egress"),
            "curl": ("curl", "test-egress"),
            "past": ("past", "test-egress"),
            "default": ("curl", "default"),
            "legacy": ("curl", "legacy"),
        }
        with Rules(mesh) as rules, contextlib.ExitStack() as stack:
            clients = {
                name: stack.enter_context(inside(mesh, f"deploy/{app}", where))
                for name, (app, where) in names.items()
            }
            yield World(mesh, rules, net, clients)


@pytest.fixture(autouse=True)
def nothing_left(world: World) -> Iterator[None]:
    """Each test begins without rules."""
    yield
    world.rules.clear()


def document(version: str, kind: str, name: str, spec: object, place: str = "default") -> str:
    metadata = {"name": name, "namespace": place}
    return json.dumps({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})


def policy(name: str, place: str, **spec: Any) -> str:
    spec = {"podSelector": {}, **spec}
    return document("networking.k8s.io/v1", "NetworkPolicy", name, spec, place)


def labelled(**labels: str) -> dict[str, Any]:
    return {"matchLabels": labels}


ONLY_THE_MESH = policy(
    "allow-egress-to-istio-system-and-kube-dns",
    "test-egress",
    policyTypes=["Egress"],
    egress=[
        {
            "to": [{"namespaceSelector": labelled(**{"kube-system": "true"})}],
            "ports": [{"protocol": "UDP", "port": 53}],
        },
        {"to": [{"namespaceSelector": labelled(istio="system")}]},
    ],
)


def through_the_gateway(rules: Rules) -> None:
    """The objects of the task for HTTPS."""
    group = "networking.istio.io/v1"
    tls = {"number": 443, "name": "tls", "protocol": "TLS"}
    entry = {"hosts": [CNN], "ports": [tls], "resolution": "DNS"}
    rules.apply("entry", document(group, "ServiceEntry", "cnn", entry))
    server = {"port": tls, "hosts": [CNN], "tls": {"mode": "PASSTHROUGH"}}
    gateway = {"selector": {"istio": "egressgateway"}, "servers": [server]}
    rules.apply("gateway", document(group, "Gateway", "istio-egressgateway", gateway))
    subset = {"host": GATEWAY, "subsets": [{"name": "cnn"}]}
    for place in ("default", "test-egress"):
        name = "egressgateway-for-cnn"
        rules.apply(f"rule-{place}", document(group, "DestinationRule", name, subset, place))

    def to(host: str, subset: str = "") -> list[dict[str, Any]]:
        return [{"destination": {"host": host, "subset": subset, "port": {"number": 443}}}]

    def tls_rule(gateway: str, route: list[dict[str, Any]]) -> dict[str, Any]:
        match = {"gateways": [gateway], "port": 443, "sniHosts": [CNN]}
        return {"match": [match], "route": route}

    spec = {
        "hosts": [CNN],
        "gateways": ["mesh", "istio-egressgateway"],
        "tls": [
            tls_rule("mesh", to(GATEWAY, "cnn")),
            tls_rule("istio-egressgateway", to(CNN)),
        ],
    }
    name = "direct-cnn-through-egress-gateway"
    rules.apply("routes", document(group, "VirtualService", name, spec))


def used(mesh: Mesh) -> int:
    """Connections that the egress gateway has made to the site."""
    text = mesh.envoy("deploy/istio-egressgateway", "/clusters", GATEWAYS)
    lines = [line for line in text.splitlines() if line.startswith(f"outbound|443||{CNN}::")]
    return sum(int(line.rpartition("::")[2]) for line in lines if "::cx_total::" in line)


@pytest.mark.covers(
    "NetworkPolicy.podSelector",
    "NetworkPolicy.policyTypes",
    "NetworkPolicy.egress[].to[]",
)
def test_only_the_egress_gateway_reaches_the_outside(world: World) -> None:
    """The task: 200 before; no way past the gateway after, by whatever client; 200 through it."""
    mesh, rules, net, clients = world

    real = f"https://{net.address(CNN)}/politics"

    def status(name: str) -> int:
        """By its name; who goes past the proxy by the site's own address, as DNS has it outside."""
        url = URL if name in ("curl", "default") else real
        return clients[name].get(url, ca=net.ca, server_name=CNN, timeout=SECONDS).status

    def is_shut_in(name: str) -> bool:
        return status(name) == 0

    within = ("plain", "curl", "past")
    assert [status(name) for name in within] == [200, 200, 200]
    kept = clients["plain"].call("connect", host=net.address(CNN), port=7000)
    clients["plain"].call("send", connection=kept, text="a")
    assert clients["plain"].call("receive", connection=kept, count=5) == "raw:a"
    rules.apply("policy", ONLY_THE_MESH)
    for name in within:
        eventually(functools.partial(is_shut_in, name), f"{name} is shut in", 30)
    clients["plain"].call("send", connection=kept, text="b")
    assert clients["plain"].call("receive", connection=kept, count=5, timeout=SECONDS) == ""
    clients["plain"].call("close", connection=kept)
    assert status("default") == 200, "other namespaces are open"
    through_the_gateway(rules)
    eventually(lambda: status("curl") == 200, "through the gateway", 30)
    before = used(mesh)
    assert status("curl") == 200
    assert used(mesh) == before + 1
    assert status("plain") == 0, "without a sidecar there is no way to the gateway"
    assert status("past") == 0, "nor past one's own sidecar"
    rules.delete("policy")
    eventually(lambda: status("past") == 200, "open again", 30)


@pytest.mark.covers(
    "NetworkPolicy.egress[].to[]",
    "NetworkPolicy.ingress[].from[].ipBlock",
    "NetworkPolicy.egress[].ports[]",
    "NetworkPolicy.ingress[].ports[].protocol",
    "NetworkPolicy.ingress[].ports[].endPort",
)
def test_networks_and_ports_outside(world: World) -> None:
    _, rules, net, clients = world
    address = net.address(CNN)
    only_plain = labelled(app="plain")

    def allow(block: dict[str, Any], *ports: dict[str, Any]) -> None:
        rule = {"to": [{"ipBlock": block}], "ports": list(ports)}
        types = {"policyTypes": ["Egress"], "podSelector": only_plain}
        rules.apply("policy", policy("blocks", "test-egress", **types, egress=[rule]))

    def reaches() -> tuple[bool, bool]:
        plain = clients["plain"]
        ports = (f"http://{CNN}/", URL)
        found = [plain.get(url, ca=net.ca, timeout=SECONDS).status == 200 for url in ports]
        return found[0], found[1]

    allow({"cidr": f"{address}/32"})
    eventually(lambda: reaches() == (True, True), "all its ports")
    allow({"cidr": f"{address}/32"}, {"protocol": "TCP", "port": 443})
    eventually(lambda: reaches() == (False, True), "one port")
    allow({"cidr": f"{address}/32"}, {"port": 79, "endPort": 90})
    eventually(lambda: reaches() == (True, False), "a range of ports")
    allow({"cidr": "0.0.0.0/0", "except": [f"{address}/32"]})
    eventually(lambda: reaches() == (False, False), "all but it")
    assert clients["curl"].get(URL, ca=net.ca).status == 200, "the policy does not select it"


@pytest.mark.covers(
    "NetworkPolicy.ingress[].from[].podSelector",
    "NetworkPolicy.ingress[].from[].namespaceSelector",
    "NetworkPolicy.ingress[].ports[].port",
    "NetworkPolicy.podSelector.matchLabels[]",
    "NetworkPolicy.podSelector.matchExpressions[].key",
    "NetworkPolicy.podSelector.matchExpressions[].operator",
    "NetworkPolicy.podSelector.matchExpressions[].values[]",
)
def test_who_may_come_in(world: World) -> None:
    """By the pods behind the connections: a sidecar's are those of its pod."""
    mesh, rules, _, clients = world
    names = ("curl", "default", "legacy")

    def let_in(port: int = 8000) -> list[str]:
        url = f"http://web.default:{port}/"
        return [name for name in names if clients[name].get(url, timeout=SECONDS).status == 200]

    assert let_in() == [*names]
    web = {"podSelector": labelled(app="web")}
    deny = policy("deny", "default", **web, policyTypes=["Ingress"])
    rules.apply("deny", deny)
    eventually(lambda: let_in() == [], "nobody", 30)
    (pod,) = mesh.get("pods", "-l", "app=web")
    ready = [c["status"] for c in pod["status"]["conditions"] if c["type"] == "Ready"]
    assert ready == ["True"], "probes come from the machine"
    # Policies add up.
    own = {"from": [{"podSelector": labelled(app="curl")}], "ports": [{"port": 8000}]}
    rules.apply("own", policy("own", "default", **web, ingress=[own]))
    eventually(lambda: let_in() == ["default"], "pods of one's own namespace")
    assert let_in(9000) == []
    named = {"kubernetes.io/metadata.name": "legacy"}
    curls = {"matchExpressions": [{"key": "app", "operator": "In", "values": ["curl", "x"]}]}
    both = {"podSelector": curls, "namespaceSelector": labelled(**named)}
    rules.apply("other", policy("other", "default", **web, ingress=[{"from": [both]}]))
    eventually(lambda: let_in() == ["default", "legacy"], "and those of another")
    assert let_in(9000) == ["legacy"]


def test_a_mistake_is_said_and_changes_nothing(world: World) -> None:
    _, rules, net, clients = world
    wrong = policy("wrong", "test-egress", egress=[{"to": [{"ipBlock": {"cidr": "10.0.0.300/8"}}]}])
    (problem,) = rules.dry_run(wrong)
    assert (problem["field"], problem["severity"]) == ("spec.egress[0].to[0].ipBlock.cidr", "Error")
    assert clients["plain"].get(URL, ca=net.ca).status == 200
