"""Credentials: keys and certificates that proxies get from the control plane, PEM.

A key is in a type that never prints.
"""

from dataclasses import dataclass
from datetime import datetime

from argosy.base.log import Secret
from argosy.model.request_authn import KeySource


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate chain, the leaf first, and the leaf's key."""

    chain: bytes
    key: Secret
    algorithm: str
    """RSA or ECDSA."""
    expires: datetime


@dataclass(frozen=True, slots=True)
class AuthorityBundle:
    """Whose signatures are accepted; ``crl`` empty: none is revoked."""

    roots: bytes
    crl: bytes = b""


@dataclass(frozen=True, slots=True)
class TrustAnchor:
    """Roots (PEM) of others, and the trust domains that they speak for; none: our own.

    ``signers``: they are trusted by workloads of these signers only; none: by all.
    """

    roots: str
    domains: tuple[str, ...]
    signers: tuple[str, ...] = ()
    bundle: KeySource | None = None
    """Where the roots are fetched; they are empty as long as they were not."""
    place: str = ""
    """Where in MeshConfig it stands."""


# What a proxy's configuration asks for.


@dataclass(frozen=True, slots=True, order=True)
class PairReference:
    """The key and certificate in the credential ``name``, as written."""

    name: str


@dataclass(frozen=True, slots=True, order=True)
class AuthoritiesReference:
    """The authorities in the credential ``<name>-cacert``, or else in ``name`` itself."""

    name: str


@dataclass(frozen=True, slots=True)
class FilePairReference:
    """A certificate and its key that lie on the proxy's machine."""

    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class FileAuthoritiesReference:
    """Authorities that lie on the proxy's machine."""

    ca: str


CredentialReference = PairReference | AuthoritiesReference
SecretReference = CredentialReference | FilePairReference | FileAuthoritiesReference


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why a credential cannot be used. ``key`` is the entry of the Secret that is wrong, if one is."""

    code: str
    message: str
    hint: str
    key: str = ""
