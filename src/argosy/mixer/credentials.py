"""Mixer's certificate, and whom it trusts: fetched, followed and renewed.

The key is made here and never leaves the process. A control plane that is away changes nothing:
what was fetched last goes on to hold, and a certificate is renewed in its half life already.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from argosy import xds
from argosy.base.clock import Clock
from argosy.base.log import Secret
from argosy.base.names import TrustDomain
from argosy.citadel.identity import TrustDomains, identity_of
from argosy.citadel.issuer import fingerprint
from argosy.citadel.signer import private_pem
from argosy.citadel.trust import TrustDocument
from argosy.mixer.caller import Rules
from argosy.mixer.control_plane import ControlPlane, ControlPlaneError

_WAIT_SECONDS = 20.0
"""How long the control plane may think about news; so often, at least, renewal is looked at."""

_RETRY_SECONDS = 0.2
_MAX_RETRY_SECONDS = 5.0
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Certificate:
    """A key with its chain, leaf first and without the root, and what renewal depends on."""

    key: Secret
    chain: bytes
    issuer: str
    trust_domain: str
    not_before: datetime
    not_after: datetime

    def is_due(self, document: TrustDocument, now: datetime) -> bool:
        """In its half life, or when another authority signs or the mesh has another name."""
        if (self.issuer, self.trust_domain) != (document.issuer, document.trust_domain):
            return True
        return now >= self.not_before + (self.not_after - self.not_before) / 2


class MixerCredentials:
    """``current`` and ``rules`` may be asked once ``ready()`` has returned; on any thread."""

    def __init__(self, control_plane: ControlPlane, clock: Clock) -> None:
        self._control_plane = control_plane
        self._clock = clock
        self._current: xds.Credentials | None = None
        self._rules: Rules | None = None
        self._certificate: Certificate | None = None
        self._ready = asyncio.Event()

    def current(self) -> xds.Credentials:
        """For ``xds.server_credentials``."""
        assert self._current is not None, "asked for before there was one"
        return self._current

    def rules(self) -> Rules:
        assert self._rules is not None, "asked for before there were any"
        return self._rules

    @property
    def is_ready(self) -> bool:
        return self._ready.is_set()

    async def ready(self) -> None:
        await self._ready.wait()

    async def run(self) -> None:
        """Keep them until cancelled."""
        version, pause = "", _RETRY_SECONDS
        while True:
            try:
                document = await self._control_plane.trust(version, _WAIT_SECONDS)
                await self._follow(document)
                version, pause = document.version, _RETRY_SECONDS
            except ControlPlaneError as error:
                log.warning("credentials.not_fetched", error=str(error))
                await asyncio.sleep(pause)
                pause = min(2 * pause, _MAX_RETRY_SECONDS)

    async def _follow(self, document: TrustDocument) -> None:
        domains = TrustDomains(
            TrustDomain(document.trust_domain), frozenset(map(TrustDomain, document.aliases))
        )
        rules = Rules(domains, document.crl)
        held = self._certificate
        if held is None or held.is_due(document, self._clock.now()):
            held = self._certificate = await self._issued()
            log.info("credentials.issued", expires=held.not_after.isoformat())
        if self._rules != rules:
            self._rules = rules
        clients = document.client_roots or document.roots
        self._current = xds.Credentials(held.key, held.chain, clients.encode())
        self._ready.set()

    async def _issued(self) -> Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        request = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, hashes.SHA256())
        csr = request.public_bytes(serialization.Encoding.PEM).decode()
        chain = await self._control_plane.certificate(csr)
        return certificate(Secret(private_pem(key)), chain)


def certificate(key: Secret, chain: Sequence[str]) -> Certificate:
    """``chain`` is PEM, leaf first and root last."""
    leaf, issuer = (x509.load_pem_x509_certificate(text.encode()) for text in chain[:2])
    return Certificate(
        key,
        "".join(chain[:-1]).encode(),
        fingerprint(issuer),
        identity_of(leaf).trust_domain,
        leaf.not_valid_before_utc,
        leaf.not_valid_after_utc,
    )
