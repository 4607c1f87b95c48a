"""Whom the mesh trusts and who signs for it at this moment: what agents are told, as one document.

``Trust`` is a value that is replaced as a rotation goes on; ``document`` is a pure function of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import blake2b

import msgspec
from cryptography import x509

from argosy.base.names import TrustDomain
from argosy.citadel.identity import TrustDomains
from argosy.citadel.issuer import Issuer
from argosy.citadel.rotation import Step
from argosy.citadel.signer import Authority, pem
from argosy.model.secret import TrustAnchor
from argosy.model.signing import ExternalAuthority

EXTERNAL = "ca"
"""The name under which MeshConfig's ``ca`` is shown as a signer."""


class DomainRoots(msgspec.Struct, frozen=True):
    """One trust domain and the roots (PEM) that may speak for it."""

    name: str
    roots: str


class SignerRoots(msgspec.Struct, frozen=True):
    """A signer beside the mesh, and whom the workloads trust whose certificates are of it."""

    name: str
    domains: tuple[DomainRoots, ...]


class TrustDocument(msgspec.Struct, frozen=True, rename="camel"):
    """What an agent needs to know. All texts are PEM.

    ``version`` changes with anything, ``bundle`` with whom to trust. ``issuer`` is the fingerprint
    of the mesh's certificate that signs now: a certificate of another is to be renewed. ``external``:
    an authority elsewhere signs for workloads instead. ``roots`` are the mesh's own, by which the control
    plane is known. ``domains`` is empty in a mesh that knows no other: then ``roots`` are trusted
    for whatever they signed. ``aliases`` are other trust domains whose certificates, signed by our own
    roots, are this mesh's. ``signers`` are those that workloads may choose, and ``client_roots`` those by
    which servers of the mesh itself know all of them; empty: ``roots``.
    """

    version: str
    bundle: str
    issuer: str
    trust_domain: str
    roots: str
    crl: str = ""
    domains: tuple[DomainRoots, ...] = ()
    aliases: tuple[str, ...] = ()
    external: bool = False
    signers: tuple[SignerRoots, ...] = ()
    client_roots: str = ""

    def get_signer(self, name: str) -> SignerRoots | None:
        """The one of that name, with its domain or without; None: none or several."""
        found = [one for one in self.signers if is_named(one.name, name)]
        return found[0] if len(found) == 1 else None


def is_named(signer: str, name: str) -> bool:
    """Whether ``name`` is the signer's, which is ``<domain>/<name>``."""
    return name != "" and (signer == name or signer.partition("/")[2] == name)


@dataclass(frozen=True)
class Trust:
    """``current`` is the authority in force; ``coming`` and ``step`` are those of a rotation.

    ``aliases`` are further names of this mesh's trust domain, in certificates of the mesh itself.
    ``anchors`` are the roots of MeshConfig's ``caCertificates``. ``external`` signs for workloads
    that choose no signer; None: the mesh does.
    """

    current: Issuer
    trust_domain: TrustDomain
    coming: Issuer | None = None
    step: Step | None = None
    aliases: tuple[str, ...] = ()
    anchors: tuple[TrustAnchor, ...] = ()
    external: ExternalAuthority | None = None

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

    def roots_of(self, signer: str) -> tuple[x509.Certificate, ...]:
        """Under which what ``signer`` signs for this mesh must be; empty name: the external one."""
        document = self.document
        chosen = document.get_signer(signer) if signer else None
        if chosen is None and (signer or not document.domains):
            return () if signer else self.roots
        domains = chosen.domains if chosen is not None else document.domains
        texts = (domain.roots for domain in domains if domain.name == self.trust_domain)
        return tuple(root for text in texts for root in _parsed(text))

    @property
    def client_roots_pem(self) -> str:
        """By which servers of the mesh itself know its workloads, whoever signed for them."""
        return self.document.client_roots or self.roots_pem

    @property
    def signs_elsewhere(self) -> bool:
        """Whether certificates of this mesh may be of another authority than its own."""
        return self.external is not None or bool(self.document.signers)

    def _client_roots(
        self, domains: tuple[DomainRoots, ...], signers: tuple[SignerRoots, ...]
    ) -> str:
        """The mesh's own, and of those that sign for it what they have for this trust domain."""
        if self.external is None and not signers:
            return ""
        signing = [domain for signer in signers for domain in signer.domains]
        signing += domains if self.external is not None else ()
        texts = [domain.roots for domain in signing if domain.name == self.trust_domain]
        found = x509.load_pem_x509_certificates("".join((self.roots_pem, *texts)).encode())
        return "".join(dict.fromkeys(map(pem, found)))

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
        domains, signers = self._domains(), self._signers()
        every = (*domains, *(domain for signer in signers for domain in signer.domains))
        names = (signer.name for signer in signers)
        bundle = _digest(
            (self.roots_pem, self.crl, *(f"{d.name} {d.roots}" for d in every), *names)
        )
        issuer, external = self.issuer.fingerprint, self.external is not None
        return TrustDocument(
            version=_digest((bundle, issuer, self.trust_domain, *self.aliases, str(external))),
            bundle=bundle,
            issuer=issuer,
            trust_domain=self.trust_domain,
            roots=self.roots_pem,
            crl=self.crl,
            domains=domains,
            aliases=self.aliases,
            external=external,
            signers=signers,
            client_roots=self._client_roots(domains, signers),
        )

    @property
    def uses_anchors(self) -> bool:
        """Envoy's SPIFFE validator knows no revocation lists: with them, only our own are trusted."""
        return bool(self.anchors) and not self.crl

    def _domains(self) -> tuple[DomainRoots, ...]:
        """Of workloads that choose no signer; nothing where nobody but the mesh is trusted."""
        anchors = tuple(anchor for anchor in self.anchors if not anchor.signers)
        return self._by_domain(anchors, self.roots_pem) if anchors and self.uses_anchors else ()

    def _signers(self) -> tuple[SignerRoots, ...]:
        """Workloads of a signer trust its roots and those of all, not the mesh's own: as in Istio."""
        names = sorted({name for anchor in self.anchors for name in anchor.signers})
        return tuple(
            SignerRoots(
                name,
                self._by_domain(
                    tuple(a for a in self.anchors if not a.signers or name in a.signers), ""
                ),
            )
            for name in (names if self.uses_anchors else ())
        )

    def _by_domain(self, anchors: tuple[TrustAnchor, ...], own: str) -> tuple[DomainRoots, ...]:
        """Anchors without domains are for this mesh's own; an alias that an anchor names is theirs."""
        theirs = {name for anchor in anchors for name in anchor.domains} - {self.trust_domain}
        ours = sorted(self.accepted_domains - theirs)
        found: dict[str, list[str]] = {name: [own] for name in ours}
        for anchor in anchors:
            for name in anchor.domains or ours:
                found.setdefault(name, []).append(anchor.roots)
        joined = ((name, "".join(dict.fromkeys(roots))) for name, roots in found.items())
        return tuple(DomainRoots(name, roots) for name, roots in joined if roots)


@lru_cache(maxsize=64)
def _parsed(roots: str) -> tuple[x509.Certificate, ...]:
    """Asked for at each connection and each signing, of texts that seldom change."""
    return tuple(x509.load_pem_x509_certificates(roots.encode()))


def _digest(parts: Iterable[str]) -> str:
    return blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()
