"""What becomes of destinations that the mesh does not know, by its outboundTrafficPolicy.

https://istio.io/latest/docs/tasks/traffic-management/egress/egress-control/
https://istio.io/latest/docs/reference/config/annotations/ (``traffic.sidecar.istio.io``)
"""

import contextlib
import functools
import threading
from collections.abc import Iterator

import pytest
from inside import Answer, Inside, InsideError, inside
from manifests import deployment, mesh_config, namespace, server, service
from mesh import Mesh, eventually
from rules import Rules, document

from argosy.platforms.local.subnets import SERVICE_SUBNET

pytestmark = pytest.mark.e2e

REGISTRY_ONLY = mesh_config("outboundTrafficPolicy: {mode: REGISTRY_ONLY}")
ALLOW_ANY = mesh_config("outboundTrafficPolicy: {mode: ALLOW_ANY}")

WORKLOADS = (
    namespace("legacy", {"istio-injection": "disabled"})
    + deployment("curl", image="curlimages/curl")
    + deployment("curl", image="curlimages/curl", namespace="legacy")
    + deployment("outside", *server("any", "8000,8443,7000"), port=8000, namespace="legacy")
    + deployment("known", *server("any", "8000,7000"), port=8000)
    + service("known", "known", {"name": "http", "port": 8000}, {"name": "tcp", "port": 7000})
    # Many addresses, so that it takes a while to tell the kernel of an endpoint.
    + "".join(service(f"other-{i}", "other", {"name": "http", "port": 8000}) for i in range(20))
    + service("undeclared", "known", {"port": 7443, "targetPort": 7000})
)


@pytest.fixture(scope="module")
def egress(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    file = tmp_path_factory.mktemp("yaml") / "workloads.yaml"
    file.write_text(WORKLOADS)
    mesh.up(file)
    return mesh


@pytest.fixture(scope="module")
def curl(egress: Mesh) -> Iterator[Inside]:
    with inside(egress, "deploy/curl") as clients:
        yield clients


@pytest.fixture(scope="module")
def address(egress: Mesh) -> str:
    """Of a server without a sidecar, in no service: as good as a server on the internet."""
    (pod,) = egress.get("pods", "-n", "legacy", "-l", "app=outside")
    found: str = pod["status"]["podIP"]
    return found


@pytest.fixture
def rules(egress: Mesh) -> Iterator[Rules]:
    with Rules(egress) as rules:
        yield rules


def passes(curl: Inside, address: str) -> None:
    on_http_port = curl.get(f"http://{address}:8000/a", headers={"host": "www.example.com"})
    assert on_http_port.status == 200
    assert on_http_port.json["headers"]["host"] == "www.example.com"
    assert on_http_port.headers["server"] == "envoy", "port 8000 is HTTP here, so Envoy sees it"
    elsewhere = curl.get(f"http://{address}:8443/b")
    assert elsewhere.status == 200
    assert "server" not in elsewhere.headers, "opaque bytes: Envoy has nothing on port 8443"
    h2c = curl.get(f"http://{address}:8000/", http2=True)
    assert h2c.json["protocol"] == "HTTP/2", "the client's protocol is kept"
    assert curl.call("exchange", host=address, port=7000, text="some bytes") == "raw:some bytes"
    assert curl.call("exchange", host=address, port=8000, text="some bytes") == "raw:some bytes"


def is_blocked(curl: Inside, address: str) -> None:
    for host in (f"{address}:8000", "www.example.com"):
        answer = curl.get(f"http://{address}:8000/", headers={"host": host})
        assert (answer.status, answer.body) == (502, ""), host
    for port in (8443, 7000):
        answer = curl.get(f"http://{address}:{port}/")
        assert answer.status == 0, "a closed connection"
        assert "disconnected" in answer.error or "reset" in answer.error, answer.error
    with contextlib.suppress(InsideError):  # reset instead of closed
        assert curl.call("exchange", host=address, port=8000, text="some bytes") == ""


def mesh_is_served(curl: Inside) -> None:
    assert curl.get("http://known:8000/").status == 200
    assert curl.call("exchange", host="known", port=7000, text="some bytes") == "raw:some bytes"
    assert curl.get("http://undeclared:7443/").status == 200


@pytest.mark.covers("MeshConfig.outboundTrafficPolicy.mode")
def test_unknown_destinations_pass_unless_told_otherwise(
    rules: Rules, curl: Inside, address: str
) -> None:
    """ALLOW_ANY is the default; the switch is live, both ways."""
    passes(curl, address)
    for _ in range(2):
        rules.apply("config", REGISTRY_ONLY)
        is_blocked(curl, address)
        mesh_is_served(curl)
        rules.apply("config", ALLOW_ANY)
        passes(curl, address)
        mesh_is_served(curl)
    rules.apply("config", REGISTRY_ONLY)
    is_blocked(curl, address)
    rules.delete("config")
    passes(curl, address)


def test_a_connection_that_is_open_outlives_the_switch(
    rules: Rules, curl: Inside, address: str
) -> None:
    """To the mesh: the listeners of TCP services do not depend on the policy."""
    connection = curl.call("connect", host="known", port=7000)
    curl.call("send", connection=connection, text="before")
    assert curl.call("receive", connection=connection, count=10) == "raw:before"
    rules.apply("config", REGISTRY_ONLY)
    curl.call("send", connection=connection, text="after")
    assert curl.call("receive", connection=connection, count=9) == "raw:after"
    curl.call("close", connection=connection)


def test_workloads_without_a_sidecar_lose_no_request_while_endpoints_change(
    egress: Mesh, rules: Rules
) -> None:
    """Their way to service addresses is replaced in one step whenever an endpoint comes or goes."""
    found: list[Answer] = []

    def load() -> None:
        with inside(egress, "deploy/curl", "legacy") as legacy:
            while not done.is_set():
                found.extend(
                    legacy.requests("http://known.default:8000/", count=100, parallel=2, fresh=True)
                )

    done = threading.Event()
    thread = threading.Thread(target=load)
    thread.start()
    try:
        other = ("other", *server("any", 8000))
        for replicas in (2, 1, 3):
            rules.apply("other", deployment(*other, port=8000, replicas=replicas))
            egress.argosy("wait", "deploy/other", "--for", "available")
    finally:
        done.set()
        thread.join()
    assert len(found) >= 200
    failed = [answer for answer in found if answer.status != 200]
    assert not failed, (len(failed), len(found), failed[0])


LOGGED = mesh_config("accessLogFile: /dev/stdout\noutboundTrafficPolicy: {mode: REGISTRY_ONLY}")
TRAFFIC = "traffic.sidecar.istio.io/"


def client(name: str, **traffic: str) -> str:
    annotations = {f"{TRAFFIC}{key}": value for key, value in traffic.items()}
    return deployment(name, image="curlimages/curl", annotations=annotations)


def logged(mesh: Mesh, target: str, path: str) -> bool:
    text = mesh.argosy("logs", f"deploy/{target}", "-c", "istio-proxy").stdout
    return f"GET {path} " in text


def test_what_annotations_keep_from_the_proxy_passes_it_by(
    egress: Mesh, rules: Rules, address: str
) -> None:
    """Direct access to external services: 200 under REGISTRY_ONLY, and the proxy logs nothing."""
    rules.apply("config", LOGGED)
    rules.apply("excluding", client("excluding", excludeOutboundIPRanges=f"{address}/32"))
    rules.apply("including", client("including", includeOutboundIPRanges=str(SERVICE_SUBNET)))
    rules.apply("port", client("port", excludeOutboundPorts="8000"))
    names = ("curl", "excluding", "including", "port")
    for name in names[1:]:
        egress.argosy("wait", f"deploy/{name}", "--for", "available")
    with contextlib.ExitStack() as stack:
        clients = {name: stack.enter_context(inside(egress, f"deploy/{name}")) for name in names}
        unknown = f"http://{address}:8000/unknown"
        eventually(lambda: clients["curl"].get(unknown).status == 502, "REGISTRY_ONLY")
        for name in names[1:]:
            found = clients[name].get(unknown)
            assert (found.status, found.headers.get("server")) == (200, None), name
        for name in ("excluding", "including"):
            other = clients[name].get("http://known:8000/known")
            assert (other.status, other.headers.get("server")) == (200, "envoy"), name
        # A service's address means its endpoints without the proxy too.
        direct = clients["port"].get("http://known:8000/known")
        assert (direct.status, direct.headers.get("server")) == (200, "istio-envoy"), "the server's"
        assert clients["port"].get(f"http://{address}:8443/").status == 0, (
            "other ports are captured"
        )
        # Logs are written once a second: what is logged tells that the rest would be.
        eventually(lambda: logged(egress, "curl", "/unknown"), "the refusal is logged")
        for name in ("excluding", "including"):
            eventually(functools.partial(logged, egress, name, "/known"), f"{name} logs")
            assert not logged(egress, name, "/unknown"), name
        assert not logged(egress, "port", "/known")


def test_inbound_ports_that_the_proxy_does_not_guard(egress: Mesh, rules: Rules) -> None:
    """Mutual TLS is demanded on the others."""
    annotations = {f"{TRAFFIC}excludeInboundPorts": "8000"}
    rules.apply(
        "half", deployment("half", *server("any", "8000,7000"), port=8000, annotations=annotations)
    )
    strict = document(
        "security.istio.io/v1", "PeerAuthentication", "default", {"mtls": {"mode": "STRICT"}}
    )
    rules.apply("strict", strict)
    egress.argosy("wait", "deploy/half", "--for", "available")
    (pod,) = egress.get("pods", "-l", "app=half")
    with inside(egress, "deploy/curl", "legacy") as legacy:

        def guarded() -> bool:
            return legacy.get(f"http://{pod['status']['podIP']}:7000/").status == 0

        eventually(guarded, "the proxy demands mutual TLS")
        found = legacy.get(f"http://{pod['status']['podIP']}:8000/")
        assert (found.status, found.headers.get("server")) == (200, None)
