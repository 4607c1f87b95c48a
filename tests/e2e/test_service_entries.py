"""ServiceEntries of every resolution, as workloads and the servers outside see them.

https://istio.io/latest/docs/tasks/traffic-management/egress/egress-control/
https://istio.io/latest/docs/reference/config/networking/service-entry/
"""

import threading
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from external import Internet, Site, internet
from inside import Answer, Inside, InsideError, inside
from manifests import deployment, mesh_config, namespace, server, service
from mesh import Mesh, eventually
from rules import Rules, document

pytestmark = pytest.mark.e2e

REGISTRY_ONLY = mesh_config("outboundTrafficPolicy: {mode: REGISTRY_ONLY}")
HTTP = {"number": 80, "name": "http", "protocol": "HTTP"}
TLS = {"number": 443, "name": "tls", "protocol": "TLS"}

SITES = (
    Site("httpbin.org"),
    Site("www.google.com"),
    Site("edition.cnn.com", redirect=True),
    Site("*.wikipedia.org", aliases=("www.wikipedia.org",)),
)
WORKLOADS = (
    namespace("other")
    + deployment("curl", image="curlimages/curl")
    + deployment("curl", image="curlimages/curl", namespace="other")
    + deployment("known", *server("any", "8000,7000"), port=8000)
    + service("known", "known", {"name": "http", "port": 80, "targetPort": 8000})
)


def entry(name: str, *hosts: str, **spec: Any) -> str:
    return document("networking.istio.io/v1", "ServiceEntry", name, {"hosts": hosts, **spec})


def workload_entry(name: str, **spec: Any) -> str:
    return document("networking.istio.io/v1", "WorkloadEntry", name, spec)


def assert_at(mesh: Mesh, endpoint: str, region: str, zone: str, sub_zone: str) -> None:
    """Where the client's Envoy takes an endpoint to be."""
    known = mesh.envoy("deploy/curl", "/clusters").splitlines()
    for name, value in (("region", region), ("zone", zone), ("sub_zone", sub_zone)):
        assert f"{endpoint}::{name}::{value}" in known


def is_closed(curl: Inside, address: str) -> bool:
    try:
        return curl.call("exchange", host=address, port=7000, text="hi") == ""
    except InsideError:  # reset
        return True


@pytest.fixture(scope="module")
def net(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Internet]:
    directory = tmp_path_factory.mktemp("entries")
    file = directory / "workloads.yaml"
    file.write_text(WORKLOADS + REGISTRY_ONLY)
    with internet(mesh, directory, *SITES) as made:
        mesh.up(file, made.manifest)
        made.connect()
        yield made


@pytest.fixture(scope="module")
def curl(mesh: Mesh, net: Internet) -> Iterator[Inside]:
    with inside(mesh, "deploy/curl") as clients:
        yield clients


@pytest.fixture
def rules(mesh: Mesh, net: Internet) -> Iterator[Rules]:
    with Rules(mesh) as rules:
        yield rules


@pytest.mark.covers(
    "ServiceEntry.hosts",
    "ServiceEntry.ports[].number",
    "ServiceEntry.ports[].protocol",
    "ServiceEntry.resolution",
    "MeshConfig.outboundTrafficPolicy.mode",
)
def test_access_to_external_services_is_granted_by_entries(
    net: Internet, curl: Inside, rules: Rules
) -> None:
    """The task egress-control under REGISTRY_ONLY: 502 and no TLS before, 200 after."""
    assert curl.get("http://httpbin.org/headers").status == 502
    assert curl.get("https://www.google.com/", ca=net.ca).status == 0
    rules.apply("httpbin", entry("httpbin", "httpbin.org", ports=[HTTP], resolution="DNS"))
    rules.apply("google", entry("google", "www.google.com", ports=[TLS], resolution="DNS"))
    answer = curl.get("http://httpbin.org/headers")
    assert answer.status == 200
    assert answer.headers["server"] == "envoy"
    found = curl.get("https://www.google.com/", ca=net.ca)
    assert (found.status, found.json["tls"]["sni"]) == (200, "www.google.com")
    assert curl.get("https://httpbin.org/", ca=net.ca).status == 0, "only its port 80 is let out"
    route = [{"destination": {"host": "httpbin.org"}}]
    rules.route("httpbin.org", route=route, timeout="0.5s")
    assert curl.get("http://httpbin.org/delay/5").status == 504
    rules.delete("vs-httpbin.org")
    rules.delete("httpbin")
    assert curl.get("http://httpbin.org/headers").status == 502


@pytest.mark.covers(
    "ServiceEntry.hosts",
    "ServiceEntry.resolution",
)
def test_resolution_none_keeps_the_address(net: Internet, curl: Inside, rules: Rules) -> None:
    """Wildcards too: the application has resolved the name, and the proxy does not again."""
    wiki = entry("wiki", "*.wikipedia.org", ports=[HTTP, TLS], resolution="NONE")
    rules.apply("wiki", wiki)
    for language in ("en", "de"):
        host = f"{language}.wikipedia.org"
        assert curl.get(f"http://{host}/wiki/").json["host"] == host
        assert curl.get(f"https://{host}/wiki/", ca=net.ca).json["tls"]["sni"] == host
    assert curl.get("http://www.google.com/").status == 502, "no wildcard covers it"
    assert curl.get("https://www.google.com/", ca=net.ca).status == 0


@pytest.mark.covers(
    "ServiceEntry.resolution",
)
def test_resolution_dynamic_dns_resolves_what_is_asked_for(
    net: Internet, curl: Inside, rules: Rules
) -> None:
    wiki = entry("wiki", "*.wikipedia.org", ports=[HTTP, TLS], resolution="DYNAMIC_DNS")
    rules.apply("wiki", wiki)
    elsewhere = net.address("httpbin.org")
    for language in ("fr", "it"):
        host = f"{language}.wikipedia.org"
        found = curl.get(f"http://{elsewhere}/wiki/", headers={"host": host}).json
        assert (found["site"], found["host"]) == ("*.wikipedia.org", host), "not where it dialled"
        assert curl.get(f"https://{host}/wiki/", ca=net.ca).json["tls"]["sni"] == host
    assert curl.get("http://httpbin.org/").status == 502


@pytest.mark.covers(
    "ServiceEntry.addresses",
    "ServiceEntry.endpoints[].address",
    "ServiceEntry.endpoints[].weight",
    "ServiceEntry.endpoints[].labels",
    "ServiceEntry.ports[].targetPort",
    "ServiceEntry.ports[].name",
)
def test_resolution_static_and_its_weights(net: Internet, curl: Inside, rules: Rules) -> None:
    endpoints = [
        {"address": net.address("httpbin.org"), "weight": 3, "labels": {"version": "a"}},
        {"address": net.address("www.google.com"), "weight": 1, "labels": {"version": "b"}},
    ]
    static = entry(
        "static",
        "api.example.com",
        addresses=["192.0.2.10"],
        ports=[HTTP, {"number": 9000, "name": "tcp", "protocol": "TCP", "targetPort": 7000}],
        resolution="STATIC",
        endpoints=endpoints,
    )
    rules.apply("static", static)
    rules.destination("api.example.com", {"loadBalancer": {"simple": "ROUND_ROBIN"}})
    answers = curl.requests("http://api.example.com/", count=40)
    sites = Counter(answer.json["site"] for answer in answers)
    assert sites == {"httpbin.org": 30, "www.google.com": 10}
    assert curl.call("addresses", name="api.example.com") == ["192.0.2.10"]
    assert curl.call("exchange", host="192.0.2.10", port=9000, text="hi") == "raw:hi"
    subsets = [{"name": "b", "labels": {"version": "b"}}]
    rules.destination("api.example.com", None, *subsets)
    to_b = [{"destination": {"host": "api.example.com", "subset": "b"}}]
    rules.route("api.example.com", route=to_b)
    answers = curl.requests("http://api.example.com/", count=10)
    assert {answer.json["site"] for answer in answers} == {"www.google.com"}


@pytest.mark.covers(
    "ServiceEntry.hosts",
    "ServiceEntry.resolution",
)
def test_allocated_addresses_tell_opaque_services_apart(
    net: Internet, curl: Inside, rules: Rules
) -> None:
    """Two hosts share a port of opaque bytes; each name stands for an address of its own."""
    port = {"number": 7000, "name": "tcp", "protocol": "TCP"}
    for name in ("httpbin.org", "www.google.com"):
        rules.apply(name, entry(name, name, ports=[port], resolution="DNS"))
    found = {}
    for name in ("httpbin.org", "www.google.com"):
        (address,) = curl.call("addresses", name=name)
        assert address.startswith("240.240.")
        assert curl.call("addresses", name=name.upper()) == [address]
        assert curl.call("lookup", name=f"{name}.", kind="AAAA")["rcode"] == "NOERROR"
        assert curl.call("lookup", name=f"{name}.", kind="AAAA")["answers"] == []
        before = len(net.seen(name))
        assert curl.call("exchange", host=name, port=7000, text="hi") == "raw:hi"
        assert len(net.seen(name)) > before, "it arrived where its name leads"
        found[name] = address
    assert len(set(found.values())) == 2
    rules.apply("httpbin.org", entry("httpbin.org", "httpbin.org", ports=[port, HTTP]))
    eventually(
        lambda: curl.call("addresses", name="httpbin.org") == [net.address("httpbin.org")],
        "with resolution NONE the name is not the mesh's",
    )


@pytest.mark.covers(
    "ServiceEntry.workloadSelector.labels",
    "ServiceEntry.location",
    "WorkloadEntry.address",
    "WorkloadEntry.ports",
    "WorkloadEntry.labels",
    "WorkloadEntry.weight",
)
def test_workload_entries_are_endpoints(
    mesh: Mesh, net: Internet, curl: Inside, rules: Rules
) -> None:
    """Of a ServiceEntry and of a Service, which also selects a pod; by weight, port and health."""
    vm = {"labels": {"app": "known"}, "address": net.address("httpbin.org")}
    rules.apply("vm", workload_entry("vm", **vm, ports={"http": 80}, weight=3))
    answers = curl.requests("http://known/", count=40)
    assert {answer.status for answer in answers} == {200}
    from_vm = [answer for answer in answers if answer.json.get("site") == "httpbin.org"]
    assert 0 < len(from_vm) < 40
    assert "x-forwarded-client-cert" not in from_vm[0].json["headers"], "it is in no mesh"
    selecting = entry(
        "legacy",
        "legacy.internal",
        ports=[HTTP],
        location="MESH_INTERNAL",
        resolution="STATIC",
        workloadSelector={"labels": {"app": "vm"}},
    )
    rules.apply("legacy", selecting)
    assert curl.get("http://legacy.internal/").status == 503
    rules.apply("vm", workload_entry("vm", **{**vm, "labels": {"app": "vm"}}))
    assert curl.get("http://legacy.internal/").json["site"] == "httpbin.org"
    answers = curl.requests("http://known/", count=10)
    assert not [answer for answer in answers if "site" in answer.json], "it is the other's now"


@pytest.mark.covers(
    "ServiceEntry.location",
    "WorkloadEntry.serviceAccount",
    "WorkloadEntry.labels",
    "WorkloadEntry.locality",
    "WorkloadEntry.network",
)
def test_a_workload_entry_of_the_mesh_is_spoken_to_in_mutual_tls(
    mesh: Mesh, curl: Inside, rules: Rules
) -> None:
    (pod,) = mesh.get("pods", "-l", "app=known")
    labels = {"app": "meshed", "security.istio.io/tlsMode": "istio"}
    address = pod["status"]["podIP"]
    meshed = entry(
        "meshed",
        "meshed.internal",
        ports=[{**HTTP, "targetPort": 8000}],
        location="MESH_INTERNAL",
        resolution="STATIC",
        workloadSelector={"labels": {"app": "meshed"}},
    )
    rules.apply("meshed", meshed)
    place = {"locality": "eu/eu-1/rack-7", "network": "elsewhere"}
    own = workload_entry("own", address=address, labels=labels, serviceAccount="default", **place)
    rules.apply("own", own)
    seen = curl.get("http://meshed.internal/").json["headers"]["x-forwarded-client-cert"]
    assert "spiffe://cluster.local/ns/default/sa/default" in seen
    assert_at(mesh, f"outbound|80||meshed.internal::{address}:8000", "eu", "eu-1", "rack-7")
    other = workload_entry("own", address=address, labels=labels, serviceAccount="impostor")
    rules.apply("own", other)
    assert curl.get("http://meshed.internal/").status == 503, "not the identity it should have"


@pytest.mark.covers(
    "ServiceEntry.endpoints[].ports",
    "ServiceEntry.endpoints[].serviceAccount",
    "ServiceEntry.endpoints[].locality",
    "ServiceEntry.endpoints[].network",
)
def test_an_inline_endpoint_says_its_port_its_identity_and_its_place(
    mesh: Mesh, curl: Inside, rules: Rules
) -> None:
    """One of another network is called directly, for no gateway leads there."""
    (pod,) = mesh.get("pods", "-l", "app=known")
    endpoint = {
        "address": pod["status"]["podIP"],
        "labels": {"security.istio.io/tlsMode": "istio"},
        "ports": {"http": 8000},
        "locality": "eu/eu-1/rack-7",
        "network": "elsewhere",
    }
    spec = {"ports": [HTTP], "location": "MESH_INTERNAL", "resolution": "STATIC"}
    own = {**endpoint, "serviceAccount": "default"}
    rules.apply("inline", entry("inline", "inline.internal", **spec, endpoints=[own]))
    seen = curl.get("http://inline.internal/").json["headers"]["x-forwarded-client-cert"]
    assert "spiffe://cluster.local/ns/default/sa/default" in seen
    endpoint_of = f"outbound|80||inline.internal::{endpoint['address']}:8000"
    assert_at(mesh, endpoint_of, "eu", "eu-1", "rack-7")
    other = {**endpoint, "serviceAccount": "impostor"}
    rules.apply("inline", entry("inline", "inline.internal", **spec, endpoints=[other]))
    assert curl.get("http://inline.internal/").status == 503, "not the identity it should have"


@pytest.mark.covers(
    "ServiceEntry.addresses",
)
def test_networks_of_an_entry(net: Internet, curl: Inside, rules: Rules) -> None:
    """Opaque bytes to a network go out; those to other addresses of the port do not."""
    port = {"number": 7000, "name": "tcp", "protocol": "TCP"}
    address = net.address("httpbin.org")
    network = ip_network(f"{address}/31", strict=False)
    sites = (
        net.address(name) for name in ("www.google.com", "edition.cnn.com", "en.wikipedia.org")
    )
    other = next(site for site in sites if ip_address(site) not in network)
    assert is_closed(curl, address)
    for addresses in ([str(network)], [f"{address}/32"]):
        database = entry("network", "db.example.com", addresses=addresses, ports=[port])
        rules.apply("network", database)
        assert curl.call("exchange", host=address, port=7000, text="hi") == "raw:hi"
        assert is_closed(curl, other)
    found = curl.call("exchange", host="db.example.com", port=7000, text="hi")
    assert found == "raw:hi", "the name of one address leads to it"


@pytest.mark.covers(
    "ServiceEntry.ports[].targetPort",
    "DestinationRule.trafficPolicy.portLevelSettings[].tls.mode",
    "DestinationRule.trafficPolicy.portLevelSettings[].tls.caCertificates",
)
def test_tls_origination(net: Internet, curl: Inside, rules: Rules) -> None:
    """The task egress-tls-origination: first a 301 to https; after, one 200."""
    ports = [{**HTTP, "targetPort": 443}, {**TLS, "protocol": "HTTPS"}]
    plain = entry("cnn", "edition.cnn.com", ports=[HTTP, ports[1]], resolution="DNS")
    rules.apply("cnn", plain)
    first = curl.get("http://edition.cnn.com/politics", ca=net.ca, follow=True)
    assert (first.status, first.history) == (200, [301])
    rules.apply("cnn", entry("cnn", "edition.cnn.com", ports=ports, resolution="DNS"))
    simple = {"mode": "SIMPLE", "caCertificates": net.ca}
    policy = {"portLevelSettings": [{"port": {"number": 80}, "tls": simple}]}
    rules.destination("edition.cnn.com", policy)
    after = curl.get("http://edition.cnn.com/politics", follow=True)
    assert (after.status, after.history) == (200, [])
    assert after.json["tls"]["sni"] == "edition.cnn.com"
    assert curl.get("https://edition.cnn.com/politics", ca=net.ca).status == 200
    # Negative: a server whose certificate is for another name is not believed.
    net.answer("edition.cnn.com", net.address("httpbin.org"))
    eventually(
        lambda: curl.get("http://edition.cnn.com/politics").status == 503, "another certificate"
    )
    net.answer("edition.cnn.com", net.address("edition.cnn.com"))


@pytest.mark.covers(
    "MeshConfig.outboundTrafficPolicy.mode",
)
def test_unknown_hosts_are_resolved_by_their_names(
    net: Internet, curl: Inside, rules: Rules
) -> None:
    """outboundTrafficPolicy ALLOW_ANY_DYNAMIC_DNS: HTTP goes by its Host, all else as dialled."""
    dynamic = mesh_config("outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}")
    elsewhere = net.address("www.google.com")
    host = {"host": "httpbin.org"}
    assert curl.get(f"http://{elsewhere}/", headers=host).status == 502
    rules.apply("config", dynamic)
    rules.forget("config")
    try:
        assert curl.get(f"http://{elsewhere}/", headers=host).json["site"] == "httpbin.org"
        assert curl.get("http://absent.example.com.:80/", timeout=5).status == 0
        answer = curl.get(f"http://{elsewhere}/", headers={"host": "absent.example.com"})
        assert answer.status == 503, "there is no such name"
        found = curl.get("https://www.google.com/", ca=net.ca)
        assert found.status == 200, "opaque bytes pass"
        assert curl.get("http://known/").status == 200
    finally:
        rules.apply("config", REGISTRY_ONLY)
        rules.forget("config")


def test_no_request_fails_while_entries_and_endpoints_change(
    mesh: Mesh, net: Internet, rules: Rules
) -> None:
    first, second = net.address("httpbin.org"), net.address("www.google.com")

    def static(*addresses: str, hosts: tuple[str, ...] = ("steady.example.com",)) -> str:
        endpoints = [{"address": address} for address in addresses]
        return entry("steady", *hosts, ports=[HTTP], resolution="STATIC", endpoints=endpoints)

    rules.apply("steady", static(first))
    found: list[Answer] = []
    done = threading.Event()

    def load() -> None:
        with inside(mesh, "deploy/curl") as clients:
            while not done.is_set():
                found.extend(clients.requests("http://steady.example.com/", count=50, parallel=2))

    thread = threading.Thread(target=load)
    thread.start()
    try:
        eventually(lambda: bool(found), "the load has begun", 30)
        for addresses in 5 * ((first, second), (second,), (first,)):
            rules.apply("steady", static(*addresses))
        rules.apply("steady", static(first, hosts=("steady.example.com", "more.example.com")))
        for name in ("a", "b"):
            rules.apply(name, entry(name, f"{name}.example.com", ports=[HTTP, TLS]))
            rules.delete(name)
        before = len(found)
        rules.destination("steady.example.com", {"loadBalancer": {"simple": "RANDOM"}})
        eventually(lambda: len(found) > before + 100, "requests after the changes", 30)
    finally:
        done.set()
        thread.join()
    failed = [answer for answer in found if answer.status != 200]
    assert not failed, (len(failed), len(found), failed[0])


@pytest.mark.covers("ServiceEntry.exportTo")
def test_a_host_of_two_namespaces_is_ones_own(
    mesh: Mesh, net: Internet, curl: Inside, rules: Rules
) -> None:
    """The entry of a client's own namespace counts, and others see what is exported to them."""
    host = "shared.example.com"

    def static(name: str, namespace: str, site: str, export: str) -> str:
        spec = {
            "hosts": [host],
            "ports": [HTTP],
            "resolution": "STATIC",
            "exportTo": [export],
            "endpoints": [{"address": net.address(site)}],
        }
        text = document("networking.istio.io/v1", "ServiceEntry", name, spec)
        return text.replace('"namespace": "default"', f'"namespace": "{namespace}"')

    with inside(mesh, "deploy/curl", "other") as other:
        rules.apply("own", static("own", "default", "httpbin.org", "."))
        assert curl.get(f"http://{host}/").json["site"] == "httpbin.org"
        assert other.get(f"http://{host}/").status == 0, "the name is not exported either"
        rules.apply("others", static("others", "other", "www.google.com", "*"))
        assert other.get(f"http://{host}/").json["site"] == "www.google.com"
        assert curl.get(f"http://{host}/").json["site"] == "httpbin.org"
        rules.delete("own")
        assert curl.get(f"http://{host}/").json["site"] == "www.google.com"


@pytest.mark.covers("ServiceEntry.resolution", "ServiceEntry.subjectAltNames")
def test_names_are_resolved_again(net: Internet, curl: Inside, rules: Rules) -> None:
    """DNS_ROUND_ROBIN follows its name; the certificate must carry one of ``subjectAltNames``."""
    net.answer("moving.example.com", net.address("httpbin.org"))
    ports = [HTTP, {**HTTP, "number": 8443, "name": "secured", "targetPort": 443}]
    spec: dict[str, Any] = {
        "ports": ports,
        "resolution": "DNS_ROUND_ROBIN",
        "endpoints": [{"address": "moving.example.com"}],
    }
    rules.apply("moving", entry("moving", "fixed.example.com", **spec))
    assert curl.get("http://fixed.example.com/").json["site"] == "httpbin.org"
    simple = {"mode": "SIMPLE", "caCertificates": net.ca, "sni": "httpbin.org"}
    policy = {"portLevelSettings": [{"port": {"number": 8443}, "tls": simple}]}
    rules.destination("fixed.example.com", policy)
    named = {**spec, "subjectAltNames": ["httpbin.org"]}
    rules.apply("moving", entry("moving", "fixed.example.com", **named))
    assert curl.get("http://fixed.example.com:8443/").json["tls"]["sni"] == "httpbin.org"
    net.answer("moving.example.com", net.address("www.google.com"))

    def site() -> str:
        answer = curl.get("http://fixed.example.com/")
        return str(answer.json["site"]) if answer.status == 200 else ""

    eventually(lambda: site() == "www.google.com", "the name is resolved again", 30)
    eventually(
        lambda: curl.get("http://fixed.example.com:8443/").status == 503, "another's certificate"
    )
