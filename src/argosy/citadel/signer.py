"""Signing: who gets what kind of certificate. No files, no clock, no network.

Profiles follow X509-SVID and RFC 5280: https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from argosy.base.log import Secret
from argosy.base.names import TrustDomain
from argosy.citadel.identity import SpiffeId
from argosy.citadel.refusal import RefusedError
from argosy.citadel.requests import PublicKey, requested_key

WORKLOAD_LIFETIME = timedelta(hours=24)
"""Istio's default."""

MAXIMUM_LIFETIME = timedelta(days=90)
"""Istio's ``MAX_WORKLOAD_CERT_TTL``."""

SERVER_LIFETIME = timedelta(days=30)
ROOT_LIFETIME = timedelta(days=3650)
INTERMEDIATE_LIFETIME = timedelta(days=730)

WORKLOAD_FACTS = x509.ObjectIdentifier("2.25.274844203413528320154932381369407427399")
"""The name in a certificate that holds the facts of a workload; made from a UUID (X.667)."""

SKEW = timedelta(minutes=2)
"""How far back a certificate's validity begins, for clocks that are behind; Istio's as well."""

SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
"""What an authority signs with: P-256 when we make it; RSA as it comes with many a CA."""

_CLIENT_AND_SERVER = x509.ExtendedKeyUsage(
    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
)
_SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
_NO_AUTHORITY = x509.BasicConstraints(ca=False, path_length=None)
_NOBODY = x509.Name([])


@dataclass(frozen=True, slots=True)
class Authority:
    """A key that signs, with its certificates: the key's own first, the root last.

    A root that signs leaves itself has one certificate.
    """

    key: SigningKey
    certificates: tuple[x509.Certificate, ...]

    @property
    def certificate(self) -> x509.Certificate:
        return self.certificates[0]

    @property
    def root(self) -> x509.Certificate:
        return self.certificates[-1]

    def __repr__(self) -> str:
        return f"Authority([redacted], {self.certificate.subject.rfc4514_string()})"


@dataclass(frozen=True, slots=True)
class Issued:
    """A leaf certificate and its chain as PEM texts, leaf first and root last."""

    chain: tuple[str, ...]
    serial: int
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Credential:
    """A chain together with its key (PEM, PKCS#8), for a server in this process."""

    issued: Issued
    key: Secret


def create_root(
    trust_domain: TrustDomain, now: datetime, lifetime: timedelta = ROOT_LIFETIME
) -> Authority:
    """A new self-signed P-256 root, under which one level of intermediates may stand."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    name = _authority_name(trust_domain, "root", public)
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    certificate = _sign(
        _Leaf(name, public, now - SKEW, now + lifetime),
        name,
        key,
        [
            _extension(x509.BasicConstraints(ca=True, path_length=1), critical=True),
            _extension(_usage(authority=True), critical=True),
            _extension(identifier),
            _extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)),
        ],
    )
    return Authority(key, (certificate,))


def create_intermediate(
    parent: Authority,
    trust_domain: TrustDomain,
    now: datetime,
    lifetime: timedelta = INTERMEDIATE_LIFETIME,
) -> Authority:
    """A new authority under ``parent``, which may sign leaves only."""
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = _Leaf(
        _authority_name(trust_domain, "intermediate", key.public_key()),
        key.public_key(),
        now - SKEW,
        _expiry(parent, now, lifetime),
    )
    constraints = [
        _extension(x509.BasicConstraints(ca=True, path_length=0), critical=True),
        _extension(_usage(authority=True), critical=True),
    ]
    certificate = _sign(
        leaf,
        parent.certificate.subject,
        parent.key,
        [*constraints, *_key_identifiers(parent, leaf.key)],
    )
    return Authority(key, (certificate, *parent.certificates))


def sign_workload(
    authority: Authority,
    csr: str,
    identity: SpiffeId,
    now: datetime,
    lifetime: timedelta = WORKLOAD_LIFETIME,
    *,
    dns_names: Sequence[str] = (),
    facts: str = "",
) -> Issued:
    """A workload's certificate: the key from ``csr``, the name from what the caller proved.

    ``dns_names`` are further names, for servers of the mesh itself. ``facts`` are what the mesh
    knows of the workload besides, for the metrics of those it calls.
    It does not outlive its issuer. Raises ``RefusedError``: 400 for the request, 503 for an
    authority whose own time is over.
    """
    names = [x509.UniformResourceIdentifier(str(identity)), *map(x509.DNSName, dns_names)]
    if facts:
        names.append(stated_facts(facts))
    return _sign_leaf(
        authority,
        _Leaf(_NOBODY, requested_key(csr), now - SKEW, _expiry(authority, now, lifetime)),
        names,
        _CLIENT_AND_SERVER,
    )


def server_credential(
    authority: Authority,
    names: Sequence[str],
    now: datetime,
    lifetime: timedelta = SERVER_LIFETIME,
) -> Credential:
    """A certificate with a new key for a server, for DNS names and IP addresses."""
    key = ec.generate_private_key(ec.SECP256R1())
    issued = _sign_leaf(
        authority,
        _Leaf(_NOBODY, key.public_key(), now - SKEW, _expiry(authority, now, lifetime)),
        [_general_name(name) for name in names],
        _SERVER,
    )
    return Credential(issued, Secret(private_pem(key)))


def empty_revocations(signer: Authority, now: datetime) -> str:
    """A list (PEM) that revokes nothing, good as long as its signer.

    Beside the lists of another authority it must be there: Envoy wants one for each.
    """
    certificate = signer.certificate
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(certificate.subject)
        .last_update(now - SKEW)
        .next_update(certificate.not_valid_after_utc)
        .add_extension(_issuer_identifier(certificate), critical=False)
        .add_extension(x509.CRLNumber(1), critical=False)
    )
    signed = builder.sign(signer.key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def private_pem(key: SigningKey) -> bytes:
    """A key as PKCS#8 PEM, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


@dataclass(frozen=True, slots=True)
class _Leaf:
    """What a certificate is about; ``not_after`` is its end."""

    subject: x509.Name
    key: PublicKey
    not_before: datetime
    not_after: datetime


def _sign_leaf(
    authority: Authority,
    leaf: _Leaf,
    names: Sequence[x509.GeneralName],
    purpose: x509.ExtendedKeyUsage,
) -> Issued:
    certificate = _sign(
        leaf,
        authority.certificate.subject,
        authority.key,
        [
            _extension(_NO_AUTHORITY, critical=True),
            _extension(_usage(authority=False), critical=True),
            _extension(purpose),
            # Critical, because the subject is empty: RFC 5280, 4.2.1.6.
            _extension(x509.SubjectAlternativeName(names), critical=True),
            *_key_identifiers(authority, leaf.key),
        ],
    )
    return Issued(
        (pem(certificate), *map(pem, authority.certificates)),
        certificate.serial_number,
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
    )


def _sign(
    leaf: _Leaf,
    issuer: x509.Name,
    key: SigningKey,
    extensions: list[x509.Extension[x509.ExtensionType]],
) -> x509.Certificate:
    builder = x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=leaf.subject,
        public_key=leaf.key,
        serial_number=x509.random_serial_number(),
        not_valid_before=leaf.not_before,
        not_valid_after=leaf.not_after,
        extensions=extensions,  # all at once: .add_extension() copies the builder each time
    )
    return builder.sign(key, hashes.SHA256())


def _expiry(authority: Authority, now: datetime, lifetime: timedelta) -> datetime:
    end = min(certificate.not_valid_after_utc for certificate in authority.certificates)
    if end <= now:
        raise RefusedError(
            503, f"the mesh's certificate authority expired on {end:%Y-%m-%d}: renew it"
        )
    return min(end, now + lifetime)


def _authority_name(trust_domain: TrustDomain, role: str, key: PublicKey) -> x509.Name:
    """With a part of the key's identifier, so that two roots of one mesh can be told apart."""
    identifier = x509.SubjectKeyIdentifier.from_public_key(key).digest.hex()[:8]
    return x509.Name(
        [
            # An organization holds 64 characters at most: RFC 5280, appendix A.
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, trust_domain[:64]),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, f"Argosy {role} {identifier}"),
        ]
    )


def _key_identifiers(
    authority: Authority, key: PublicKey
) -> list[x509.Extension[x509.ExtensionType]]:
    return [
        _extension(x509.SubjectKeyIdentifier.from_public_key(key)),
        _extension(_issuer_identifier(authority.certificate)),
    ]


def _issuer_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        found = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        key = issuer.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey), "checked when loaded"
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found)


def _extension(
    value: x509.ExtensionType, *, critical: bool = False
) -> x509.Extension[x509.ExtensionType]:
    return x509.Extension(value.oid, critical, value)


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=not authority,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def stated_facts(facts: str) -> x509.OtherName:
    """The facts of a workload as a name in its certificate."""
    return x509.OtherName(WORKLOAD_FACTS, _utf8_string(facts))


def _utf8_string(text: str) -> bytes:
    """In DER: X.690, 8.1.3 and 8.23."""
    content = text.encode()
    size = len(content)
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return (
        b"\x0c" + (bytes((size,)) if size < 128 else bytes((128 + len(length),)) + length) + content
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
