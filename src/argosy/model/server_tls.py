"""A server's end of TLS that a user configures: whose certificates are shown and which accepted."""

from dataclasses import dataclass
from enum import Enum

from argosy.model.secret import (
    AuthoritiesReference,
    FileAuthoritiesReference,
    FilePairReference,
    PairReference,
    SecretReference,
)


class TlsVersion(Enum):
    """In order: a later one is higher."""

    TLS1_0 = "TLSV1_0"
    TLS1_1 = "TLSV1_1"
    TLS1_2 = "TLSV1_2"
    TLS1_3 = "TLSV1_3"


class ClientCertificates(Enum):
    """What is asked of clients: nothing, a certificate if they have one, or always one."""

    IGNORED = "ignored"
    ACCEPTED = "accepted"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class MeshCertificates:
    """The workload's own certificate; clients must show one of the mesh."""


Certificates = MeshCertificates | tuple[PairReference | FilePairReference, ...]
"""What the server shows: never empty. Of several pairs the client's abilities decide."""


@dataclass(frozen=True, slots=True)
class ClientChecks:
    """What a client's certificate must carry besides a good signature; empty: nothing.

    ``names`` are DNS names or URIs of which it must have one; ``spki`` are base64, ``hashes`` hex.
    ``crl`` is a path. ``skip``: any certificate at all is accepted.
    """

    names: tuple[str, ...] = ()
    spki: tuple[str, ...] = ()
    hashes: tuple[str, ...] = ()
    crl: str = ""
    skip: bool = False


@dataclass(frozen=True, slots=True)
class TerminatedTls:
    """The proxy ends TLS. ``lowest`` None: TLS 1.2; ``highest`` None: TLS 1.3.

    ``authorities`` None: the certificates of clients are not verified. ``ciphers`` empty: Envoy's.
    """

    certificates: Certificates
    clients: ClientCertificates = ClientCertificates.IGNORED
    authorities: AuthoritiesReference | FileAuthoritiesReference | None = None
    checks: ClientChecks = ClientChecks()
    lowest: TlsVersion | None = None
    highest: TlsVersion | None = None
    ciphers: tuple[str, ...] = ()

    @property
    def references(self) -> tuple[SecretReference, ...]:
        """All that it needs from outside of the listener."""
        own = self.certificates if isinstance(self.certificates, tuple) else ()
        return own if self.authorities is None else (*own, self.authorities)


@dataclass(frozen=True, slots=True)
class PassthroughTls:
    """The proxy reads the server name and hands the bytes on."""


@dataclass(frozen=True, slots=True)
class AutoPassthroughTls:
    """The server name is that of mesh TLS, which names the cluster: no rules are asked."""


ServerTls = TerminatedTls | PassthroughTls | AutoPassthroughTls
