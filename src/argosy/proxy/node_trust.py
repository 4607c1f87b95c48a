"""Whom the mesh trusts, as this node knows it: fetched from the control plane, told to the pods' keepers.

A control plane that is away changes nothing here: what was fetched last goes on to hold.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from argosy.base.names import TrustDomain
from argosy.citadel.identity import SpiffeId
from argosy.citadel.trust import EXTERNAL, TrustDocument
from argosy.proxy.certificates import Standing
from argosy.proxy.node_api import ApiClient, ApiError
from argosy.proxy.secret_files import Roots

_WAIT_SECONDS = 20
_RETRY_SECONDS = 1.0
log = structlog.get_logger()


class NodeTrust:
    """``document`` is None until it has been fetched for the first time."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._known = asyncio.Event()
        self._subscribers: set[Callable[[], None]] = set()
        self.document: TrustDocument | None = None

    async def run(self) -> None:
        """Follow it until cancelled."""
        while True:
            version = self.document.version if self.document is not None else ""
            try:
                found = await self._api.trust(version, _WAIT_SECONDS)
            except ApiError as error:
                log.warning("trust.not_fetched", error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if found.version != version:
                self.document = found
                self._known.set()
                log.info("trust.changed", bundle=found.bundle, issuer=found.issuer[:16])
                for changed in tuple(self._subscribers):
                    changed()

    async def known(self) -> TrustDocument:
        """As soon as there is one."""
        await self._known.wait()
        return self.require()

    def require(self) -> TrustDocument:
        assert self.document is not None, "asked for before it was known"
        return self.document

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call ``changed`` after each change, until what is returned is called."""
        self._subscribers.add(changed)
        return lambda: self._subscribers.discard(changed)


@dataclass(frozen=True, slots=True)
class WatchedAccount:
    """``certificates.Watched`` for the pods of one service account.

    ``signer`` is the name that the proxy's configuration has now; empty: whoever signs for all.
    """

    trust: NodeTrust
    namespace: str
    account: str
    signer: Callable[[], str] = lambda: ""

    async def first(self) -> Standing:
        await self.trust.known()
        return self.now()

    def now(self) -> Standing:
        document = self.trust.require()
        domain = TrustDomain(document.trust_domain)
        identity = SpiffeId.of(domain, self.namespace, self.account)
        signer = self.signer() or (EXTERNAL if document.external else "")
        issuer = "" if signer else document.issuer
        return Standing(str(identity), roots_of(document, signer), issuer, signer)

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        return self.trust.subscribe(changed)


def roots_of(document: TrustDocument, signer: str = "") -> Roots:
    """Of a workload whose certificate is of ``signer``; one that is not known has those of all."""
    chosen = document.get_signer(signer)
    domains = document.domains if chosen is None else chosen.domains
    return Roots(
        document.bundle,
        document.roots,
        document.crl,
        tuple((domain.name, domain.roots) for domain in domains),
        document.trust_domain,
    )
