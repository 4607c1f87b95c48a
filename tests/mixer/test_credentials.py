"""Mixer's certificate, from a control plane that the test plays with real signatures."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import cast

from cryptography import x509

from argosy.base.names import TrustDomain
from argosy.citadel.identity import SpiffeId
from argosy.citadel.issuer import fingerprint, self_made
from argosy.citadel.signer import create_intermediate, create_root, sign_workload
from argosy.citadel.trust import Trust, TrustDocument
from argosy.mixer.control_plane import ControlPlane, ControlPlaneError
from argosy.mixer.credentials import MixerCredentials

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DOMAIN = TrustDomain("cluster.local")
NAME = "mixer.istio-system.svc"


class Clock:
    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return 0.0


class Signer:
    """Answers a long poll as soon as it is told to."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.away = False
        self.aliases: tuple[str, ...] = ()
        self._told = asyncio.Event()
        self.renew_authority()

    def renew_authority(self) -> None:
        root = create_root(DOMAIN, self._clock.now())
        self.authority = create_intermediate(root, DOMAIN, self._clock.now())

    def tell(self) -> None:
        self._told.set()

    async def trust(self, version: str, seconds: float) -> TrustDocument:
        if version:
            await self._told.wait()
            self._told.clear()
        if self.away:
            raise ControlPlaneError(0, "away")
        return Trust(self_made(self.authority), DOMAIN, aliases=self.aliases).document

    async def certificate(self, csr: str) -> tuple[str, ...]:
        identity = SpiffeId.of(DOMAIN, "istio-system", "mixer")
        now = self._clock.now()
        return sign_workload(self.authority, csr, identity, now, dns_names=(NAME,)).chain


@asynccontextmanager
async def keeping() -> AsyncIterator[tuple[Clock, Signer, MixerCredentials]]:
    clock = Clock()
    signer = Signer(clock)
    kept = MixerCredentials(cast(ControlPlane, signer), clock)
    async with asyncio.TaskGroup() as tasks, asyncio.timeout(10):
        running = tasks.create_task(kept.run())
        await kept.ready()
        yield clock, signer, kept
        running.cancel()


async def until_another(kept: MixerCredentials, chain: bytes) -> list[x509.Certificate]:
    while kept.current().chain == chain:  # noqa: ASYNC110  # there is no event for it
        await asyncio.sleep(0.005)
    return x509.load_pem_x509_certificates(kept.current().chain)


async def test_the_certificate_names_mixer_and_the_chain_lacks_the_root() -> None:
    async with keeping() as (_, signer, kept):
        leaf, issuer = x509.load_pem_x509_certificates(kept.current().chain)
        assert fingerprint(issuer) == fingerprint(signer.authority.certificate)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == [NAME]
        assert names.get_values_for_type(x509.UniformResourceIdentifier) == [
            "spiffe://cluster.local/ns/istio-system/sa/mixer"
        ]
        assert x509.load_pem_x509_certificates(kept.current().roots) == [signer.authority.root]


async def test_it_is_renewed_in_its_half_life_and_not_before() -> None:
    async with keeping() as (clock, signer, kept):
        first = kept.current().chain
        clock.time += timedelta(hours=11)
        signer.aliases = ("old.local",)
        signer.tell()
        while not kept.rules().domains.others:  # noqa: ASYNC110  # the document has been read
            await asyncio.sleep(0.005)
        assert kept.current().chain == first
        clock.time += timedelta(hours=2)
        signer.tell()
        leaf, _ = await until_another(kept, first)
        assert leaf.not_valid_after_utc > NOW + timedelta(hours=36)


async def test_another_authority_signs_at_once_and_one_that_is_away_changes_nothing() -> None:
    async with keeping() as (_, signer, kept):
        first = kept.current().chain
        signer.away = True
        signer.tell()
        await asyncio.sleep(0.05)
        assert kept.current().chain == first
        signer.away = False
        signer.renew_authority()
        signer.tell()
        _, issuer = await until_another(kept, first)
        assert fingerprint(issuer) == fingerprint(signer.authority.certificate)
