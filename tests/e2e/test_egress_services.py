"""Kubernetes Services that lead outside: ExternalName, and Endpoints of an address.

https://istio.io/latest/docs/tasks/traffic-management/egress/egress-kubernetes-services/
"""

import json
from collections.abc import Iterator

import pytest
from external import Internet, Site, internet
from inside import Inside, inside
from manifests import deployment, mesh_config
from mesh import Mesh, eventually
from rules import Rules

pytestmark = pytest.mark.e2e

HTTPBIN = """
apiVersion: v1
kind: Service
metadata: {name: my-httpbin, namespace: default}
spec:
  type: ExternalName
  externalName: httpbin.org
  ports: [{name: http, protocol: TCP, port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: my-alias, namespace: default}
spec:
  type: ExternalName
  externalName: my-wikipedia.default.svc.cluster.local
---
apiVersion: v1
kind: Service
metadata: {name: my-wikipedia, namespace: default}
spec:
  ports: [{name: tls, protocol: TCP, port: 443}, {name: http, protocol: TCP, port: 80}]
---
"""


@pytest.fixture(scope="module")
def outside(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Internet]:
    directory = tmp_path_factory.mktemp("outside")
    sites = (Site("httpbin.org"), Site("www.wikipedia.org"))
    with internet(mesh, directory, *sites) as made:
        file = directory / "workloads.yaml"
        file.write_text(deployment("curl", image="curlimages/curl") + HTTPBIN)
        mesh.up(file, made.manifest)
        made.connect()
        yield made


@pytest.fixture(scope="module")
def curl(mesh: Mesh, outside: Internet) -> Iterator[Inside]:
    with inside(mesh, "deploy/curl") as clients:
        yield clients


@pytest.fixture
def rules(mesh: Mesh, outside: Internet) -> Iterator[Rules]:
    with Rules(mesh) as rules:
        yield rules


def listed(address: str, kind: str) -> str:
    ports = [{"name": "tls", "port": 443}, {"name": "http", "port": 80}]
    name = {"name": "my-wikipedia", "namespace": "default"}
    if kind == "Endpoints":
        subsets = [{"addresses": [{"ip": address}], "ports": ports}]
        found: object = {"apiVersion": "v1", "kind": kind, "metadata": name, "subsets": subsets}
    else:
        labels = {"kubernetes.io/service-name": "my-wikipedia"}
        found = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": "wiki-1", "namespace": "default", "labels": labels},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address]}],
            "ports": ports,
        }
    return json.dumps(found)


def test_an_external_name_is_an_alias(curl: Inside, outside: Internet) -> None:
    name = "my-httpbin.default.svc.cluster.local"
    answers = curl.call("lookup", name=name)["answers"]
    assert answers == sorted(["httpbin.org.", outside.address("httpbin.org")])
    assert curl.call("lookup", name=name, tcp=True)["answers"] == answers


@pytest.mark.covers("DestinationRule.trafficPolicy.tls.mode", "VirtualService.http[].rewrite")
def test_rules_hold_for_an_external_name(curl: Inside, rules: Rules, outside: Internet) -> None:
    rules.destination("my-httpbin", {"tls": {"mode": "DISABLE"}})
    found = curl.get("http://my-httpbin.default.svc.cluster.local/headers")
    assert (found.status, found.json["site"]) == (200, "httpbin.org")
    assert found.json["host"] == "my-httpbin.default.svc.cluster.local"
    rules.route("my-httpbin", rewrite={"authority": "httpbin.org"})
    assert curl.get("http://my-httpbin/headers").json["host"] == "httpbin.org"
    rules.route("my-httpbin", fault={"abort": {"httpStatus": 418, "percentage": {"value": 100}}})
    assert curl.get("http://my-httpbin/headers").status == 418


@pytest.mark.parametrize("kind", ["Endpoints", "EndpointSlice"])
def test_a_service_leads_to_listed_addresses(
    curl: Inside, rules: Rules, outside: Internet, kind: str
) -> None:
    """Without a list nothing answers; ``my-alias`` is the same by another name."""
    url = "https://my-wikipedia/"
    options = {"ca": outside.ca, "server_name": "www.wikipedia.org"}
    assert curl.get(url, **options, timeout=3).status == 0
    rules.apply("listed", listed(outside.address("www.wikipedia.org"), kind))
    eventually(lambda: curl.get(url, **options).status == 200, "the address is called")
    found = curl.get(url, **options).json
    assert (found["site"], found["tls"]["sni"]) == ("www.wikipedia.org", "www.wikipedia.org")
    assert curl.get("http://my-wikipedia/").json["site"] == "www.wikipedia.org"
    assert curl.get("https://my-alias/", **options).status == 200
    rules.destination("my-wikipedia", {"tls": {"mode": "DISABLE"}})
    assert curl.get(url, **options).status == 200


@pytest.mark.covers("MeshConfig.outboundTrafficPolicy.mode")
def test_what_no_service_names_is_refused_under_registry_only(
    curl: Inside, rules: Rules, outside: Internet
) -> None:
    assert curl.get("http://httpbin.org/").status == 200
    rules.apply("mesh", mesh_config("outboundTrafficPolicy: {mode: REGISTRY_ONLY}"))
    eventually(lambda: curl.get("http://httpbin.org/").status == 502, "unknown hosts are refused")
    assert curl.get("http://my-httpbin/").status == 200
