"""Istio's tasks on traffic that leaves the mesh: TLS origination, egress gateways, both together.

https://istio.io/latest/docs/tasks/traffic-management/egress/egress-tls-origination/
https://istio.io/latest/docs/tasks/traffic-management/egress/egress-gateway/
https://istio.io/latest/docs/tasks/traffic-management/egress/egress-gateway-tls-origination/
https://istio.io/latest/docs/tasks/traffic-management/egress/wildcard-egress-hosts/
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from credentials import GATEWAYS, mutual, secret
from external import NAMESPACE, Internet, Site, internet
from inside import Inside, inside
from manifests import deployment, mesh_config, service
from mesh import Mesh, eventually
from rules import Rules

from argosy.testing.certificates import ScratchAuthority

pytestmark = pytest.mark.e2e

NGINX = Site(f"my-nginx.{NAMESPACE}.svc.cluster.local", mutual=True)
CNN = "edition.cnn.com"
WEATHER = "weather.cnn.com"
WIKIPEDIA = "www.wikipedia.org"
SITES = (
    Site(CNN, redirect=True),
    Site(WEATHER, aliases=(CNN,)),
    Site("*.wikipedia.org", aliases=(WIKIPEDIA,)),
)
REGISTRY_ONLY = mesh_config("outboundTrafficPolicy: {mode: REGISTRY_ONLY}")
GATEWAY = "istio-egressgateway.istio-system.svc.cluster.local"


class World(NamedTuple):
    mesh: Mesh
    rules: Rules
    internet: Internet
    curl: Inside


@pytest.fixture(scope="module")
def world(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("egress")
    file = directory / "world.yaml"
    file.write_text(
        deployment("curl", image="curlimages/curl")
        + deployment("other", image="curlimages/curl")
        + service(
            "my-nginx",
            NGINX.pod,
            {"name": "http", "port": 80, "targetPort": 443},
            {"name": "https", "port": 443},
            namespace=NAMESPACE,
        )
    )
    with internet(mesh, directory, NGINX, *SITES) as outside:
        mesh.up(file, outside.manifest, options=("--egress-gateway",))
        outside.connect()
        outside.answer(CNN, outside.address(CNN))  # the other site has a certificate for it only
        with Rules(mesh) as rules, inside(mesh, "deploy/curl") as curl:
            yield World(mesh, rules, outside, curl)


@pytest.fixture(autouse=True)
def nothing_left(world: World) -> Iterator[None]:
    """Each test begins without rules."""
    yield
    world.rules.clear()


def document(kind: str, name: str, spec: object, namespace: str = "default") -> str:
    metadata = {"name": name, "namespace": namespace}
    version = "networking.istio.io/v1"
    return json.dumps({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})


def used(mesh: Mesh, cluster: str, counter: str = "rq_total") -> int:
    """The requests, or connections, that the egress gateway has given to a cluster's endpoints."""
    text = mesh.envoy("deploy/istio-egressgateway", "/clusters", GATEWAYS)
    lines = [line for line in text.splitlines() if line.startswith(f"{cluster}::")]
    counts = [line.rpartition("::") for line in lines if f"::{counter}::" in line]
    return sum(int(count) for _, _, count in counts)


def to(host: str, port: int, subset: str = "") -> list[dict[str, Any]]:
    return [{"destination": {"host": host, "port": {"number": port}, "subset": subset}}]


MUTUAL = {"mode": "MUTUAL", "credentialName": "client-credential", "sni": NGINX.name}


@pytest.mark.covers(
    "DestinationRule.trafficPolicy.portLevelSettings[].tls.credentialName",
    "DestinationRule.workloadSelector",
)
def test_a_sidecar_originates_mutual_tls(world: World) -> None:
    """With the Secret 200 and the client's certificate, without it 503; others have no Secret."""
    mesh, rules, outside, curl = world
    url = f"http://{NGINX.name}/"
    own = outside.credential("client.example.com")
    rule = {
        "host": NGINX.name,
        "workloadSelector": {"matchLabels": {"app": "curl"}},
        "trafficPolicy": {"portLevelSettings": [{"port": {"number": 80}, "tls": MUTUAL}]},
    }
    rules.apply("origination", document("DestinationRule", "nginx", rule), quietly=False)
    assert curl.get(url).status == 503
    assert outside.seen(NGINX.name) == []
    rules.apply("secret", mutual("client-credential", own, namespace="default"))
    eventually(lambda: curl.get(url).status == 200, "with the Secret")
    described = curl.get(url).json
    assert described["tls"]["client"] == "client.example.com"
    assert described["tls"]["sni"] == NGINX.name
    names = mesh.argosy("proxy-config", "secrets", "deploy/other").stdout
    assert "client-credential" not in names
    assert mesh.status("deploy/other", url) in (400, 502, 503)
    rules.delete("secret")
    eventually(lambda: curl.get(url).status == 503, "without the Secret")


@pytest.mark.covers(
    "Gateway.servers[].tls.mode",
    "DestinationRule.trafficPolicy.portLevelSettings[].tls.credentialName",
    "VirtualService.http[].match[].gateways",
)
def test_an_egress_gateway_originates_mutual_tls(world: World) -> None:
    """HTTP inside, mutual TLS of the mesh to the gateway, mutual TLS of the user's from there."""
    mesh, rules, outside, curl = world
    url = f"http://{NGINX.name}/egress"
    own = outside.credential("client.example.com")
    rules.apply("secret", mutual("client-credential", own))
    rules.apply(
        "gateway",
        document(
            "Gateway",
            "istio-egressgateway",
            {
                "selector": {"istio": "egressgateway"},
                "servers": [
                    {
                        "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
                        "hosts": [NGINX.name],
                        "tls": {"mode": "ISTIO_MUTUAL"},
                    }
                ],
            },
        ),
    )
    to_gateway = {"mode": "ISTIO_MUTUAL", "sni": NGINX.name}
    rules.apply(
        "to-gateway",
        document(
            "DestinationRule",
            "egressgateway-for-nginx",
            {
                "host": GATEWAY,
                "subsets": [
                    {
                        "name": "nginx",
                        "trafficPolicy": {
                            "loadBalancer": {"simple": "ROUND_ROBIN"},
                            "portLevelSettings": [{"port": {"number": 443}, "tls": to_gateway}],
                        },
                    }
                ],
            },
        ),
    )
    rules.apply(
        "origination",
        document(
            "DestinationRule",
            "originate-mtls-for-nginx",
            {
                "host": NGINX.name,
                "trafficPolicy": {"portLevelSettings": [{"port": {"number": 443}, "tls": MUTUAL}]},
            },
            namespace="istio-system",
        ),
    )
    rules.apply(
        "routes",
        document(
            "VirtualService",
            "direct-nginx-through-egress-gateway",
            {
                "hosts": [NGINX.name],
                "gateways": ["istio-egressgateway", "mesh"],
                "http": [
                    {
                        "match": [{"gateways": ["mesh"], "port": 80}],
                        "route": to(GATEWAY, 443, "nginx"),
                    },
                    {
                        "match": [{"gateways": ["istio-egressgateway"], "port": 443}],
                        "route": to(NGINX.name, 443),
                    },
                ],
            },
        ),
    )
    eventually(lambda: curl.get(url).status == 200, "through the gateway")
    described = curl.get(url).json
    assert described["tls"]["client"] == "client.example.com"
    assert used(mesh, f"outbound|443||{NGINX.name}") >= 2
    rules.delete("secret")
    eventually(lambda: curl.get(url).status == 503, "without the Secret")


def entry(name: str, host: str, *ports: dict[str, object]) -> str:
    spec = {"hosts": [host], "ports": ports, "location": "MESH_EXTERNAL", "resolution": "DNS"}
    return document("ServiceEntry", name, spec)


HTTP_PORT = {"number": 80, "name": "http", "protocol": "HTTP"}
TLS_PORT = {"number": 443, "name": "tls", "protocol": "TLS"}
CNN_ENTRY = entry("cnn", CNN, {**HTTP_PORT, "name": "http-port"}, {**TLS_PORT, "name": "https"})


def egress(port: dict[str, object], host: str, tls: dict[str, object] | None = None) -> str:
    server = {"port": port, "hosts": [host], **({"tls": tls} if tls else {})}
    spec = {"selector": {"istio": "egressgateway"}, "servers": [server]}
    return document("Gateway", "istio-egressgateway", spec)


@pytest.mark.covers(
    "VirtualService.http[].match[].gateways", "Gateway.selector", "Gateway.servers[].hosts"
)
def test_http_through_an_egress_gateway(world: World) -> None:
    """301 from outside, by way of the gateway, whose clusters have counted it and whose log tells."""
    mesh, rules, _, curl = world
    rules.apply("mesh", mesh_config("accessLogFile: /dev/stdout"))
    rules.apply("entry", CNN_ENTRY)
    eventually(lambda: curl.get(f"http://{CNN}/politics").status == 301, "directly")
    cluster = f"outbound|80||{CNN}"
    assert used(mesh, cluster) == 0
    rules.apply("gateway", egress(HTTP_PORT, CNN))
    rules.apply(
        "rule",
        document("DestinationRule", "to-cnn", {"host": GATEWAY, "subsets": [{"name": "cnn"}]}),
    )
    rules.apply(
        "routes",
        document(
            "VirtualService",
            "direct-cnn-through-egress-gateway",
            {
                "hosts": [CNN],
                "gateways": ["istio-egressgateway", "mesh"],
                "http": [
                    {
                        "match": [{"gateways": ["mesh"], "port": 80}],
                        "route": to(GATEWAY, 80, "cnn"),
                    },
                    {
                        "match": [{"gateways": ["istio-egressgateway"], "port": 80}],
                        "route": to(CNN, 80),
                    },
                ],
            },
        ),
    )
    assert curl.get(f"http://{CNN}/politics").status == 301
    assert used(mesh, cluster) == 1
    log = ("logs", "deploy/istio-egressgateway", "-n", GATEWAYS, "-c", "istio-proxy")
    eventually(lambda: cluster in mesh.argosy(*log).stdout, "the line in its log")
    (line,) = [line for line in mesh.argosy(*log).stdout.splitlines() if cluster in line]
    assert '"GET /politics HTTP/2" 301' in line
    # What goes around the gateway is not told apart: without the mesh's rules it is as before.
    rules.delete("routes")
    eventually(lambda: curl.get(f"http://{CNN}/politics").status == 301, "directly again")
    assert used(mesh, cluster) == 1


@pytest.mark.covers(
    "VirtualService.tls[].match[].gateways",
    "VirtualService.tls[].match[].sniHosts",
    "VirtualService.tls[].match[].port",
    "VirtualService.tls[].route[].destination",
    "Gateway.servers[].tls.mode",
)
def test_https_through_an_egress_gateway(world: World) -> None:
    """The client's own TLS, routed by server name at its sidecar and at the gateway."""
    mesh, rules, outside, curl = world
    url = f"https://{CNN}/politics"
    rules.apply("entry", CNN_ENTRY)
    rules.apply("gateway", egress(TLS_PORT, CNN, {"mode": "PASSTHROUGH"}))
    rules.apply(
        "routes",
        document(
            "VirtualService",
            "direct-cnn-through-egress-gateway",
            {
                "hosts": [CNN],
                "gateways": ["mesh", "istio-egressgateway"],
                "tls": [
                    {
                        "match": [{"gateways": ["mesh"], "port": 443, "sniHosts": [CNN]}],
                        "route": to(GATEWAY, 443),
                    },
                    {
                        "match": [
                            {"gateways": ["istio-egressgateway"], "port": 443, "sniHosts": [CNN]}
                        ],
                        "route": to(CNN, 443),
                    },
                ],
            },
        ),
    )
    eventually(lambda: curl.get(url, ca=outside.ca).status == 200, "through the gateway")
    assert curl.get(url, ca=outside.ca).json["tls"]["sni"] == CNN
    assert used(mesh, f"outbound|443||{CNN}") >= 2


@pytest.mark.covers("DestinationRule.trafficPolicy.portLevelSettings[].tls.mode")
def test_an_egress_gateway_originates_tls(world: World) -> None:
    """The client speaks HTTP and gets 200, not the redirect to HTTPS: the gateway speaks TLS."""
    mesh, rules, outside, curl = world
    url = f"http://{CNN}/politics"
    rules.apply("entry", CNN_ENTRY)
    stranger = ScratchAuthority().credential("x")
    rules.apply("ca", secret("cnn-ca", {"cacert": stranger.roots}))
    rules.apply(
        "gateway", egress({**HTTP_PORT, "protocol": "HTTPS"}, CNN, {"mode": "ISTIO_MUTUAL"})
    )
    settings = {
        "loadBalancer": {"simple": "ROUND_ROBIN"},
        "portLevelSettings": [
            {"port": {"number": 80}, "tls": {"mode": "ISTIO_MUTUAL", "sni": CNN}}
        ],
    }
    subset = {"name": "cnn", "trafficPolicy": settings}
    rules.apply(
        "to-gateway",
        document("DestinationRule", "to-gateway", {"host": GATEWAY, "subsets": [subset]}),
    )
    simple = {"mode": "SIMPLE", "credentialName": "cnn-ca", "sni": CNN}
    policy = {"portLevelSettings": [{"port": {"number": 443}, "tls": simple}]}
    rules.apply(
        "origination",
        document("DestinationRule", "originate", {"host": CNN, "trafficPolicy": policy}),
    )
    rules.apply(
        "routes",
        document(
            "VirtualService",
            "direct-cnn-through-egress-gateway",
            {
                "hosts": [CNN],
                "gateways": ["istio-egressgateway", "mesh"],
                "http": [
                    {
                        "match": [{"gateways": ["mesh"], "port": 80}],
                        "route": to(GATEWAY, 80, "cnn"),
                    },
                    {
                        "match": [{"gateways": ["istio-egressgateway"], "port": 80}],
                        "route": to(CNN, 443),
                    },
                ],
            },
        ),
    )
    eventually(lambda: curl.get(url).status == 503, "by an authority that did not sign for it")
    rules.apply("ca", secret("cnn-ca", {"cacert": outside.credential("x").roots}))
    eventually(lambda: curl.get(url).status == 200, "through the gateway")
    described = curl.get(url).json
    assert (described["tls"]["sni"], described["tls"]["client"]) == (CNN, "")
    assert used(mesh, f"outbound|443||{CNN}") >= 2


@pytest.mark.covers(
    "VirtualService.tls[].match[].sourceLabels",
    "VirtualService.tls[].route[].weight",
)
def test_a_sidecar_routes_by_server_name(world: World) -> None:
    """One address, two server names, two services; other clients and other names are left alone."""
    mesh, rules, outside, curl = world
    rules.apply("entry", CNN_ENTRY)
    rules.apply("entry-2", entry("weather", WEATHER, {**TLS_PORT, "name": "https"}))
    rules.apply(
        "routes",
        document(
            "VirtualService",
            "cnn",
            {
                "hosts": [CNN],
                "tls": [
                    {
                        "match": [
                            {
                                "sniHosts": [CNN],
                                "sourceLabels": {"app": "curl"},
                                "destinationSubnets": ["0.0.0.0/0"],
                            }
                        ],
                        "route": [
                            {**to(WEATHER, 443)[0], "weight": 100},
                            {**to(CNN, 443)[0], "weight": 0},
                        ],
                    }
                ],
            },
        ),
    )

    def site(target: Inside) -> str:
        answer = target.get(f"https://{CNN}/", ca=outside.ca)
        return str(answer.json["site"]) if answer.status == 200 else answer.error

    eventually(lambda: site(curl) == WEATHER, "the rule's destination")
    with inside(mesh, "deploy/other") as other:
        assert site(other) == CNN


@pytest.mark.covers("ServiceEntry.hosts", "VirtualService.tls[].match[].sniHosts")
def test_a_wildcard_through_an_egress_gateway(world: World) -> None:
    """All of Wikipedia by one server of it: the gateway counts a connection for each language."""
    mesh, rules, outside, curl = world
    english, german = (
        "https://en.wikipedia.org/wiki/Main_Page",
        "https://de.wikipedia.org/wiki/Haupt",
    )
    https = {"number": 443, "name": "https", "protocol": "HTTPS"}

    def open_to(url: str) -> bool:
        return curl.get(url, ca=outside.ca).status == 200

    assert open_to(english), "ALLOW_ANY"
    rules.apply("mesh", REGISTRY_ONLY)
    eventually(lambda: not open_to(english), "closed under REGISTRY_ONLY")
    direct = {"hosts": ["*.wikipedia.org"], "ports": [https]}
    rules.apply("entry", document("ServiceEntry", "wikipedia", direct))
    eventually(lambda: open_to(english) and open_to(german), "directly")
    rules.delete("entry")
    eventually(lambda: not open_to(english), "closed again")
    rules.apply("gateway", egress(https, "*.wikipedia.org", {"mode": "PASSTHROUGH"}))
    subset = {"host": GATEWAY, "subsets": [{"name": "wikipedia"}]}
    rules.apply("rule", document("DestinationRule", "egressgateway-for-wikipedia", subset))
    name = {"port": 443, "sniHosts": ["*.wikipedia.org"]}
    from_mesh = {"match": [{"gateways": ["mesh"], **name}], "route": to(GATEWAY, 443, "wikipedia")}
    onward = {
        "match": [{"gateways": ["istio-egressgateway"], **name}],
        "route": to(WIKIPEDIA, 443),
    }
    spec = {
        "hosts": ["*.wikipedia.org"],
        "gateways": ["mesh", "istio-egressgateway"],
        "tls": [from_mesh, onward],
    }
    rules.apply("routes", document("VirtualService", "direct-wikipedia", spec), quietly=False)
    assert not open_to(english), "nobody knows www.wikipedia.org yet"
    rules.apply("www", entry("www-wikipedia", WIKIPEDIA, https))
    eventually(lambda: open_to(english), "through the gateway")
    cluster = f"outbound|443||{WIKIPEDIA}"
    before = used(mesh, cluster, "cx_total")
    for url in (english, german):
        found = curl.get(url, ca=outside.ca).json
        assert f"https://{found['tls']['sni']}{found['path']}" == url
    assert used(mesh, cluster, "cx_total") - before == 2
    assert not open_to(f"https://{CNN}/"), "the wildcard does not cover it"
    rules.delete("www")
    eventually(lambda: not open_to(english), "without the server that serves them all")
