"""A plugged-in authority is judged before it signs: each mistake has its words."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from argosy.base.names import TrustDomain
from argosy.citadel.issuer import AuthorityError, issuer_from
from argosy.citadel.signer import (
    create_intermediate,
    create_root,
    empty_revocations,
    pem,
    private_pem,
)

NOW = datetime(2026, 11, 23, tzinfo=UTC)
DOMAIN = TrustDomain("cluster.local")
DAY = timedelta(days=1)


@dataclass
class Maker:
    """Certificates of any kind; ``self`` signs itself unless there is a parent."""

    name: str
    parent: "Maker | None" = None
    ca: bool = True
    path_length: int | None = None
    signs: bool | None = True
    begins: datetime = NOW - DAY
    ends: datetime = NOW + 365 * DAY
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    @property
    def subject(self) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self.name)])

    def certificate(self) -> x509.Certificate:
        signer = self.parent or self
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=bool(self.signs),
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name(signer.subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.begins)
            .not_valid_after(self.ends)
        )
        if self.ca or self.path_length is None:
            constraints = x509.BasicConstraints(self.ca, self.path_length if self.ca else None)
            builder = builder.add_extension(constraints, critical=True)
        if self.signs is not None:
            builder = builder.add_extension(usage, critical=True)
        return builder.sign(signer.key, hashes.SHA256())


def files(*path: Maker, **more: bytes) -> dict[str, bytes]:
    """Of a chain, the signing certificate first and the root last."""
    made = [each.certificate() for each in path]
    found = {
        "ca-key.pem": private_pem(path[0].key),
        "ca-cert.pem": pem(made[0]).encode(),
        "cert-chain.pem": "".join(map(pem, made)).encode(),
        "root-cert.pem": pem(made[-1]).encode(),
    }
    return {**found, **{name.replace("_", "-") + ".pem": text for name, text in more.items()}}


def test_a_chain_of_three_is_taken() -> None:
    root = Maker("root", path_length=2)
    middle = Maker("middle", root, path_length=1)
    issuing = Maker("issuing", middle, path_length=0)
    issuer = issuer_from(files(issuing, middle, root), "Secret cacerts", NOW)
    names = [each.subject.rfc4514_string() for each in issuer.authority.certificates]
    assert names == ["CN=issuing", "CN=middle", "CN=root"]


def test_all_roots_of_the_file_are_trusted() -> None:
    """Istio's way to change a root by hand: both in root-cert.pem."""
    root, other = Maker("root"), Maker("other")
    given = files(Maker("issuing", root), root)
    given["root-cert.pem"] = pem(other.certificate()).encode() + given["root-cert.pem"]
    issuer = issuer_from(given, "Secret cacerts", NOW)
    assert [each.subject.rfc4514_string() for each in issuer.roots] == ["CN=root", "CN=other"]


def _wrong_key() -> dict[str, bytes]:
    root = Maker("root")
    return files(Maker("issuing", root), root, ca_key=private_pem(Maker("x").key))


def _stranger() -> dict[str, bytes]:
    root = Maker("root")
    given = files(Maker("issuing", Maker("stranger")), root)
    return {**given, "cert-chain.pem": b""}


def _expired() -> dict[str, bytes]:
    root = Maker("root", begins=NOW - 3 * DAY, ends=NOW - DAY)
    return files(Maker("issuing", root), root)


def _early() -> dict[str, bytes]:
    root = Maker("root")
    return files(Maker("issuing", root, begins=NOW + DAY), root)


def _no_authority() -> dict[str, bytes]:
    root = Maker("root")
    return files(Maker("leaf", root, ca=False), root)


def _no_signing() -> dict[str, bytes]:
    root = Maker("root")
    return files(Maker("issuing", root, signs=False), root)


def _no_usage() -> dict[str, bytes]:
    root = Maker("root")
    return files(Maker("issuing", root, signs=None), root)


def _too_deep() -> dict[str, bytes]:
    root = Maker("root", path_length=0)
    return files(Maker("issuing", root), root)


def _not_self_signed() -> dict[str, bytes]:
    middle = Maker("middle", Maker("root"))
    return files(Maker("issuing", middle), middle)


def _nothing() -> dict[str, bytes]:
    return {}


def _weak() -> dict[str, bytes]:
    root = Maker("root")
    key = rsa.generate_private_key(65_537, 1_024)
    return files(Maker("issuing", root), root, ca_key=private_pem(key))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (_nothing, "has no ca-cert.pem, ca-key.pem, root-cert.pem"),
        (_wrong_key, "ca-key.pem is not the key of ca-cert.pem"),
        (_stranger, "CN=issuing is signed by CN=stranger, which is neither"),
        (_expired, "CN=root expired on 2026-11-22"),
        (_early, "CN=issuing is not valid before 2026-11-24"),
        (_no_authority, "CN=leaf is not a CA"),
        (_no_signing, "CN=issuing may not sign certificates"),
        (_no_usage, "CN=issuing has no keyUsage"),
        (_too_deep, "CN=root allows 0 authorities below it .pathlen. and the chain has 1"),
        (_not_self_signed, "CN=middle in root-cert.pem is not signed by itself"),
        (_weak, "1024 bits: RSA needs 2048"),
    ],
)
def test_each_mistake_has_its_words(given: Callable[[], dict[str, bytes]], words: str) -> None:
    with pytest.raises(AuthorityError, match=words) as error:
        issuer_from(given(), "Secret cacerts", NOW)
    assert str(error.value).startswith("Secret cacerts")
    assert "PRIVATE" not in str(error.value)


def test_revocation_lists_are_for_every_authority_of_the_chain() -> None:
    """Envoy refuses all that an authority without a list has signed, once there is one."""
    root = create_root(DOMAIN, NOW)
    issuing = create_intermediate(root, DOMAIN, NOW)
    given = {
        "ca-key.pem": private_pem(issuing.key),
        "ca-cert.pem": pem(issuing.certificate).encode(),
        "root-cert.pem": pem(issuing.root).encode(),
    }
    of_root, of_issuing = empty_revocations(root, NOW), empty_revocations(issuing, NOW)
    both = {**given, "ca-crl.pem": (of_root + of_issuing).encode()}
    assert issuer_from(both, "x", NOW).crl.count("BEGIN X509 CRL") == 2
    for text, lacking in ((of_root, "intermediate"), (of_issuing, "root")):
        with pytest.raises(AuthorityError, match=f"no list signed by CN=Argosy {lacking}"):
            issuer_from({**given, "ca-crl.pem": text.encode()}, "x", NOW)
    with pytest.raises(AuthorityError, match="no revocation list in PEM form"):
        issuer_from({**given, "ca-crl.pem": b"garbage"}, "x", NOW)
