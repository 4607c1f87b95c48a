"""An authority of the user's own: S-19, what it revokes, roots of other meshes, and its replacement.

https://istio.io/latest/docs/tasks/security/cert-management/plugin-ca-cert/
"""

import json
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from certificate_load import (
    WORKLOADS,
    certificates,
    get,
    in_legacy,
    load,
    require_no_failure,
    roots,
    state_of,
    staying_in_legacy,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from manifests import mesh_config
from mesh import Mesh, eventually

from argosy.base.names import TrustDomain
from argosy.citadel.identity import SpiffeId
from argosy.citadel.signer import (
    Authority,
    create_intermediate,
    create_root,
    pem,
    private_pem,
    sign_workload,
)
from argosy.proxy.certificates import make_request

pytestmark = pytest.mark.e2e

PEER = Path(__file__).with_name("mtls_peer.py")
ASK = Path(__file__).with_name("ask_for_certificate.py")
DOMAIN = TrustDomain("cluster.local")
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Credential:
    """A workload's certificate of a test's own making, as ``mtls_peer.py`` takes it."""

    certificate: str
    key: str

    @property
    def serial(self) -> int:
        return x509.load_pem_x509_certificate(self.certificate.encode()).serial_number


def signed(authority: Authority, identity: str) -> Credential:
    key, csr = make_request(identity)
    chain = sign_workload(authority, csr, SpiffeId.parse(identity), datetime.now(UTC)).chain
    return Credential("".join(chain[:-1]), private_pem(key).decode())


def revocations(authority: Authority, *serials: int) -> str:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now)
        .next_update(authority.certificate.not_valid_after_utc)
    )
    for serial in serials:
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
        builder = builder.add_revoked_certificate(revoked.build())
    done = builder.sign(authority.key, hashes.SHA256())
    return done.public_bytes(serialization.Encoding.PEM).decode()


class Organization:
    """A root that is kept elsewhere, and intermediates under it."""

    def __init__(self, directory: Path) -> None:
        self.root = create_root(DOMAIN, datetime.now(UTC))
        self.own = self.intermediate()
        self.directory = directory
        directory.mkdir(mode=0o700, exist_ok=True)

    def intermediate(self) -> Authority:
        return create_intermediate(self.root, DOMAIN, datetime.now(UTC))

    def write(self, crl: str = "") -> None:
        """As Istio's task does with ``cacerts``."""
        files = {
            "ca-key.pem": private_pem(self.own.key).decode(),
            "ca-cert.pem": pem(self.own.certificate),
            "cert-chain.pem": "".join(map(pem, self.own.certificates)),
            "root-cert.pem": pem(self.root.root),
            **({"ca-crl.pem": crl} if crl else {}),
        }
        for name, text in files.items():
            scratch = self.directory / f".{name}"
            scratch.write_text(text)
            scratch.chmod(0o600)
            scratch.rename(self.directory / name)


@pytest.fixture(scope="module")
def organization(tmp_path_factory: pytest.TempPathFactory) -> Organization:
    made = Organization(tmp_path_factory.mktemp("authority") / "cacerts")
    made.write()
    return made


@pytest.fixture(scope="module")
def plugged(
    mesh: Mesh, organization: Organization, tmp_path_factory: pytest.TempPathFactory
) -> Mesh:
    file = tmp_path_factory.mktemp("yaml") / "workloads.yaml"
    file.write_text(WORKLOADS)
    mesh.up(file, options=("--ca", str(organization.directory)))
    eventually(lambda: get(mesh) == 200, "the client reaches the server", seconds=20)
    return mesh


def peers(mesh: Mesh, *credentials: Credential) -> list[int]:
    """What the server answers to each: 0 for a refused handshake."""
    return [answer["status"] for answer in in_legacy(mesh, PEER, [web(one) for one in credentials])]


def web(shown: Credential) -> dict[str, Any]:
    """A request to the server with this certificate, for ``mtls_peer.py``."""
    return {"host": "web.foo", "port": 80, "certificate": shown.certificate, "key": shown.key}


def s_client(mesh: Mesh, *options: str) -> str:
    """Istio's command of the task, from a pod without a sidecar."""
    command = ("openssl", "s_client", "-alpn", "istio", "-connect", "web.foo:80", *options)
    done = mesh.exec("deploy/stranger", *command, namespace="legacy", check=False)
    return done.stdout


def chain(text: str) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(text.encode())


def test_a_bad_authority_starts_nothing(tmp_path: Path) -> None:
    other = Organization(tmp_path / "cacerts")
    other.write()
    (tmp_path / "cacerts" / "ca-key.pem").write_bytes(private_pem(other.root.key))
    mesh = Mesh(tmp_path / "meshes")
    done = mesh.argosy("up", "--detach", "--ca", str(other.directory), check=False)
    assert done.returncode == 1
    assert "ca-key.pem is not the key of ca-cert.pem" in done.stderr
    assert "Nothing was started" in done.stderr
    assert not state_of(mesh).path.exists()


def test_the_chain_leads_to_the_plugged_in_root(
    plugged: Mesh, organization: Organization, tmp_path: Path
) -> None:
    """S-19: leaf, intermediate, root last; and openssl verifies the leaf."""
    shown = chain(s_client(plugged, "-showcerts"))
    assert shown[-1] == organization.root.root
    assert shown[1] == organization.own.certificate
    assert len(shown) == 3
    (tmp_path / "leaf.pem").write_text(pem(shown[0]))
    (tmp_path / "ca.pem").write_text(pem(shown[1]) + pem(shown[2]))
    verified = subprocess.run(
        ["openssl", "verify", "-CAfile", str(tmp_path / "ca.pem"), str(tmp_path / "leaf.pem")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert verified.stdout.strip().endswith("leaf.pem: OK"), verified.stderr
    assert "plugged in" in plugged.argosy("certs", "root").stdout
    refused = plugged.argosy("certs", "rotate-root", check=False)
    assert refused.returncode == 1
    assert "the root is not made here" in refused.stderr


@pytest.mark.covers("MeshConfig.meshMTLS.minProtocolVersion")
def test_the_lowest_version_of_tls(plugged: Mesh) -> None:
    """S-22: https://istio.io/latest/docs/tasks/security/tls-configuration/workload-min-tls-version/"""
    assert "Cipher is (NONE)" not in s_client(plugged, "-tls1_2")
    plugged.apply(mesh_config("meshMTLS: {minProtocolVersion: TLSV1_3}"))
    eventually(lambda: "Cipher is (NONE)" in s_client(plugged, "-tls1_2"), "TLS 1.2 is refused")
    assert "TLSv1.3, Cipher is TLS_" in s_client(plugged, "-tls1_3")
    plugged.apply(mesh_config(""))


@pytest.mark.covers("MeshConfig.caCertificates[].pem", "MeshConfig.caCertificates[].trustDomains[]")
def test_another_meshs_root_speaks_for_its_own_domain_only(
    plugged: Mesh, organization: Organization
) -> None:
    partner = create_root(TrustDomain("partner"), datetime.now(UTC))
    theirs = signed(partner, "spiffe://partner/ns/shop/sa/cart")
    posing = signed(partner, "spiffe://cluster.local/ns/foo/sa/default")
    ours = signed(organization.own, "spiffe://cluster.local/ns/legacy/sa/peer")
    reverse = signed(organization.own, "spiffe://partner/ns/shop/sa/cart")
    assert peers(plugged, theirs, posing, ours) == [0, 0, 200]
    indented = pem(partner.root).replace("\n", "\n    ")
    text = f"""trustDomainAliases: [partner]
caCertificates:
- trustDomains: [partner]
  pem: |
    {indented}"""
    plugged.apply(mesh_config(text))
    eventually(
        lambda: peers(plugged, theirs, posing, ours, reverse) == [200, 0, 200, 0],
        "each root speaks for its own",
        seconds=20,
    )
    assert get(plugged) == 200
    plugged.apply(mesh_config(""))
    eventually(lambda: peers(plugged, theirs, posing, ours) == [0, 0, 200], "no longer", seconds=20)


def test_what_is_revoked_is_refused(plugged: Mesh, organization: Organization) -> None:
    """A leaf, and all that a revoked intermediate has signed; by proxies and the control plane."""
    other = organization.intermediate()
    good = signed(organization.own, "spiffe://cluster.local/ns/legacy/sa/peer")
    stolen = signed(organization.own, "spiffe://cluster.local/ns/foo/sa/default")
    under_other = signed(other, "spiffe://cluster.local/ns/legacy/sa/peer")
    assert peers(plugged, good, stolen, under_other) == [200, 200, 200]
    control_plane = {"address": "10.244.0.1:15012", "roots": pem(organization.root.root)}
    asked = [
        {**control_plane, "certificate": one.certificate, "key": one.key} for one in (good, stolen)
    ]
    assert [answer["code"] for answer in in_legacy(plugged, ASK, asked)] == ["OK", "OK"]
    crl = (
        revocations(organization.root, other.certificate.serial_number)
        + revocations(organization.own, stolen.serial)
        + revocations(other)
    )
    versions = ("TLSv1_2", "TLSv1_3")
    # One of the two servers, since neither knows the other's sessions.
    address = plugged.get("pods", "-n", "foo", "-l", "app=web")[0]["status"]["podIP"]
    with staying_in_legacy(plugged, PEER) as ask:

        def again(version: str) -> dict[str, Any]:
            return ask({**web(stolen), "host": address, "port": 8080, "version": version})

        for version in versions:
            before = [again(version) for _ in range(6)]
            assert {answer["status"] for answer in before} == {200}
            assert any(answer["resumed"] for answer in before), "sessions are resumed at all"
        organization.write(crl)
        eventually(
            lambda: peers(plugged, good, stolen, under_other) == [200, 0, 0],
            "the revoked are refused, the others are not",
            seconds=20,
        )
        for version in versions * 2:
            assert again(version)["status"] == 0, f"a session of before was resumed ({version})"
    assert [answer["code"] for answer in in_legacy(plugged, ASK, asked)] == [
        "OK",
        "UNAUTHENTICATED",
    ]
    assert get(plugged) == 200


def test_the_authority_is_replaced_under_load(plugged: Mesh, organization: Organization) -> None:
    """New files in the directory, and a rotation begins by itself: no request fails."""
    before = roots(plugged)
    # A week before its end: it is taken, and spoken of.
    organization.root = create_root(DOMAIN, datetime.now(UTC) - 63 * DAY, 70 * DAY)
    organization.own = organization.intermediate()
    new = pem(organization.root.root)
    with load(plugged, 12) as found:
        organization.write(revocations(organization.root) + revocations(organization.own))
        eventually(lambda: roots(plugged) == new, "only the new root is trusted", seconds=30)
    require_no_failure(found, "replacement of a plugged-in authority")
    assert before != new
    shown = chain(s_client(plugged, "-showcerts"))
    assert shown[-1] == organization.root.root
    root = organization.root.root.subject.rfc4514_string()
    for command in ("certs", "status"):
        assert f"Warning: {root} expires in 6 days" in plugged.argosy(command).stderr
    log = state_of(plugged).control_plane_log
    eventually(lambda: "certificate.expires" in log.read_text(), "the log tells of it", seconds=60)
    assert {one["root"] for one in certificates(plugged).values()} == {root}


def test_files_that_do_not_fit_change_nothing(plugged: Mesh, organization: Organization) -> None:
    before = roots(plugged)
    key = organization.directory / "ca-key.pem"
    key.write_bytes(private_pem(organization.root.key))
    log = state_of(plugged).control_plane_log
    eventually(
        lambda: "ca-key.pem is not the key of ca-cert.pem" in log.read_text(), "it is said", 20
    )
    assert roots(plugged) == before
    assert get(plugged) == 200
    told = json.loads(plugged.argosy("certs", "root", "-o", "json").stdout)
    assert "BEGIN PRIVATE" not in json.dumps(told)
    assert "PRIVATE" not in log.read_text()
