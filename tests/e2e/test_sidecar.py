"""Sidecars: what a proxy sees of the mesh, and how its workload is called.

https://istio.io/latest/docs/reference/config/networking/sidecar/
"""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from inside import Answer, Inside, inside
from manifests import deployment, mesh_config, namespace, server, service
from mesh import Mesh, eventually
from patches import told
from rules import Rules

from argosy.testing.certificates import ScratchAuthority

pytestmark = pytest.mark.e2e

HTTP = {"name": "http", "port": 8000}


def workloads(socket: Path) -> str:
    """``lone`` answers at 127.0.0.1 and a UNIX socket only."""
    lone = deployment("lone", *server("any", f"127.0.0.1:8081,unix:{socket}"))
    return (
        namespace("other")
        + namespace("legacy", {"istio-injection": "disabled"})
        + deployment("curl", image="curlimages/curl")
        + deployment("curl", image="curlimages/curl", namespace="other")
        + deployment("curl", image="curlimages/curl", namespace="legacy")
        + deployment("near", *server("any", "8000"), port=8000)
        + service("near", "near", HTTP)
        + deployment("slow", *server("flaky", 8000), port=8000)
        + service("slow", "slow", HTTP)
        + deployment("far", *server("any", "8000,7000"), port=8000, namespace="other")
        + service("far", "far", HTTP, {"name": "tcp", "port": 7000}, namespace="other")
        + deployment("relay", *server("any", "8888"), port=8888)
        + service("relay", "relay", {"name": "http", "port": 8888})
        + deployment("outside", *server("any", "8000,7443"), port=8000, namespace="legacy")
        + lone
        + service("lone", "lone", {"name": "http", "port": 80, "targetPort": 9080})
        + service("lone-socket", "lone", {"name": "http", "port": 80, "targetPort": 9081})
    )


def sidecar(name: str, spec: dict[str, object], namespace: str = "default") -> str:
    metadata = {"name": name, "namespace": namespace}
    document = {"apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": metadata}
    return json.dumps({**document, "spec": spec})


def of(app: str) -> dict[str, object]:
    return {"workloadSelector": {"labels": {"app": app}}}


@pytest.fixture(scope="module")
def scoped(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    directory = tmp_path_factory.mktemp("yaml")
    directory.chmod(0o755)
    file = directory / "workloads.yaml"
    file.write_text(workloads(directory / "lone.sock"))
    mesh.up(file)
    return mesh


@pytest.fixture(scope="module")
def socket(scoped: Mesh) -> str:
    """The UNIX socket of ``lone``."""
    (pod,) = scoped.get("pods", "-l", "app=lone")
    command = pod["spec"]["containers"][0]["command"]
    found: str = command[-1].partition("unix:")[2]
    return found


@pytest.fixture(scope="module")
def curl(scoped: Mesh) -> Iterator[Inside]:
    with inside(scoped, "deploy/curl") as clients:
        yield clients


@pytest.fixture
def rules(scoped: Mesh) -> Iterator[Rules]:
    with Rules(scoped) as rules:
        yield rules


@pytest.fixture(scope="module")
def address(scoped: Mesh) -> str:
    """Of a server that the mesh does not know."""
    (pod,) = scoped.get("pods", "-n", "legacy", "-l", "app=outside")
    found: str = pod["status"]["podIP"]
    return found


def clusters(mesh: Mesh) -> set[str]:
    text = mesh.envoy("deploy/curl", "/clusters?format=json")
    return {status["name"] for status in json.loads(text)["cluster_statuses"]}


def becomes(curl: Inside, url: str, status: int) -> None:
    """Envoy acknowledges a listener a moment before its threads have it."""
    eventually(lambda: curl.get(url).status == status, f"{url} answers {status}")


@pytest.mark.covers("Sidecar.egress[].hosts")
def test_a_proxy_sees_what_its_sidecar_imports(scoped: Mesh, rules: Rules, curl: Inside) -> None:
    assert curl.get("http://far.other:8000/").status == 200
    before = clusters(scoped)
    rules.apply("mesh", mesh_config("outboundTrafficPolicy: {mode: REGISTRY_ONLY}"))
    rules.apply("scope", sidecar("default", {"egress": [{"hosts": ["./*"]}]}))
    becomes(curl, "http://far.other:8000/", 502)
    becomes(curl, "http://near:8000/", 200)
    assert curl.call("addresses", name="far.other"), "names are known all the same"
    after = clusters(scoped)
    assert "outbound|8000||near.default.svc.cluster.local" in after
    assert not [name for name in after if "other.svc" in name]
    assert len(after) < len(before)
    rules.apply("scope", sidecar("default", {"egress": [{"hosts": ["./*", "other/*"]}]}))
    becomes(curl, "http://far.other:8000/", 200)
    rules.apply("scope", sidecar("default", {"egress": [{"hosts": ["~/*"]}]}))
    becomes(curl, "http://near:8000/", 0)  # nobody serves the port any more
    rules.delete("scope")
    becomes(curl, "http://near:8000/", 200)
    assert clusters(scoped) == before


@pytest.mark.covers("Sidecar.workloadSelector.labels[]", "Sidecar.outboundTrafficPolicy.mode")
def test_the_sidecar_of_a_workload_closes_the_way_out_for_it_alone(
    scoped: Mesh, rules: Rules, curl: Inside, address: str
) -> None:
    spec = {**of("curl"), "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}}
    rules.apply("closed", sidecar("curl", spec))
    assert curl.get(f"http://{address}:8000/").status == 502
    assert curl.get(f"http://{address}:7443/").status == 0, "a closed connection"
    assert curl.get("http://near:8000/").status == 200
    with inside(scoped, "deploy/curl", "other") as elsewhere:
        assert elsewhere.get(f"http://{address}:8000/").status == 200
    rules.delete("closed")
    assert curl.get(f"http://{address}:8000/").status == 200


@pytest.mark.covers(
    "Sidecar.outboundTrafficPolicy.egressProxy",
    "Sidecar.outboundTrafficPolicy.egressProxy.host",
    "Sidecar.outboundTrafficPolicy.egressProxy.port.number",
)
def test_unknown_hosts_go_to_the_egress_proxy(
    scoped: Mesh, rules: Rules, curl: Inside, address: str
) -> None:
    policy = {"mode": "ALLOW_ANY", "egressProxy": {"host": "relay", "port": {"number": 8888}}}
    rules.apply("relay", sidecar("curl", {**of("curl"), "outboundTrafficPolicy": policy}))
    answer = curl.get(f"http://{address}:8000/x", headers={"host": "www.example.com"})
    assert answer.status == 200
    assert answer.json["hostname"].startswith("relay-")
    assert answer.json["headers"]["host"] == "www.example.com"
    opaque = curl.get(f"http://{address}:7443/")
    assert opaque.json["hostname"].startswith("relay-"), "bytes on a port that Envoy has not"


@pytest.mark.covers(
    "Sidecar.egress[].port",
    "Sidecar.egress[].port.protocol",
    "Sidecar.egress[].port.number",
    "Sidecar.egress[].captureMode",
)
def test_an_http_proxy_for_clients_that_ask_one(rules: Rules, curl: Inside) -> None:
    listener = {
        "port": {"number": 3128, "protocol": "HTTP_PROXY", "name": "proxy"},
        "captureMode": "NONE",
        "hosts": ["./*", "other/*"],
    }
    rules.apply("proxy", sidecar("curl", {**of("curl"), "egress": [listener]}))
    for url in ("http://near:8000/a", "http://far.other:8000/a"):
        answer = curl.get(url, proxy="http://127.0.0.1:3128")
        assert (answer.status, answer.json["path"]) == (200, "/a")
        assert "x-forwarded-client-cert" in answer.json["headers"], "by mesh mTLS"


@pytest.mark.covers("Sidecar.egress[].bind")
def test_opaque_bytes_at_an_address_of_their_own(rules: Rules, curl: Inside) -> None:
    listener = {
        "port": {"number": 7000, "protocol": "TCP", "name": "tcp"},
        "bind": "127.1.2.3",
        "captureMode": "NONE",
        "hosts": ["other/*"],
    }
    spec = {**of("curl"), "egress": [listener, {"hosts": ["./*"]}]}
    rules.apply("bound", sidecar("curl", spec))
    assert curl.call("exchange", host="127.1.2.3", port=7000, text="bytes") == "raw:bytes"
    assert curl.get("http://near:8000/").status == 200


@pytest.mark.covers(
    "Sidecar.ingress[].defaultEndpoint",
    "Sidecar.ingress[].port.number",
    "Sidecar.ingress[].port.targetPort",
)
def test_applications_on_loopback_and_a_unix_socket(
    rules: Rules, curl: Inside, socket: str
) -> None:
    assert curl.get("http://lone/").status == 503, "nothing listens at the workload's address"
    ingress = [
        {
            "port": {"number": 9080, "protocol": "HTTP", "name": "loopback", "targetPort": 9},
            "defaultEndpoint": "127.0.0.1:8081",
        },
        {
            "port": {"number": 9081, "protocol": "HTTP", "name": "socket"},
            "defaultEndpoint": f"unix://{socket}",
        },
    ]
    found = rules.apply("lone", sidecar("lone", {**of("lone"), "ingress": ingress}))
    assert told(found) == [("Warning", "NoEffect", "spec.ingress[0].port.targetPort")]
    for url in ("http://lone/", "http://lone-socket/"):
        answer = curl.get(url)
        assert answer.status == 200, url
        assert "x-forwarded-client-cert" in answer.json["headers"], "by mesh mTLS"


@pytest.mark.covers("Sidecar.ingress[].bind", "Sidecar.ingress[].captureMode")
def test_a_socket_of_the_proxy_for_its_own_pod(scoped: Mesh, rules: Rules, curl: Inside) -> None:
    listener = {
        "port": {"number": 9000, "protocol": "HTTP", "name": "own"},
        "bind": "127.0.0.1",
        "captureMode": "NONE",
        "defaultEndpoint": "127.0.0.1:8000",
    }
    before = curl.requests("http://near:8000/", count=50, parallel=8)
    assert {answer.status for answer in before} == {200}
    with inside(scoped, "deploy/near") as near:
        assert near.get("http://127.0.0.1:9000/").status == 0
        rules.apply("own", sidecar("near", {**of("near"), "ingress": [listener]}))
        eventually(lambda: near.get("http://127.0.0.1:9000/").status == 200, "the socket is there")
        answer = near.get("http://127.0.0.1:9000/")
        assert answer.headers["server"] == "istio-envoy"
    # Connections from before still lead to the cluster of a port that is named no more.
    statuses = Counter(a.status for a in curl.requests("http://near:8000/", count=50, parallel=4))
    assert statuses == {200: 50}, "ports that are not named go on"


@pytest.mark.covers(
    "Sidecar.inboundConnectionPool",
    "Sidecar.inboundConnectionPool.http.http2MaxRequests",
    "Sidecar.ingress[].connectionPool",
)
def test_a_workload_takes_no_more_requests_at_once_than_its_sidecar_says(
    rules: Rules, curl: Inside
) -> None:
    def answers() -> Counter[int]:
        slow = {"x-fail": "99", "x-with": "500", "x-after": "1.5", "x-case": "slow"}
        found = curl.requests("http://slow:8000/", count=8, parallel=8, headers=slow)
        return Counter(answer.status for answer in found)

    pool = {"http": {"http2MaxRequests": 1}}
    rules.apply("limit", sidecar("slow", {**of("slow"), "inboundConnectionPool": pool}))
    found = answers()
    assert set(found) == {500, 503}, found
    listener = {
        "port": {"number": 8000, "protocol": "HTTP", "name": "http"},
        "connectionPool": {"http": {"http2MaxRequests": 100}},
    }
    spec = {**of("slow"), "inboundConnectionPool": pool, "ingress": [listener]}
    rules.apply("limit", sidecar("slow", spec))
    eventually(lambda: answers() == {500: 8}, "a listener's own limit holds, not that of all", 30)
    spec = {**of("slow"), "ingress": [{**listener, "connectionPool": pool}]}
    rules.apply("limit", sidecar("slow", spec))
    eventually(lambda: set(answers()) == {500, 503}, "its own limit is a narrow one", 30)
    rules.delete("limit")
    assert answers() == {500: 8}


@pytest.mark.covers("Sidecar.ingress[].port.name", "MeshConfig.inboundClusterStatName")
def test_statistics_call_a_port_as_its_sidecar_does(
    scoped: Mesh, rules: Rules, curl: Inside
) -> None:
    pattern = 'inboundClusterStatName: "%SERVICE%_%SERVICE_PORT_NAME%_%SERVICE_PORT%"'
    rules.apply("mesh", mesh_config(pattern))

    def count(name: str) -> int:
        assert curl.get("http://near:8000/").status == 200
        return scoped.stat("deploy/near", f"cluster.near.default_{name}_8000;.upstream_rq_total")

    for port, name in (
        ({"number": 8000, "protocol": "HTTP", "name": "counted"}, "counted"),
        ({"number": 8000}, ""),  # neither name nor protocol is needed
    ):
        spec = {**of("near"), "ingress": [{"port": port}]}
        rules.apply("named", sidecar("near", spec))
        eventually(lambda n=name: count(n) >= 1, f"requests are counted as those of {name!r}")  # type: ignore[misc]


def test_no_request_fails_while_a_sidecar_comes_changes_and_goes(
    scoped: Mesh, rules: Rules
) -> None:
    found: list[Answer] = []
    done = threading.Event()

    def load() -> None:
        with inside(scoped, "deploy/curl") as clients:
            while not done.is_set():
                found.extend(clients.requests("http://near:8000/", count=100, parallel=4))

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for hosts in (["./*"], ["default/near.default.svc.cluster.local"], ["./*", "other/*"]):
            rules.apply("scope", sidecar("default", {"egress": [{"hosts": hosts}]}))
        rules.delete("scope")
    finally:
        done.set()
        thread.join()
    failed = [answer for answer in found if answer.status != 200]
    assert len(found) >= 100
    assert not failed, (len(failed), len(found), failed[0])


# https://istio.io/latest/docs/tasks/traffic-management/ingress/ingress-sidecar-tls-termination/

TERMINATION = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: default}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: disable-peer-auth-for-external-mtls-port, namespace: default}
spec:
  selector: {matchLabels: {app: httpbin}}
  mtls: {mode: STRICT}
  portLevelMtls: {9080: {mode: DISABLE}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: ingress-sidecar, namespace: default}
spec:
  workloadSelector: {labels: {app: httpbin, version: v1}}
  ingress:
  - port: {number: 9080, protocol: HTTPS, name: external}
    defaultEndpoint: 0.0.0.0:80
    tls:
      mode: MUTUAL
      privateKey: /etc/istio/tls-certs/tls.key
      serverCertificate: /etc/istio/tls-certs/tls.crt
      caCertificates: /etc/istio/tls-ca-certs/ca.crt
  - port: {number: 9081, protocol: HTTP, name: internal}
    defaultEndpoint: 0.0.0.0:80
"""


@pytest.mark.covers(
    "Sidecar.ingress[].port.protocol",
    "Sidecar.ingress[].tls",
    "Sidecar.ingress[].tls.mode",
    "Sidecar.ingress[].tls.privateKey",
    "Sidecar.ingress[].tls.serverCertificate",
    "Sidecar.ingress[].tls.caCertificates",
)
def test_tls_from_outside_ends_at_the_sidecar(
    scoped: Mesh, rules: Rules, curl: Inside, tmp_path: Path
) -> None:
    authority = ScratchAuthority()
    host = "httpbin.default.svc.cluster.local"
    served = authority.credential(host)
    secrets = "".join(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "namespace": "default"},
                "stringData": data,
            }
        )
        + "\n---\n"
        for name, data in (
            ("httpbin-mtls-termination", {"tls.crt": served.certificate, "tls.key": served.key}),
            ("httpbin-mtls-termination-cacert", {"ca.crt": served.roots}),
        )
    )
    volumes = {
        "tls-secret": {"secret": {"secretName": "httpbin-mtls-termination", "optional": True}},
        "tls-ca-secret": {"secret": {"secretName": "httpbin-mtls-termination-cacert"}},
    }
    mounts = {
        "tls-secret": {"mountPath": "/etc/istio/tls-certs/", "readOnly": True},
        "tls-ca-secret": {"mountPath": "/etc/istio/tls-ca-certs/", "readOnly": True},
    }
    httpbin = deployment(
        "httpbin",
        *server("any", "80"),
        port=80,
        labels={"version": "v1"},
        annotations={
            "sidecar.istio.io/userVolume": json.dumps(volumes),
            "sidecar.istio.io/userVolumeMount": json.dumps(mounts),
        },
    ) + service(
        "httpbin",
        "httpbin",
        {"name": "https", "port": 8443, "targetPort": 9080},
        {"name": "http", "port": 8080, "targetPort": 9081},
    )
    rules.apply("httpbin", secrets + httpbin)
    scoped.argosy("wait", "deploy/httpbin", "--for", "available")
    rules.apply("termination", TERMINATION)
    internal = curl.get("http://httpbin:8080/status")
    assert internal.status == 200
    assert "x-forwarded-client-cert" in internal.json["headers"], "by mesh mTLS"

    own = authority.credential("client.example.com")
    ca, certificate, key = (tmp_path / name for name in ("ca.crt", "client.crt", "client.key"))
    ca.write_text(authority.credential(host).roots)
    certificate.write_text(own.certificate)
    key.write_text(own.key)
    for file in (tmp_path, ca, certificate, key):
        file.chmod(0o755)
    pair = (str(certificate), str(key))
    with inside(scoped, "deploy/curl", "legacy") as outside:
        url = f"https://{host}:8443/status"
        eventually(lambda: outside.get(url, ca=str(ca), pair=pair).status == 200, "TLS is served")
        answer = outside.get(url, ca=str(ca), pair=pair)
        assert answer.headers["server"] == "istio-envoy"
        assert outside.get(url, ca=str(ca)).status == 0, "without a certificate"
        refused = outside.get(f"http://{host}:8080/status")
        assert refused.status == 0
        assert "reset" in refused.error.lower() or "disconnected" in refused.error.lower()
