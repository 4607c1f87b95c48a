"""SPIFFE identities, and who is calling.

https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md
https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md
"""

import re
from dataclasses import dataclass
from enum import Enum

from cryptography import x509

from argosy.base.names import Namespace, TrustDomain
from argosy.citadel.refusal import RefusedError

MAXIMUM_LENGTH = 2048
"""Bytes of a SPIFFE id."""

_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]+")


def require_trust_domain(text: str) -> TrustDomain:
    """Raises ``ValueError`` unless SPIFFE allows it: lower-case letters, digits, ``.-_``."""
    if not _TRUST_DOMAIN.fullmatch(text):
        raise ValueError(
            f"not a trust domain: {text[:300]!r} (1 to 255 of a-z, 0-9, '.', '-' and '_')"
        )
    return TrustDomain(text)


@dataclass(frozen=True, slots=True)
class TrustDomains:
    """``own`` is what new certificates name; those of the ``others`` are of this mesh too."""

    own: TrustDomain
    others: frozenset[TrustDomain] = frozenset()

    def __contains__(self, domain: TrustDomain) -> bool:
        return domain == self.own or domain in self.others


@dataclass(frozen=True, slots=True, order=True)
class SpiffeId:
    """A workload identity as Istio writes it: ``spiffe://<trust domain>/ns/<ns>/sa/<sa>``.

    Making one checks each part; ``ValueError`` says which is wrong.
    """

    trust_domain: TrustDomain
    namespace: Namespace
    service_account: str

    def __post_init__(self) -> None:
        require_trust_domain(self.trust_domain)
        for what, text in (
            ("namespace", self.namespace),
            ("service account", self.service_account),
        ):
            if not _SEGMENT.fullmatch(text) or text in (".", ".."):
                raise ValueError(f"a SPIFFE id cannot hold this {what}: {text[:300]!r}")
        if len(str(self)) > MAXIMUM_LENGTH:
            raise ValueError(f"a SPIFFE id is at most {MAXIMUM_LENGTH} bytes long")

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"

    @staticmethod
    def of(trust_domain: TrustDomain, namespace: str, service_account: str) -> "SpiffeId":
        """The identity of a service account by its plain names."""
        return SpiffeId(trust_domain, Namespace(namespace), service_account)

    @staticmethod
    def parse(text: str) -> "SpiffeId":
        """The strict inverse of ``str``: no other spelling of an identity is taken."""
        if len(text) > MAXIMUM_LENGTH:
            raise ValueError(f"a SPIFFE id is at most {MAXIMUM_LENGTH} bytes long")
        match text.split("/"):
            case ["spiffe:", "", trust_domain, "ns", namespace, "sa", service_account]:
                return SpiffeId.of(TrustDomain(trust_domain), namespace, service_account)
        raise ValueError(
            f"not a workload's SPIFFE id: {text[:300]!r} "
            "(spiffe://<trust domain>/ns/<namespace>/sa/<service account>)"
        )


class Proof(Enum):
    """How a caller proved who it is."""

    TOKEN = "token"
    CERTIFICATE = "certificate"


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who proved an identity. ``pod`` is known from a token that names one."""

    identity: SpiffeId
    proof: Proof
    pod: str = ""

    def require(self, identity: SpiffeId) -> None:
        """A caller gets only what belongs to its own identity: 403 for any other."""
        if identity != self.identity:
            raise RefusedError(403, f"{self.identity} may not have what belongs to {identity}")


def identity_of(certificate: x509.Certificate) -> SpiffeId:
    """The identity in a leaf certificate. Raises ``ValueError`` unless it has exactly one URI."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise ValueError("the certificate has no subject alternative name") from None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise ValueError(f"a workload's certificate has one URI, this one has {len(uris)}")
    return SpiffeId.parse(uris[0])


def caller_by_certificate(certificate: x509.Certificate, trusted: TrustDomains) -> Caller:
    """The caller at the other end of a TLS connection, which has verified ``certificate``.

    Raises ``RefusedError`` (401) for a certificate that names nobody of the mesh.
    """
    try:
        identity = identity_of(certificate)
    except ValueError as error:
        raise RefusedError(401, f"the client's certificate proves nothing: {error}") from error
    if identity.trust_domain not in trusted:
        raise RefusedError(
            401, f"{identity} is of another trust domain; this mesh is {trusted.own}"
        )
    return Caller(identity, Proof.CERTIFICATE)
