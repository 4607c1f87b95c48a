"""Istio's cert-manager integration: certificates that come, are renewed and go by themselves.

https://istio.io/latest/docs/ops/integrations/certmanager/
https://istio.io/latest/docs/tasks/traffic-management/ingress/ingress-certmgr/
"""

import threading
from collections.abc import Iterator
from typing import NamedTuple

import httpx
import pytest
from cert_manager import IMAGES, CertManager, Issuer, RefusedError, ask
from cryptography import x509
from manifests import deployment, service
from mesh import Mesh, eventually
from rules import Rules, document
from tls_client import Client, Reply

pytestmark = pytest.mark.e2e

HOST = "httpbin.example.com"
CLASS = """
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: istio}
spec: {controller: istio.io/ingress-controller}
"""
SECRET = "httpbin-cert"
NETWORKING = "networking.istio.io/v1"


class World(NamedTuple):
    mesh: Mesh
    rules: Rules
    manager: CertManager
    issuer: Issuer
    client: Client


@pytest.fixture(scope="module")
def world(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("certificates")
    (directory / "images.yaml").write_text(IMAGES)
    file = directory / "world.yaml"
    file.write_text(
        deployment("httpbin", image="mccutchen/go-httpbin", port=8080)
        + service("httpbin", "httpbin", {"name": "http", "port": 8000, "targetPort": 8080})
    )
    mesh.up(file, options=("--images", str(directory / "images.yaml")))
    manager = CertManager(mesh)
    with Rules(mesh) as rules:
        rules.apply("class", CLASS)
        issuer = Issuer(mesh.url)
        yield World(mesh, rules, manager, issuer, Client(mesh.secure_address))
    manager.close()


def gateway() -> str:
    """The user's own, on both ports."""
    port80 = {"number": 80, "name": "http", "protocol": "HTTP"}
    port443 = {"number": 443, "name": "https", "protocol": "HTTPS"}
    tls = {"mode": "SIMPLE", "credentialName": SECRET}
    servers = [{"port": port80, "hosts": [HOST]}, {"port": port443, "hosts": [HOST], "tls": tls}]
    spec = {"selector": {"istio": "ingressgateway"}, "servers": servers}
    return document(NETWORKING, "Gateway", "gateway", spec)


def route() -> str:
    to = [{"destination": {"host": "httpbin", "port": {"number": 8000}}}]
    prefixes = [{"uri": {"prefix": "/status"}}]
    http = [{"match": prefixes, "route": to}]
    spec = {"hosts": [HOST], "gateways": ["gateway"], "http": http}
    return document(NETWORKING, "VirtualService", "httpbin", spec)


def plain(mesh: Mesh, path: str = "/status/418") -> int:
    return httpx.get(f"{mesh.url}{path}", headers={"Host": HOST}).status_code


def serial(reply: Reply) -> str:
    if not reply.certificate:
        return reply.error
    return f"{x509.load_der_x509_certificate(reply.certificate).serial_number:X}"


@pytest.mark.covers(
    "Gateway.servers[].tls.credentialName",
    "Ingress.rules[].http.paths[].pathType",
    "Ingress.ingressClassName",
)
def test_a_certificate_is_issued_renewed_and_lost(world: World) -> None:
    mesh, rules, manager, issuer, client = world
    rules.apply("gateway", gateway(), quietly=False)
    rules.apply("route", route())

    def tls(roots: str = issuer.root) -> Reply:
        return client.get(HOST, "/status/418", roots=roots)

    def described() -> str:
        return mesh.argosy("describe", "gateway", "gateway").stdout

    # Before: HTTP works, HTTPS does not, and the Gateway says why.
    eventually(lambda: plain(mesh) == 418, "HTTP by the user's Gateway")
    assert tls().status == 0
    assert SECRET in described()
    assert "this server is not served" in described()
    # The issuer finds the challenge next to the user's own routes on port 80, and signs.
    first = manager.issue(SECRET, HOST, issuer)
    eventually(lambda: tls().status == 418, "HTTPS with the issued certificate")
    assert serial(tls()) == first
    assert plain(mesh) == 418
    assert "this server is not served" not in described()
    other = Issuer(mesh.url)
    assert "certificate verify failed" in tls(other.root).error
    # Renewed under load: the new one is served, and nobody is refused.
    replies: list[Reply] = []
    over = threading.Event()

    def load() -> None:
        while not over.is_set():
            replies.append(tls())

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: bool(replies), "the load has begun", 30)
        second = manager.issue(SECRET, HOST, issuer)
        eventually(lambda: serial(replies[-1]) == second, "the new certificate is served", 30)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert [reply for reply in replies if reply.status != 418] == []
    assert {serial(reply) for reply in replies} == {first, second}
    # Lost: closed again, with the reason; and back again.
    mesh.argosy("delete", "--wait", "secret", SECRET, "-n", "istio-system")
    eventually(lambda: tls().status == 0, "without the Secret")
    assert plain(mesh) == 418
    assert "this server is not served" in described()
    third = manager.issue(SECRET, HOST, issuer)
    eventually(lambda: serial(tls()) == third, "issued again")
    mesh.argosy("delete", "--wait", "secret", SECRET, "-n", "istio-system")


def test_a_challenge_is_answered_as_long_as_it_lasts(world: World) -> None:
    """At the token's path alone, beside the user's routes; then nothing is left of it."""
    mesh, rules, manager, issuer, _ = world
    rules.apply("gateway", gateway(), quietly=False)
    rules.apply("route", route())
    eventually(lambda: plain(mesh) == 418, "HTTP by the user's Gateway")
    with manager.challenge(HOST, "a-token", "a-token.account"):
        manager.check(HOST, "a-token", "a-token.account")
        issuer.validate(HOST, "a-token", "a-token.account")
        assert plain(mesh) == 418
        assert plain(mesh, "/.well-known/acme-challenge/other") == 404
        assert ask(mesh.url, "other.example.com", "a-token").status_code == 404
        with pytest.raises(RefusedError):
            issuer.validate(HOST, "a-token", "a-token.another-account")
    eventually(lambda: ask(mesh.url, HOST, "a-token").status_code == 404, "taken away")
    eventually(lambda: manager.solvers() == [], "nothing is left of it", 30)
    assert plain(mesh) == 418


def test_a_challenge_of_another_class_is_not_answered(world: World) -> None:
    """So the issuer refuses."""
    mesh, rules, _, issuer, _ = world
    rules.apply("gateway", gateway(), quietly=False)
    rules.apply("route", route())
    eventually(lambda: plain(mesh) == 418, "HTTP by the user's Gateway")
    other = CertManager(mesh, "nginx")
    with other.challenge(HOST, "a-token", "a-token.account"), pytest.raises(RefusedError):
        issuer.validate(HOST, "a-token", "a-token.account")
    other.close()
