"""Nobody captures another namespace's hosts for third parties, unless the mesh says so.

``owner`` has the service, ``thief`` writes rules for it, ``third`` calls it.
"""

import json
from collections.abc import Iterator

import pytest
from inside import Inside, inside
from manifests import deployment, namespace, server, service
from mesh import Mesh, eventually
from rules import Rules

pytestmark = pytest.mark.e2e

SHOP = "shop.owner.svc.cluster.local"
URL = f"http://{SHOP}:8000/"
ISTIO = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  argosy: |-
    hostOwnership: ISTIO
"""
WORKLOADS = (
    "".join(namespace(name) for name in ("owner", "thief", "third"))
    + deployment("curl", image="curlimages/curl", namespace="thief")
    + deployment("curl", image="curlimages/curl", namespace="third")
    + deployment("shop", *server("any", "8000,8001"), port=8000, namespace="owner")
    + service(
        "shop",
        "shop",
        {"name": "http", "port": 8000},
        {"name": "tcp", "port": 8001},
        namespace="owner",
    )
    + deployment("trap", *server("any", "8000,8001"), port=8000, namespace="thief")
    + service(
        "trap",
        "trap",
        {"name": "http", "port": 8000},
        {"name": "tcp", "port": 8001},
        namespace="thief",
    )
)


def answers(status: int, where: str, *hosts: str, **more: object) -> str:
    """A VirtualService that answers itself."""
    spec = {"hosts": hosts, "http": [{"directResponse": {"status": status}}], **more}
    metadata = {"name": "capture", "namespace": where}
    kind = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService"}
    return json.dumps({**kind, "metadata": metadata, "spec": spec})


def entry(where: str, name: str, **spec: object) -> str:
    metadata = {"name": name, "namespace": where}
    kind = {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry"}
    return json.dumps({**kind, "metadata": metadata, "spec": spec})


@pytest.fixture(scope="module")
def shared(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    file = tmp_path_factory.mktemp("yaml") / "workloads.yaml"
    file.write_text(WORKLOADS)
    mesh.up(file)
    return mesh


@pytest.fixture(scope="module")
def thief(shared: Mesh) -> Iterator[Inside]:
    with inside(shared, "deploy/curl", "thief") as clients:
        yield clients


@pytest.fixture(scope="module")
def third(shared: Mesh) -> Iterator[Inside]:
    with inside(shared, "deploy/curl", "third") as clients:
        yield clients


@pytest.fixture
def rules(shared: Mesh) -> Iterator[Rules]:
    with Rules(shared) as rules:
        yield rules


def lookup(client: Inside, name: str) -> list[str]:
    """The addresses of a name, by DNS."""
    found: list[str] = client.call("lookup", name=name)["answers"]
    return [answer.split()[-1] for answer in found]


def is_status(client: Inside, status: int, url: str = URL) -> None:
    eventually(lambda: client.get(url).status == status, f"status {status}")


@pytest.mark.parametrize("host", [SHOP, "*.owner.svc.cluster.local"])
def test_rules_for_a_foreign_host_hold_at_home_only(
    shared: Mesh, rules: Rules, thief: Inside, third: Inside, host: str
) -> None:
    rules.apply("capture", answers(418, "thief", host))
    is_status(thief, 418)
    assert third.get(URL).status == 200
    (found,) = shared.get("virtualservice/capture", "-n", "thief")
    (message,) = found["status"]["validationMessages"]
    assert message["field"] == "spec.hosts[0]"
    assert "namespace owner" in message["message"]

    rules.apply("switch", ISTIO)
    is_status(third, 418)
    (found,) = shared.get("virtualservice/capture", "-n", "thief")
    assert not found["status"].get("validationMessages")
    rules.delete("switch")
    is_status(third, 200)
    assert thief.get(URL).status == 418


def test_the_owner_and_the_mesh_rule_everybody(rules: Rules, thief: Inside, third: Inside) -> None:
    for where in ("owner", "istio-system"):
        rules.apply("capture", answers(418, where, SHOP))
        is_status(third, 418)
        is_status(thief, 418)
        rules.delete("capture")
        is_status(third, 200)


def test_the_owner_may_lend_its_host(rules: Rules, third: Inside) -> None:
    """By a delegate, which is the owner's consent."""
    lent = json.loads(answers(418, "thief"))
    del lent["spec"]["hosts"]
    spec = {"hosts": [SHOP], "http": [{"delegate": {"name": "capture", "namespace": "thief"}}]}
    own = {**lent, "metadata": {"name": "lends", "namespace": "owner"}, "spec": spec}
    rules.apply("capture", json.dumps(lent) + "\n---\n" + json.dumps(own))
    is_status(third, 418)


def test_policies_for_a_foreign_host_hold_at_home_only(
    rules: Rules, thief: Inside, third: Inside
) -> None:
    policy = {"trafficPolicy": {"tls": {"mode": "SIMPLE"}}, "host": SHOP}
    kind = {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule"}
    metadata = {"name": "capture", "namespace": "thief"}
    rules.apply("capture", json.dumps({**kind, "metadata": metadata, "spec": policy}))
    is_status(thief, 503)  # TLS to a port that has none
    assert third.get(URL).status == 200


@pytest.mark.parametrize(
    "host", ["ghost.owner.svc.cluster.local", "*.ghosts.owner.svc.cluster.local"]
)
def test_names_of_a_foreign_namespace_mean_nothing_to_others(
    shared: Mesh, rules: Rules, thief: Inside, third: Inside, host: str
) -> None:
    (trap,) = shared.get("service/trap", "-n", "thief")
    ports = [{"number": 8000, "name": "http", "protocol": "HTTP"}]
    address = {"addresses": ["198.51.100.7"], "resolution": "STATIC"}
    ends = {"endpoints": [{"address": trap["spec"]["clusterIP"]}]}
    rules.apply("ghost", entry("thief", "ghost", hosts=[host], ports=ports, **address, **ends))
    named = host.replace("*", "a")
    known = ["198.51.100.7"]
    eventually(lambda: lookup(thief, named) == known, "the thief knows the name")
    assert lookup(third, named) == []
    (found,) = shared.get("serviceentry/ghost", "-n", "thief")
    assert any("namespace owner" in m["message"] for m in found["status"]["validationMessages"])
    rules.apply("switch", ISTIO)
    eventually(lambda: lookup(third, named) == known, "the third knows the name")


def test_addresses_of_a_foreign_service_are_not_for_the_taking(
    shared: Mesh, rules: Rules, third: Inside
) -> None:
    (shop,) = shared.get("service/shop", "-n", "owner")
    (trap,) = shared.get("pods", "-n", "thief", "-l", "app=trap")
    address = shop["spec"]["clusterIP"]
    ports = [
        {"number": 8000, "name": "http", "protocol": "HTTP"},
        {"number": 8001, "name": "tcp", "protocol": "TCP"},
    ]
    rules.apply(
        "addresses",
        entry(
            "thief",
            "addresses",
            hosts=["a.example.com"],
            addresses=[address],
            ports=ports,
            resolution="STATIC",
            endpoints=[{"address": trap["status"]["podIP"]}],
        ),
    )
    (found,) = shared.get("serviceentry/addresses", "-n", "thief")
    messages = [
        m for m in found["status"]["validationMessages"] if m["field"] == "spec.addresses[0]"
    ]
    assert "Service owner/shop" in messages[0]["message"]
    for port in (8000, 8001):
        answer = third.get(f"http://{address}:{port}/")
        assert answer.status == 200
        assert answer.json["hostname"].startswith("shop-"), port
