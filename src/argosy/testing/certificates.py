"""A certificate authority for tests: workload certificates as the agent would lay them out."""

import datetime
import json
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric import rsa as _rsa

from argosy.citadel.signer import stated_facts

_SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


@dataclass(frozen=True, slots=True)
class Credential:
    """PEM texts."""

    certificate: str
    key: str
    roots: str


class ScratchAuthority:
    """Signs at once and for an hour whatever a test asks for."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "scratch")])
        self._certificate = (
            _builder(name, name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(sign_certificates=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def credential(
        self, *identities: str, rsa: bool = False, expired: bool = False, facts: str = ""
    ) -> Credential:
        """A key and certificate for SPIFFE ids, or for DNS names. ECDSA unless ``rsa``.

        ``facts`` are stated of the workload besides, as the mesh's authority does.
        """
        key: _rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
        if rsa:
            key = _rsa.generate_private_key(65537, 2048)
        else:
            key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(x509.Name([]), self._certificate.subject, key.public_key(), expired=expired)
            .add_extension(
                x509.SubjectAlternativeName(
                    [
                        *(_name(identity) for identity in identities),
                        *([stated_facts(facts)] if facts else []),
                    ]
                ),
                critical=True,
            )
            .add_extension(_key_usage(sign_certificates=False), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        return Credential(
            certificate=_pem(certificate),
            key=key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ).decode(),
            roots=_pem(self._certificate),
        )

    def revocations(self, *certificates: str) -> str:
        """A revocation list, PEM, of certificates (PEM) that it signed."""
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(now - datetime.timedelta(minutes=1))
            .next_update(now + datetime.timedelta(hours=1))
        )
        for text in certificates:
            serial = x509.load_pem_x509_certificate(text.encode()).serial_number
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
            builder = builder.add_revoked_certificate(revoked.build())
        return (
            builder.sign(self._key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
            .decode()
        )


def write_secrets(credential: Credential, directory: Path) -> None:
    """``default.json``, ``root.json`` and ``control-plane.json`` in ``directory``, which Envoy reads as file secrets."""
    directory.mkdir(parents=True, exist_ok=True)
    pair = {
        "certificate_chain": {"inline_string": credential.certificate},
        "private_key": {"inline_string": credential.key},
    }
    roots = {"trusted_ca": {"inline_string": credential.roots}}
    secrets = {
        "default.json": {"name": "default", "tls_certificate": pair},
        "root.json": {"name": "ROOTCA", "validation_context": roots},
        "control-plane.json": {"name": "control-plane", "validation_context": roots},
    }
    for file, secret in secrets.items():
        response = {"resources": [{"@type": _SECRET, **secret}]}
        (directory / file).write_text(json.dumps(response))


def _name(identity: str) -> x509.GeneralName:
    if "://" in identity:
        return x509.UniformResourceIdentifier(identity)
    return x509.DNSName(identity)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey | _rsa.RSAPublicKey,
    *,
    expired: bool = False,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=2 if expired else 0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
    )


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not sign_certificates,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
