"""Fields of a Gateway by what its clients experience: certificates in files, and what has no effect.

https://istio.io/latest/docs/reference/config/networking/gateway/
"""

import base64
import hashlib
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from credentials import certificate_of, mutual
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from gateways import gateway, route, server
from manifests import deployment, service
from mesh import Mesh, eventually
from rules import Rules
from tls_client import Client

from argosy.testing.certificates import Credential, ScratchAuthority

pytestmark = pytest.mark.e2e

HOST = "httpbin.example.com"
CLIENT = "client.example.com"


class World(NamedTuple):
    mesh: Mesh
    rules: Rules
    authority: ScratchAuthority
    client: Client


@pytest.fixture(scope="module")
def world(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    file = tmp_path_factory.mktemp("yaml") / "workloads.yaml"
    file.write_text(
        deployment("httpbin", image="mccutchen/go-httpbin", port=8080)
        + service("httpbin", "httpbin", {"name": "http", "port": 8000, "targetPort": 8080})
    )
    mesh.up(file)
    with Rules(mesh) as rules:
        yield World(mesh, rules, ScratchAuthority(), Client(mesh.secure_address))


@pytest.fixture(autouse=True)
def nothing_left(world: World) -> Iterator[None]:
    """Each test begins without rules."""
    yield
    world.rules.clear()


def in_files(directory: Path, credential: Credential, name: str = "own") -> dict[str, str]:
    """The fields that a certificate in files needs."""
    files = {"crt": credential.certificate, "key": credential.key}
    for suffix, text in files.items():
        (directory / f"{name}.{suffix}").write_text(text)
    return {
        "serverCertificate": str(directory / f"{name}.crt"),
        "privateKey": str(directory / f"{name}.key"),
    }


def trusting(directory: Path, text: str, name: str = "ca") -> str:
    """The path of a file of authorities."""
    (directory / f"{name}.pem").write_text(text)
    return str(directory / f"{name}.pem")


def serve(world: World, **settings: object) -> None:
    apply(world, gateway(server("https", HOST, **settings)))


def apply(world: World, text: str) -> None:
    """The Gateway, and a route for its host."""
    world.rules.apply("gateway", text)
    world.rules.apply("route", route("httpbin", HOST, "httpbin", 8000))


def status(world: World, shown: Credential | None = None) -> int:
    """0: the gateway refused the client."""
    return world.client.get(HOST, "/status/418", own=shown).status


@pytest.mark.covers(
    "Gateway.servers[].tls.serverCertificate",
    "Gateway.servers[].tls.privateKey",
    "Gateway.servers[].tls.caCertificates",
)
def test_certificates_in_files(world: World, tmp_path: Path) -> None:
    own = world.authority.credential(HOST)
    authorities = trusting(tmp_path, own.roots)
    serve(world, mode="MUTUAL", caCertificates=authorities, **in_files(tmp_path, own))
    shown = world.authority.credential(CLIENT)
    assert world.client.get(HOST, "/status/418", roots=own.roots, own=shown).status == 418
    assert status(world) == 0
    assert status(world, ScratchAuthority().credential(CLIENT)) == 0


@pytest.mark.covers("Gateway.servers[].tls.caCrl")
def test_revoked_clients_are_refused(world: World, tmp_path: Path) -> None:
    good, revoked = (world.authority.credential(CLIENT) for _ in range(2))
    own = world.authority.credential(HOST)
    crl = tmp_path / "ca.crl"
    settings = {
        "mode": "MUTUAL",
        "caCertificates": trusting(tmp_path, own.roots),
        **in_files(tmp_path, own),
    }
    serve(world, **settings)
    eventually(lambda: status(world, revoked) == 418, "nothing is revoked without a list")
    crl.write_text(world.authority.revocations(revoked.certificate))
    serve(world, **settings, caCrl=str(crl))
    eventually(lambda: status(world, revoked) == 0, "revoked")
    assert status(world, good) == 418


@pytest.mark.covers(
    "Gateway.servers[].tls.tlsCertificates[].serverCertificate",
    "Gateway.servers[].tls.tlsCertificates[].privateKey",
    "Gateway.servers[].tls.tlsCertificates[].caCertificates",
)
def test_a_certificate_for_each_algorithm(world: World, tmp_path: Path) -> None:
    """And one set of authorities for clients: those of a certificate have no effect, and it is told."""
    ecdsa, rsa = world.authority.credential(HOST), world.authority.credential(HOST, rsa=True)
    strangers = ScratchAuthority().credential(CLIENT)
    both = [in_files(tmp_path, ecdsa, "ecdsa"), in_files(tmp_path, rsa, "rsa")]
    serve(world, mode="SIMPLE", tlsCertificates=both)

    def seen(algorithm: str, shown: Credential | None = None) -> bytes:
        """The certificate that a client gets who knows one algorithm."""
        ciphers, highest = f"ECDHE-{algorithm}-AES128-GCM-SHA256", ssl.TLSVersion.TLSv1_2
        answer = world.client.get(HOST, "/status/418", highest=highest, ciphers=ciphers, own=shown)
        return answer.certificate if answer.status == 418 else b""

    eventually(lambda: seen("ECDSA") == certificate_of(ecdsa), "the first")
    assert seen("RSA") == certificate_of(rsa)
    both[0]["caCertificates"] = trusting(tmp_path, strangers.roots, "strangers")
    authorities = trusting(tmp_path, ecdsa.roots)
    serve(world, mode="MUTUAL", caCertificates=authorities, tlsCertificates=both)
    eventually(lambda: seen("ECDSA") == b"", "clients need a certificate")
    assert seen("ECDSA", world.authority.credential(CLIENT)) == certificate_of(ecdsa)
    assert seen("ECDSA", strangers) == b""
    described = world.mesh.argosy("describe", "gateway", "mygateway").stdout
    assert "tlsCertificates[0].caCertificates: clients are verified by caCertificates" in described


@pytest.mark.covers("Gateway.servers[].tls.verifyCertificateSpki")
def test_clients_are_known_by_their_public_key(world: World) -> None:
    own, good, other = (world.authority.credential(n) for n in (HOST, CLIENT, CLIENT))
    key = x509.load_pem_x509_certificate(good.certificate.encode()).public_key()
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    digest = hashlib.sha256(key.public_bytes(encoding, form)).digest()
    world.rules.apply("secret", mutual("httpbin", own))
    settings = {"mode": "MUTUAL", "credentialName": "httpbin"}
    serve(world, **settings)
    eventually(lambda: status(world, other) == 418, "any key will do")
    serve(world, **settings, verifyCertificateSpki=[base64.b64encode(digest).decode()])
    eventually(lambda: status(world, other) == 0, "another's key is refused")
    assert status(world, good) == 418


@pytest.mark.covers("Gateway.servers[].defaultEndpoint")
def test_a_default_endpoint_has_no_effect(world: World) -> None:
    """As in Istio: requests go where the rules say, and that is told."""
    world.rules.apply("secret", mutual("httpbin", world.authority.credential(HOST)))
    https = server("https", HOST, mode="SIMPLE", credentialName="httpbin")
    apply(world, gateway({**https, "defaultEndpoint": "127.0.0.1:9"}))
    eventually(lambda: status(world) == 418, "the route's destination")
    world.rules.delete("route")
    eventually(lambda: status(world) == 404, "there is no route, and so nothing")
    described = world.mesh.argosy("describe", "gateway", "mygateway").stdout
    assert "spec.servers[0].defaultEndpoint: defaultEndpoint has no effect" in described


@pytest.mark.covers("Gateway.servers[].port.targetPort")
def test_a_target_port_is_refused(world: World, tmp_path: Path) -> None:
    """As in Istio, with the place and the reason; the last good version stays in force."""
    world.rules.apply("secret", mutual("httpbin", world.authority.credential(HOST)))
    good = gateway(server("https", HOST, mode="SIMPLE", credentialName="httpbin"))
    apply(world, good)
    eventually(lambda: status(world) == 418, "served")
    file = tmp_path / "bad.json"
    file.write_text(good.replace('"number": 443', '"number": 443, "targetPort": 8443'))
    done = world.mesh.argosy("apply", "--wait", "-f", str(file), check=False)
    field = "spec.servers[0].port.targetPort"
    assert done.returncode == 1
    assert f"Error: {file}:1: Gateway default/mygateway: {field}: targetPort has" in done.stderr
    assert "Remove it" in done.stderr
    assert "the last good version stays in force" in done.stdout
    assert status(world) == 418
