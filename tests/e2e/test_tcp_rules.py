"""Rules for opaque connections, by who the client is and which address it dials.

https://istio.io/latest/docs/reference/config/networking/virtual-service/#L4MatchAttributes
"""

import contextlib
import json
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from inside import Inside, inside
from manifests import deployment, namespace, server, service
from mesh import Mesh
from rules import Rules

pytestmark = pytest.mark.e2e

TCP = {"name": "tcp", "port": 7000}
TLS = {"name": "tls", "port": 7443, "targetPort": 7000}


def at(address: str, text: str) -> str:
    """The service of a manifest with an address of its choice."""
    value = json.loads(text.partition("\n---\n")[0])
    value["spec"]["clusterIP"] = address
    return json.dumps(value) + "\n---\n"


WORKLOADS = (
    namespace("other")
    + deployment("curl", image="curlimages/curl")
    + deployment("wget", image="curlimages/curl")
    + deployment("curl", image="curlimages/curl", namespace="other")
    + deployment("plain", *server("any", 7000), port=7000)
    + service("plain", "plain", TCP, TLS, {**TLS, "name": "tls-more", "port": 7444})
    + at("10.96.77.7", service("here", "plain", TCP, TLS))
    + at("10.96.78.8", service("there", "plain", TCP, TLS))
    + deployment("greeting", *server("greeting", 7000), port=7000)
    + service("greeting", "greeting", TCP)
)


@pytest.fixture(scope="module")
def clients(meshed: Mesh) -> Iterator[dict[str, Inside]]:
    with ExitStack() as stack:
        yield {
            "curl": stack.enter_context(inside(meshed, "deploy/curl")),
            "wget": stack.enter_context(inside(meshed, "deploy/wget")),
            "other": stack.enter_context(inside(meshed, "deploy/curl", "other")),
        }


def answers(client: Inside, host: str, port: int = 7000, text: str = "hello") -> str:
    """Which server it is."""
    found: str = client.call("exchange", host=host, port=port, text=text)
    assert found.endswith(f":{text}"), found
    return "greeting" if found.endswith(f"echo:{text}") else found.removesuffix(f":{text}")


def client_hello(name: str) -> str:
    """How TLS begins for a server of this name."""
    sent = ssl.MemoryBIO()
    connection = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        connection.do_handshake()
    return sent.read().decode("latin-1")


@pytest.mark.covers(
    "VirtualService.tcp[].match[].sourceLabels",
    "VirtualService.tcp[].match[].sourceNamespace",
    "VirtualService.tcp[].match[].gateways",
    "VirtualService.tcp[].match[].port",
)
def test_who_connects(rules: Rules, clients: dict[str, Inside]) -> None:
    host = "plain.default"
    assert {answers(client, host) for client in clients.values()} == {"raw"}
    to_greeting = "route: [{destination: {host: greeting, port: {number: 7000}}}]"
    rules.apply(
        "vs",
        f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: plain, namespace: default}}
spec:
  hosts: [plain.default.svc.cluster.local]
  tcp:
  - match: [{{port: 7000, sourceLabels: {{app: wget}}}}]
    {to_greeting}
  - match: [{{sourceNamespace: other, gateways: [mesh]}}]
    {to_greeting}
  - match: [{{port: 7001}}, {{gateways: [default/nowhere]}}]
    {to_greeting}
  - route: [{{destination: {{host: plain, port: {{number: 7000}}}}}}]
""",
    )
    found = {name: answers(client, host) for name, client in clients.items()}
    assert found == {"curl": "raw", "wget": "greeting", "other": "greeting"}


@pytest.mark.covers("VirtualService.tcp[].match[].sourceSubnet")
def test_a_clients_address_has_no_effect(
    meshed: Mesh, rules: Rules, clients: dict[str, Inside], tmp_path: Path
) -> None:
    """As in Istio: the match is as good as without it, and that is told."""
    text = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: plain, namespace: default}
spec:
  hosts: [plain]
  tcp:
  - match: [{port: 7000, sourceSubnet: 192.0.2.0/24}]
    route: [{destination: {host: greeting, port: {number: 7000}}}]
"""
    rules.apply("vs", text)
    assert answers(clients["curl"], "plain") == "greeting"
    file = tmp_path / "plain.yaml"
    file.write_text(text)
    said = meshed.argosy("apply", "-f", str(file)).stderr
    field = "spec.tcp[0].match[0].sourceSubnet"
    assert f"Warning: {file}:7: VirtualService default/plain: {field}: sourceSubnet has no" in said
    assert "sourceLabels" in said, "what has an effect"


@pytest.mark.covers(
    "VirtualService.tls[].match[].sourceNamespace", "VirtualService.tls[].match[].port"
)
def test_who_begins_tls(rules: Rules, clients: dict[str, Inside]) -> None:
    """What no match takes reaches the service itself. Both servers echo how TLS begins."""
    host = "plain.default.svc.cluster.local"
    rules.apply(
        "vs",
        f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: plain, namespace: default}}
spec:
  hosts: [{host}]
  tls:
  - match: [{{port: 7443, sniHosts: [{host}], sourceNamespace: other}}]
    route: [{{destination: {{host: greeting, port: {{number: 7000}}}}}}]
""",
    )
    hello = client_hello(host)
    for port, expected in ((7443, "greeting"), (7444, "raw")):
        found = {name: answers(client, host, port, hello) for name, client in clients.items()}
        assert found == {"curl": "raw", "wget": "raw", "other": expected}


@pytest.mark.covers("VirtualService.tls[].match[].destinationSubnets")
def test_which_address_tls_is_dialled_at(rules: Rules, clients: dict[str, Inside]) -> None:
    here, there = (f"{name}.default.svc.cluster.local" for name in ("here", "there"))
    rules.apply(
        "vs",
        f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: addresses, namespace: default}}
spec:
  hosts: [{here}, {there}]
  tls:
  - match: [{{sniHosts: [{here}, {there}], destinationSubnets: [10.96.77.0/24]}}]
    route: [{{destination: {{host: greeting, port: {{number: 7000}}}}}}]
""",
    )
    assert answers(clients["curl"], here, 7443, client_hello(here)) == "greeting"
    assert answers(clients["curl"], there, 7443, client_hello(there)) == "raw"


@pytest.mark.covers("VirtualService.tcp[].match[].destinationSubnets")
def test_which_address_is_dialled(rules: Rules, clients: dict[str, Inside]) -> None:
    rules.apply(
        "vs",
        """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: addresses, namespace: default}
spec:
  hosts: [here, there]
  tcp:
  - match: [{destinationSubnets: [10.96.77.0/24]}]
    route: [{destination: {host: greeting, port: {number: 7000}}}]
  - route: [{destination: {host: plain, port: {number: 7000}}}]
""",
    )
    assert answers(clients["curl"], "here") == "greeting"
    assert answers(clients["curl"], "there") == "raw"
