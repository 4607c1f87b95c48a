"""Istio's tasks on TLS at the ingress gateway: from this machine, as its users' browsers would.

https://istio.io/latest/docs/tasks/traffic-management/ingress/secure-ingress/
https://istio.io/latest/docs/tasks/traffic-management/ingress/ingress-sni-passthrough/
"""

import hashlib
import json
import ssl
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import external
import httpx
import pytest
from credentials import certificate_of, secret, tls
from gateways import document, gateway, route, server
from manifests import deployment, service
from mesh import Mesh, eventually
from rules import Rules
from tls_client import Client, Reply

from argosy.testing.certificates import Credential, ScratchAuthority

pytestmark = pytest.mark.e2e

HTTPBIN = "httpbin.example.com"
HELLO = "helloworld.example.com"
NGINX = "nginx.example.com"


class World(NamedTuple):
    mesh: Mesh
    rules: Rules
    authority: ScratchAuthority
    client: Client


@pytest.fixture(scope="module")
def world(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("ingress")
    authority = ScratchAuthority()
    nginx = authority.credential(NGINX)
    files = {"nginx.crt": nginx.certificate, "nginx.key": nginx.key, "ca.crt": nginx.roots}
    files |= {"client.crt": (own := authority.credential("client.example.com")).certificate}
    files |= {"client.key": own.key, "nginx.seen": ""}
    for name, text in files.items():
        (directory / name).write_text(text)
    (directory / "nginx.seen").chmod(0o666)
    site = {
        **asdict(external.Site(NGINX)),
        "ca": str(directory / "ca.crt"),
        "pair": (str(directory / "nginx.crt"), str(directory / "nginx.key")),
        "seen": str(directory / "nginx.seen"),
    }
    config = directory / "nginx.json"
    config.write_text(json.dumps(site))
    argv = (sys.executable, str(Path(external.__file__)), str(config))
    file = directory / "world.yaml"
    file.write_text(
        deployment("httpbin", image="mccutchen/go-httpbin", port=8080)
        + service("httpbin", "httpbin", {"name": "http", "port": 8000, "targetPort": 8080})
        + deployment("hello", image="mccutchen/go-httpbin", port=8080)
        + service("helloworld", "hello", {"name": "http", "port": 5000, "targetPort": 8080})
        + deployment("my-nginx", *argv, port=80)
        + service("my-nginx", "my-nginx", {"name": "https", "port": 443})
    )
    mesh.up(file)
    with Rules(mesh) as rules:
        yield World(mesh, rules, authority, Client(mesh.secure_address))


@pytest.fixture(autouse=True)
def nothing_left(world: World) -> Iterator[None]:
    """Each test begins without rules."""
    yield
    world.rules.clear()


SIMPLE = server("https", HTTPBIN, mode="SIMPLE", credentialName="httpbin-credential")
TO_HTTPBIN = route("httpbin", HTTPBIN, "httpbin", 8000)


@pytest.mark.covers(
    "Gateway.servers[].tls.mode",
    "Gateway.servers[].tls.credentialName",
    "Gateway.servers[].port.protocol",
)
def test_one_host_and_rotation(world: World) -> None:
    """418 by TLS; a new Secret is served without restart, and the old authority is no longer good."""
    _, rules, authority, client = world
    own = authority.credential(HTTPBIN)
    rules.apply("secret", tls("httpbin-credential", own))
    rules.apply("gateway", gateway(SIMPLE))
    rules.apply("route", TO_HTTPBIN)
    reply = client.get(HTTPBIN, "/status/418", roots=own.roots)
    assert (reply.status, reply.protocol) == (418, "http/1.1")
    assert client.get(HTTPBIN, "/status/200", roots=own.roots, alpn="h2").protocol == "h2"
    other = ScratchAuthority().credential(HTTPBIN)
    rules.apply("secret", tls("httpbin-credential", other))

    def rotated() -> bool:
        return client.get(HTTPBIN, "/status/418", roots=other.roots).status == 418

    eventually(rotated, "the new certificate is served")
    assert "certificate verify failed" in client.get(HTTPBIN, "/", roots=own.roots).error


@pytest.mark.covers("Gateway.servers[].hosts", "Gateway.servers[].tls.httpsRedirect")
def test_several_hosts_and_redirect(world: World) -> None:
    """Each host has its own certificate and routes on one port; plain HTTP is sent to HTTPS."""
    mesh, rules, authority, client = world
    httpbin, hello = authority.credential(HTTPBIN), authority.credential(HELLO)
    rules.apply("secret", tls("httpbin-credential", httpbin))
    rules.apply("secret-2", tls("helloworld-credential", hello))
    second = server("https-2", HELLO, mode="SIMPLE", credentialName="helloworld-credential")
    plain = {
        "port": {"number": 80, "name": "http", "protocol": "HTTP"},
        "hosts": [HTTPBIN, HELLO],
        "tls": {"httpsRedirect": True},
    }
    rules.apply("gateway", gateway(SIMPLE, second, plain))
    rules.apply("route", TO_HTTPBIN)
    rules.apply("route-2", route("hello", HELLO, "helloworld", 5000))
    assert client.get(HTTPBIN, "/status/418", roots=httpbin.roots).status == 418
    answer = client.get(HELLO, "/status/200", roots=hello.roots)
    assert answer.status == 200
    assert certificate_of(hello) == answer.certificate
    # A server name that nobody serves gets no certificate, and another host's routes are not found.
    assert client.get("other.example.com").status == 0
    assert client.get(HELLO, "/", roots=hello.roots, authority=HTTPBIN).status == 404
    redirected = httpx.get(f"{mesh.url}/status/200", headers={"Host": HTTPBIN})
    assert redirected.status_code == 301
    assert redirected.headers["location"].startswith(f"https://{HTTPBIN}")


@pytest.mark.covers(
    "Gateway.servers[].tls.mode",
    "Gateway.servers[].tls.subjectAltNames",
    "Gateway.servers[].tls.caCertCredentialName",
    "Gateway.servers[].tls.insecureSkipVerify",
    "Gateway.servers[].tls.verifyCertificateHash",
)
def test_client_certificates(world: World) -> None:
    """MUTUAL refuses who shows none, OPTIONAL_MUTUAL only who shows a wrong one."""
    _, rules, authority, client = world
    own = authority.credential(HTTPBIN)
    good = authority.credential("client.example.com")
    wrong = ScratchAuthority().credential("client.example.com")
    rules.apply("secret", tls("httpbin-credential", own, **{"ca.crt": own.roots}))
    rules.apply("gateway", gateway(SIMPLE))
    rules.apply("route", TO_HTTPBIN)

    def serve(**settings: object) -> None:
        rules.apply("gateway", gateway(server("https", HTTPBIN, **settings)))

    def status(shown: Credential | None) -> int:
        return client.get(HTTPBIN, "/status/418", roots=own.roots, own=shown).status

    mutual = {"mode": "MUTUAL", "credentialName": "httpbin-credential"}
    serve(**mutual)
    refused = client.get(HTTPBIN, "/status/418", roots=own.roots)
    assert "certificate required" in refused.error.lower().replace("_", " "), refused
    assert (status(good), status(wrong)) == (418, 0)
    serve(**{**mutual, "mode": "OPTIONAL_MUTUAL"})
    assert (status(None), status(good), status(wrong)) == (418, 418, 0)
    serve(**mutual, subjectAltNames=["other.example.com"])
    assert status(good) == 0
    serve(**mutual, subjectAltNames=["client.example.com"])
    assert status(good) == 418
    digest = hashlib.sha256(certificate_of(good)).hexdigest()
    serve(**mutual, verifyCertificateHash=[digest])
    assert (status(good), status(authority.credential("client.example.com"))) == (418, 0)
    serve(**mutual, insecureSkipVerify=True)
    assert (status(wrong), status(None)) == (418, 0)
    rules.apply("ca", secret("partner-cacert", {"cacert": wrong.roots}))
    serve(**mutual, caCertCredentialName="partner")
    assert (status(wrong), status(good)) == (418, 0)


@pytest.mark.covers(
    "Gateway.servers[].tls.credentialNames",
    "Gateway.servers[].tls.minProtocolVersion",
    "Gateway.servers[].tls.maxProtocolVersion",
    "Gateway.servers[].tls.cipherSuites",
)
def test_versions_ciphers_and_two_algorithms(world: World) -> None:
    _, rules, authority, client = world
    ecdsa, rsa = authority.credential(HTTPBIN), authority.credential(HTTPBIN, rsa=True)
    rules.apply("secret", tls("httpbin-credential", ecdsa))
    rules.apply("rsa", secret("rsa", {"cert": rsa.certificate, "key": rsa.key}))
    rules.apply("gateway", gateway(SIMPLE))
    rules.apply("route", TO_HTTPBIN)
    old = ssl.TLSVersion.TLSv1_2

    def serve(**settings: object) -> None:
        names = ["httpbin-credential", "rsa"]
        both = {"mode": "SIMPLE", "credentialNames": names, **settings}
        rules.apply("gateway", gateway(server("https", HTTPBIN, **both)))

    serve()
    for name, pair in (("ECDSA", ecdsa), ("RSA", rsa)):
        ciphers = f"ECDHE-{name}-AES128-GCM-SHA256"
        answer = client.get(HTTPBIN, "/status/418", highest=old, ciphers=ciphers)
        assert (answer.status, answer.certificate) == (418, certificate_of(pair))
        assert (answer.version, answer.cipher) == ("TLSv1.2", ciphers)
    serve(minProtocolVersion="TLSV1_3")
    assert client.get(HTTPBIN, "/status/418", highest=old).status == 0
    assert client.get(HTTPBIN, "/status/418").version == "TLSv1.3"
    serve(maxProtocolVersion="TLSV1_2", cipherSuites=["ECDHE-ECDSA-AES256-GCM-SHA384"])
    answer = client.get(HTTPBIN, "/status/418")
    assert (answer.version, answer.cipher) == ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384")


@pytest.mark.covers("MeshConfig.tlsDefaults")
def test_keys_by_post_quantum_exchange_only(world: World) -> None:
    """Proxies find no other way than X25519MLKEM768, and a client that has not got it is refused."""
    mesh, rules, authority, client = world
    rules.apply("secret", tls("httpbin-credential", authority.credential(HTTPBIN)))
    old = server("https", HTTPBIN, mode="SIMPLE", credentialName="httpbin-credential")
    old["tls"] |= {"minProtocolVersion": "TLSV1_2", "maxProtocolVersion": "TLSV1_2"}
    rules.apply("gateway", gateway(old))
    rules.apply("route", TO_HTTPBIN)
    assert client.get(HTTPBIN, "/status/418").version == "TLSv1.2"
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n"
    rules.apply("mesh", text + "data: {argosy: 'compliancePolicy: PQC'}")
    eventually(lambda: client.get(HTTPBIN, "/status/418").status == 0, "others are refused")

    def agreed(workload: str, listener: str, namespace: str = "default") -> dict[str, int]:
        found = mesh.envoy(workload, f"/stats?filter={listener}.ssl.curves", namespace)
        return {
            name.rpartition(".")[2]: int(value)
            for name, _, value in (line.partition(": ") for line in found.split("\n") if line)
        }

    before = agreed("deploy/httpbin", "0.0.0.0_15006")
    assert mesh.status("deploy/hello", "http://httpbin:8000/status/418") == 418
    after = agreed("deploy/httpbin", "0.0.0.0_15006")
    assert after.pop("X25519MLKEM768") > before.pop("X25519MLKEM768", 0)
    assert after == before
    # A sidecar is a client of the gateway that has it.
    edge = "istio-ingressgateway.istio-system.svc.cluster.local"
    to_edge = {"mode": "SIMPLE", "sni": HTTPBIN, "insecureSkipVerify": True}
    policy = {"portLevelSettings": [{"port": {"number": 443}, "tls": to_edge}]}
    subset = {"name": "by-tls", "trafficPolicy": policy}
    rules.apply("rule", document("DestinationRule", "edge", {"host": edge, "subsets": [subset]}))
    destination = {"host": edge, "port": {"number": 443}, "subset": "by-tls"}
    rule = {"rewrite": {"authority": HTTPBIN}, "route": [{"destination": destination}]}
    spec = {"hosts": ["helloworld"], "http": [rule]}
    rules.apply("through", document("VirtualService", "through", spec))
    eventually(
        lambda: mesh.status("deploy/httpbin", "http://helloworld:5000/status/418") == 418,
        "the gateway's TLS",
    )


def test_a_missing_or_bad_secret_closes_its_own_server_only(world: World) -> None:
    """It is said on the Gateway, no wildcard certificate stands in for it, and it heals by itself."""
    mesh, rules, authority, client = world
    own, wide = authority.credential(HTTPBIN), authority.credential("*.example.com")
    rules.apply("secret", tls("httpbin-credential", own))
    rules.apply("wide", tls("wide", wide))
    wildcard = server("https-wide", "*.example.com", mode="SIMPLE", credentialName="wide")
    rules.apply("gateway", gateway(SIMPLE, wildcard))
    rules.apply("route", TO_HTTPBIN)
    rules.apply("route-2", route("hello", HELLO, "helloworld", 5000))

    def status() -> int:
        return client.get(HTTPBIN, "/status/418", roots=own.roots).status

    assert status() == 418
    good = rules.text("secret")
    bad = Credential(own.certificate, authority.credential(HTTPBIN).key, own.roots)
    steps = [("CredentialMismatch", tls("httpbin-credential", bad)), ("CredentialNotFound", None)]
    for code, text in steps:
        if text is None:
            rules.delete("secret")
        else:
            rules.apply("secret", text, quietly=False)
        eventually(lambda: status() == 0, f"{code}: not served")
        assert client.get(HELLO, "/status/200", roots=wide.roots).status == 200
        described = mesh.argosy("describe", "gateway", "mygateway").stdout
        assert "this server is not served" in described, (code, described)
        assert "PRIVATE KEY" not in described
        rules.apply("secret", good)
        eventually(lambda: status() == 418, f"{code}: served again")


def test_an_expired_certificate_is_served_with_a_warning(world: World) -> None:
    mesh, rules, authority, client = world
    old = authority.credential(HTTPBIN, expired=True)
    rules.apply("secret", tls("httpbin-credential", old))
    rules.apply("gateway", gateway(SIMPLE))
    rules.apply("route", TO_HTTPBIN)
    assert client.get(HTTPBIN, "/status/418").status == 418
    assert "has expired" in client.get(HTTPBIN, "/", roots=old.roots).error
    described = mesh.argosy("describe", "gateway", "mygateway").stdout
    assert "Warning" in described
    assert "expired on" in described


PASSTHROUGH = document(
    "Gateway",
    "mygateway",
    {
        "selector": {"istio": "ingressgateway"},
        "servers": [
            {
                "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
                "tls": {"mode": "PASSTHROUGH"},
                "hosts": [NGINX],
            }
        ],
    },
)
TO_NGINX = document(
    "VirtualService",
    "nginx",
    {
        "hosts": [NGINX],
        "gateways": ["mygateway"],
        "tls": [
            {
                "match": [{"port": 443, "sniHosts": [NGINX]}],
                "route": [{"destination": {"host": "my-nginx", "port": {"number": 443}}}],
            }
        ],
    },
)


@pytest.mark.covers(
    "Gateway.servers[].tls.mode",
    "VirtualService.tls[].match[].sniHosts",
    "VirtualService.tls[].match[].port",
    "VirtualService.tls[].route[].destination",
)
def test_passthrough(world: World) -> None:
    """The backend's own certificate is seen; other server names are closed."""
    _, rules, authority, client = world
    rules.apply("gateway", PASSTHROUGH)
    rules.apply("route", TO_NGINX)
    roots = authority.credential("any").roots
    answer = client.get(NGINX, "/", roots=roots)
    assert answer.status == 200
    described = json.loads(answer.body)
    assert (described["site"], described["tls"]["sni"]) == (NGINX, NGINX)
    assert client.get("other.example.com").status == 0


def test_no_request_fails_while_gateway_and_secret_change(world: World) -> None:
    """A new connection for each request, through rotations and changed servers."""
    _, rules, authority, client = world
    own = authority.credential(HTTPBIN)
    rules.apply("secret", tls("httpbin-credential", own))
    rules.apply("secret-2", tls("helloworld-credential", authority.credential(HELLO)))
    rules.apply("gateway", gateway(SIMPLE))
    rules.apply("route", TO_HTTPBIN)
    eventually(lambda: client.get(HTTPBIN, "/status/200").status == 200, "served")
    replies: list[Reply] = []
    over = threading.Event()

    def load() -> None:
        while not over.is_set():
            replies.append(client.get(HTTPBIN, "/status/200", roots=own.roots))

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(6):
            rules.apply("secret", tls("httpbin-credential", authority.credential(HTTPBIN)))
            second = server("two", HELLO, mode="SIMPLE", credentialName="helloworld-credential")
            rules.apply("gateway", gateway(SIMPLE, second) if turn % 2 else gateway(SIMPLE))
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert len(replies) >= 4
    assert [reply for reply in replies if reply.status != 200] == []
    assert len({reply.certificate for reply in replies}) > 1


ASK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as gateway:
    gateway.connect(chr(0) + "shop")
    gateway.sendall(f"GET /status/204 HTTP/1.1\\r\\nHost: {sys.argv[1]}\\r\\n\\r\\n".encode())
    print(gateway.recv(1000).decode().splitlines()[0])
"""


@pytest.mark.covers("Gateway.servers[].bind", "Gateway.servers[].port.number")
def test_a_socket_instead_of_a_port(world: World) -> None:
    mesh, rules, _, _ = world
    port = {"number": 0, "name": "http", "protocol": "HTTP"}
    rules.apply("gateway", gateway({"port": port, "bind": "unix://@shop", "hosts": [HTTPBIN]}))
    rules.apply("route", TO_HTTPBIN)

    def ask(host: str) -> str:
        argv = (sys.executable, "-c", ASK, host)
        edge = "deploy/istio-ingressgateway"
        return mesh.exec(edge, *argv, namespace="istio-system", check=False).stdout

    eventually(lambda: ask(HTTPBIN).startswith("HTTP/1.1 204"), "served at the socket")
    assert ask("other.example.com").startswith("HTTP/1.1 404")


@pytest.mark.covers("Gateway.servers[].tls.mode")
def test_auto_passthrough(world: World) -> None:
    """Mesh TLS is handed on by the server name alone: no VirtualService is bound to the Gateway."""
    mesh, rules, _, client = world
    inner = "outbound_.8000_._.httpbin.default.svc.cluster.local"
    edge = "istio-ingressgateway.istio-system.svc.cluster.local"
    auto = server("tls", "*.local", protocol="TLS", mode="AUTO_PASSTHROUGH")
    rules.apply("gateway", gateway(auto))
    to_edge = {
        "mode": "ISTIO_MUTUAL",
        "sni": inner,
        "subjectAltNames": ["spiffe://cluster.local/ns/default/sa/default"],
    }
    policy = {"portLevelSettings": [{"port": {"number": 443}, "tls": to_edge}]}
    subset = {"name": "through", "trafficPolicy": policy}
    rules.apply("rule", document("DestinationRule", "edge", {"host": edge, "subsets": [subset]}))
    destination = {"host": edge, "port": {"number": 443}, "subset": "through"}
    spec = {"hosts": ["httpbin"], "http": [{"route": [{"destination": destination}]}]}
    rules.apply("route", document("VirtualService", "httpbin", spec))
    eventually(
        lambda: mesh.status("deploy/hello", "http://httpbin:8000/status/418") == 418, "handed on"
    )
    clusters = mesh.envoy("deploy/istio-ingressgateway", "/clusters", "istio-system")
    lines = [line for line in clusters.splitlines() if line.startswith(f"{inner}::")]
    assert sum(int(line.rpartition("::")[2]) for line in lines if "::cx_total::" in line) >= 1
    # Others' TLS, and plain text, are not let in.
    assert client.get("httpbin.default.svc.cluster.local").status == 0
