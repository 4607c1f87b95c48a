"""Whom the mesh trusts and who signs for it at this moment: what agents are told, as one document.

``Trust`` is a value that is replaced as a rotation goes on; ``document`` is a pure function of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import msgspec
from cryptography import x509

from argosy.base.names import TrustDomain
from argosy.citadel.identity import TrustDomains
from argosy.citadel.issuer import Issuer
from argosy.citadel.rotation import Step
from argosy.citadel.signer import Authority, pem
from argosy.model.secret import TrustAnchor


class DomainRoots(msgspec.Struct, frozen=True):
    """One trust domain and the roots (PEM) that may speak for it."""

    name: str
    roots: str


class TrustDocument(msgspec.Struct, frozen=True, rename="camel"):
    """What an agent needs to know. All texts are PEM.

    ``version`` changes with anything, ``bundle`` with whom to trust. ``issuer`` is the fingerprint
    of the certificate that signs now: a certificate of another is to be renewed. ``roots`` are the
    mesh's own, by which the control plane is known. ``domains`` is empty in a mesh that
    knows no other: then ``roots`` are trusted for whatever they signed. ``aliases`` are other
    trust domains whose certificates, signed by our own roots, are this mesh's.
    """

    version: str
    bundle: str
    issuer: str
    trust_domain: str
    roots: str
    crl: str = ""
    domains: tuple[DomainRoots, ...] = ()
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trust:
    """``current`` is the authority in force; ``coming`` and ``step`` are those of a rotation.

    ``aliases`` are further names of this mesh's trust domain, in certificates of the mesh itself.
    ``anchors`` are the roots of MeshConfig's ``caCertificates``.
    """

    current: Issuer
    trust_domain: TrustDomain
    coming: Issuer | None = None
    step: Step | None = None
    aliases: tuple[str, ...] = ()
    anchors: tuple[TrustAnchor, ...] = ()

    @property
    def issuer(self) -> Issuer:
        """Who signs."""
        signs = self.step in (Step.SWITCH, Step.WITHDRAW)
        return self.coming if signs and self.coming is not None else self.current

    @property
    def authority(self) -> Authority:
        return self.issuer.authority

    @cached_property
    def trusted(self) -> tuple[Issuer, ...]:
        if self.coming is None:
            return (self.current,)
        if self.step is Step.WITHDRAW:
            return (self.coming,)
        return (self.current, self.coming)

    @cached_property
    def roots(self) -> tuple[x509.Certificate, ...]:
        """The mesh's own, without repetition."""
        return tuple(dict.fromkeys(root for issuer in self.trusted for root in issuer.roots))

    @cached_property
    def roots_pem(self) -> str:
        return "".join(map(pem, self.roots))

    @cached_property
    def crl(self) -> str:
        return "".join(dict.fromkeys(issuer.crl for issuer in self.trusted))

    @property
    def domains(self) -> TrustDomains:
        """Names under which certificates of our own authority count as this mesh's."""
        return TrustDomains(self.trust_domain, frozenset(map(TrustDomain, self.aliases)))

    @property
    def accepted_domains(self) -> frozenset[str]:
        """The same as texts."""
        return frozenset((self.trust_domain, *self.aliases))

    @cached_property
    def document(self) -> TrustDocument:
        domains = self._domains()
        bundle = _digest((self.roots_pem, self.crl, *(f"{d.name} {d.roots}" for d in domains)))
        issuer = self.issuer.fingerprint
        return TrustDocument(
            version=_digest((bundle, issuer, self.trust_domain, *self.aliases)),
            bundle=bundle,
            issuer=issuer,
            trust_domain=self.trust_domain,
            roots=self.roots_pem,
            crl=self.crl,
            domains=domains,
            aliases=self.aliases,
        )

    @property
    def uses_anchors(self) -> bool:
        """Envoy's SPIFFE validator knows no revocation lists: with them, only our own are trusted."""
        return bool(self.anchors) and not self.crl

    def _domains(self) -> tuple[DomainRoots, ...]:
        """Anchors without domains are for this mesh's own; an alias that an anchor names is theirs."""
        if not self.uses_anchors:
            return ()
        theirs = {name for anchor in self.anchors for name in anchor.domains} - {self.trust_domain}
        found: dict[str, list[str]] = {
            name: [self.roots_pem] for name in sorted(self.accepted_domains - theirs)
        }
        for anchor in self.anchors:
            for name in anchor.domains or sorted(self.accepted_domains - theirs):
                found.setdefault(name, []).append(anchor.roots)
        return tuple(
            DomainRoots(name, "".join(dict.fromkeys(roots))) for name, roots in found.items()
        )


def _digest(parts: Iterable[str]) -> str:
    return blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()
