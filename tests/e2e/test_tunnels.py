"""Tunnels through a forward proxy, and opaque bytes by consistent hash, with real Envoys.

https://istio.io/latest/docs/tasks/traffic-management/egress/http-proxy/
https://istio.io/latest/docs/reference/config/networking/destination-rule/#TrafficPolicy-TunnelSettings
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from inside import Inside
from manifests import deployment, namespace, service
from mesh import Mesh, eventually
from rules import Rules, document

pytestmark = pytest.mark.e2e

SERVERS = Path(__file__).with_name("tcp_servers.py")
PROXY = "proxy.outside.svc.cluster.local"
TUNNEL = "DestinationRule.trafficPolicy.tunnel"


def serving(kind: str, port: int) -> tuple[str, ...]:
    return (sys.executable, str(SERVERS), kind, str(port))


WORKLOADS = (
    namespace("outside", {"istio-injection": "disabled"})
    + deployment("curl", image="curlimages/curl")
    + deployment("proxy", *serving("proxy", 3128), port=3128, namespace="outside")
    + service("proxy", "proxy", {"name": "tcp", "port": 3128}, namespace="outside")
    + deployment("target", *serving("who", 7000), port=7000, namespace="outside")
    + service("target", "target", {"name": "tcp", "port": 7000}, namespace="outside")
    + deployment("who", *serving("who", 7000), port=7000, replicas=3)
    + service("who", "who", {"name": "tcp", "port": 7000})
    + service("who-tls", "who", {"name": "tls", "port": 7443, "targetPort": 7000})
)


def ask(curl: Inside, host: str, port: int) -> dict[str, str]:
    found: dict[str, str] = json.loads(curl.call("exchange", host=host, port=port, text="who?"))
    return found


def address(mesh: Mesh, app: str) -> str:
    (pod,) = mesh.get("pods", "-n", "outside", "-l", f"app={app}")
    found: str = pod["status"]["podIP"]
    return found


def tunnels(mesh: Mesh) -> list[str]:
    """What the forward proxy has said, oldest first."""
    lines = mesh.argosy("logs", "-n", "outside", "deploy/proxy").stdout.splitlines()
    return [line[line.index("TCP_TUNNEL") :] for line in lines if "TCP_TUNNEL" in line]


@pytest.mark.parametrize("protocol", ["CONNECT", "POST", ""])
@pytest.mark.covers(f"{TUNNEL}.protocol", f"{TUNNEL}.targetHost", f"{TUNNEL}.targetPort")
def test_bytes_reach_the_target_through_the_proxy(
    meshed: Mesh, rules: Rules, curl: Inside, protocol: str
) -> None:
    target = address(meshed, "target")
    tunnel: dict[str, Any] = {"targetHost": target, "targetPort": 7000}
    if protocol:
        tunnel["protocol"] = protocol
    before = len(tunnels(meshed))
    rules.destination(PROXY, {"tunnel": tunnel})
    found = ask(curl, PROXY, 3128)
    assert found["hostname"].startswith("target-")
    assert found["peer"] == address(meshed, "proxy")
    line = f"TCP_TUNNEL/200 {protocol or 'CONNECT'} {target}:7000"
    eventually(lambda: tunnels(meshed)[before:] == [line], line)


def test_a_subset_has_a_tunnel_of_its_own(meshed: Mesh, rules: Rules, curl: Inside) -> None:
    """What is dialled is led to a proxy by a rule, as an egress policy would."""
    tunnel = {"targetHost": address(meshed, "target"), "targetPort": 7000}
    subset = {"name": "tunnelled", "labels": {}, "trafficPolicy": {"tunnel": tunnel}}
    rules.destination(PROXY, None, subset)
    destination = {"host": PROXY, "subset": "tunnelled", "port": {"number": 3128}}
    spec = {"hosts": ["who"], "tcp": [{"route": [{"destination": destination}]}]}
    assert ask(curl, "who", 7000)["hostname"].startswith("who-")
    rules.apply("vs", document("networking.istio.io/v1", "VirtualService", "who", spec))
    found = ask(curl, "who", 7000)
    assert found["hostname"].startswith("target-")
    assert found["peer"] == address(meshed, "proxy")


def test_an_application_may_use_the_proxy_itself(meshed: Mesh, rules: Rules, curl: Inside) -> None:
    """Istio's task: a ServiceEntry says that the proxy outside is one of opaque bytes."""
    target = address(meshed, "target")
    entry = {
        "hosts": ["my-company-proxy.com"],
        "addresses": ["240.9.9.9/32"],
        "ports": [{"number": 3128, "name": "tcp", "protocol": "TCP"}],
        "location": "MESH_EXTERNAL",
        "resolution": "STATIC",
        "endpoints": [{"address": address(meshed, "proxy")}],
    }
    rules.apply("proxy", document("networking.istio.io/v1", "ServiceEntry", "proxy", entry))
    before = len(tunnels(meshed))
    connection = curl.call("connect", host="240.9.9.9", port=3128)
    curl.call("send", connection=connection, text=f"CONNECT {target}:7000 HTTP/1.1\r\n\r\n")
    answer = curl.call("receive", connection=connection, count=19)
    assert answer == "HTTP/1.1 200 OK\r\n\r\n"
    curl.call("send", connection=connection, text="who?")
    said = curl.call("receive", connection=connection, count=10)
    assert said.startswith('{"hostname')
    curl.call("close", connection=connection)
    line = f"TCP_TUNNEL/200 CONNECT {target}:7000"
    eventually(lambda: tunnels(meshed)[before:] == [line], line)


@pytest.mark.parametrize(("host", "port"), [("who", 7000), ("who-tls", 7443)])
@pytest.mark.parametrize("algorithm", ["ringHash", "maglev", ""])
@pytest.mark.covers("DestinationRule.trafficPolicy.loadBalancer.consistentHash.useSourceIp")
def test_connections_of_one_client_stay_together(
    rules: Rules, curl: Inside, host: str, port: int, algorithm: str
) -> None:
    assert len({ask(curl, host, port)["hostname"] for _ in range(30)}) > 1
    table = {"ringHash": {"minimumRingSize": 64}, "maglev": {"tableSize": 1021}}.get(algorithm)
    hashing: dict[str, Any] = {"useSourceIp": True, **({algorithm: table} if algorithm else {})}
    rules.destination(host, {"loadBalancer": {"consistentHash": hashing}})
    assert len({ask(curl, host, port)["hostname"] for _ in range(20)}) == 1
