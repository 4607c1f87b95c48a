"""The keeper against a real store and directory, with agents that report as they are told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from argosy import derive, xds
from argosy.api.core import ConfigMap, Namespace, Secret
from argosy.api.core_pod import Pod
from argosy.api.meta import Metadata
from argosy.api.registry import KINDS
from argosy.base.clock import SystemClock
from argosy.base.names import ObjectKey, TrustDomain
from argosy.citadel.authority import AuthorityDirectory
from argosy.citadel.issuer import CA_KEY, Issuer, files_of, self_made, without_list
from argosy.citadel.reports import CertificateReport
from argosy.citadel.rotation import Step
from argosy.citadel.signer import (
    Authority,
    create_intermediate,
    create_root,
    empty_revocations,
    pem,
    private_pem,
)
from argosy.server.trust import RotationRefusedError, TrustKeeper
from argosy.store.admission import KubernetesAdmission
from argosy.store.cells import CellFeed
from argosy.store.store import Store
from argosy.store.transaction import Delete, Put

DOMAIN = TrustDomain("cluster.local")
CLOCK = SystemClock()


class LaterClock(SystemClock):
    """So many days ahead."""

    def __init__(self, days: float = 0) -> None:
        self._ahead = timedelta(days=days)

    def now(self) -> datetime:
        return super().now() + self._ahead


class Mesh:
    """A keeper and what it stands on. ``follow``: agents use whatever they are told."""

    def __init__(self, directory: Path, plugged: Path | None = None, days: float = 0) -> None:
        self.directory = AuthorityDirectory(directory)
        self.store = Store(
            clock=CLOCK,
            uids=lambda: "uid",
            admission=KubernetesAdmission({entry.kind: entry.namespaced for entry in KINDS}),
        )
        engine, feed = derive.Engine(), CellFeed(derive.ABSENT)
        self.store.subscribe(lambda events, _: engine.set(feed.cells(events)) and None)
        self.store.apply([Put(Namespace(kind="Namespace", metadata=Metadata(name="default")))])
        self.store.apply([Put(Namespace(kind="Namespace", metadata=Metadata(name="istio-system")))])
        self.domains: list[str] = []
        self.clients: tuple[xds.ClientStatus, ...] = ()
        self.keeper = TrustKeeper(
            directory=self.directory,
            kept=self.directory.load_or_create(DOMAIN, CLOCK.now()),
            trust_domain=DOMAIN,
            remember_domain=self.domains.append,
            store=self.store,
            engine=engine,
            clients=lambda: self.clients,
            clock=LaterClock(days),
            plugged=plugged,
        )

    def pod(self, name: str) -> None:
        metadata = Metadata(name=name, namespace="default")
        self.store.apply([Put(Pod(kind="Pod", metadata=metadata))])

    def report(self, name: str, bundle: str = "", issuer: str = "") -> None:
        """What a running proxy uses; by default what the document says now."""
        document = self.keeper.trust.document
        self.keeper.take(
            [
                CertificateReport(
                    "default",
                    name,
                    running=True,
                    bundle=bundle or document.bundle,
                    issuer=issuer or document.issuer,
                    agent_bundle=document.bundle,
                    agent_issuer=document.issuer,
                )
            ]
        )

    def plug(self, issuer: Issuer, **changed: bytes) -> None:
        data = {**files_of(issuer), CA_KEY: private_pem(issuer.authority.key)}
        data.update({name.replace("_", "-") + ".pem": text for name, text in changed.items()})
        metadata = Metadata(name="cacerts", namespace="istio-system")
        self.store.apply([Put(Secret(kind="Secret", metadata=metadata, data=data))])


@asynccontextmanager
async def running(keeper: TrustKeeper) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(keeper.run())
        try:
            yield
        finally:
            task.cancel()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  what it looks at sends no event
            await asyncio.sleep(0.01)


def elsewhere() -> Issuer:
    return self_made(create_intermediate(create_root(DOMAIN, CLOCK.now()), DOMAIN, CLOCK.now()))


async def test_each_step_waits_for_the_proxy_and_is_on_the_disk_first(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path / "ca")
    mesh.pod("web")
    old = mesh.keeper.trust
    async with running(mesh.keeper):
        mesh.keeper.begin(dry_run=False)
        for step in Step:
            await until(lambda step=step: mesh.keeper.trust.step is step)  # type: ignore[misc]
            assert mesh.directory.load(CLOCK.now()).step is step
            await asyncio.sleep(0.05)
            assert mesh.keeper.trust.step is step, "nobody has proven it"
            mesh.report("web", bundle="another", issuer="another")
            await asyncio.sleep(0.05)
            assert mesh.keeper.trust.step is step, "what it uses is another"
            mesh.report("web")
        await until(lambda: mesh.keeper.trust.step is None)
    assert mesh.keeper.trust.roots != old.roots
    assert set(mesh.keeper.log.done) == set(Step)
    kept = mesh.directory.load(CLOCK.now())
    assert (kept.step, kept.current.fingerprint) == (None, mesh.keeper.trust.issuer.fingerprint)


async def test_a_pod_that_goes_is_waited_for_no_more(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path / "ca")
    mesh.pod("web")
    async with running(mesh.keeper):
        mesh.keeper.begin(dry_run=False)
        await until(lambda: mesh.keeper.trust.step is Step.TRUST)
        mesh.store.apply([Delete(ObjectKey("Pod", mesh.store.list("Pod")[0].key.namespace, "web"))])
        mesh.keeper.take([])
        await until(lambda: mesh.keeper.trust.step is None)


async def test_a_secret_with_an_authority_is_taken(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path / "ca")
    plugged = elsewhere()
    async with running(mesh.keeper):
        mesh.plug(plugged)
        await until(lambda: mesh.keeper.trust.current.fingerprint == plugged.fingerprint)
        with pytest.raises(RotationRefusedError, match="put the new authority there"):
            mesh.keeper.begin(dry_run=True)
    assert not (tmp_path / "ca" / "current" / "root-key.pem").exists(), "the old key is gone"


async def test_a_secret_that_is_wrong_changes_nothing_and_is_told(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path / "ca")
    before = mesh.keeper.trust.document
    key = ObjectKey("Secret", mesh.keeper._secret_key().namespace, "cacerts")
    async with running(mesh.keeper):
        mesh.plug(elsewhere(), ca_key=private_pem(elsewhere().authority.key))
        await until(lambda: mesh.keeper.problems(key) != ())
        (problem,) = mesh.keeper.problems(key)
        assert "Secret cacerts: ca-key.pem is not the key of ca-cert.pem" in problem.message
        assert mesh.keeper.trust.document == before
        mesh.plug(good := elsewhere())
        await until(lambda: mesh.keeper.trust.current.fingerprint == good.fingerprint)
        assert mesh.keeper.problems(key) == ()


async def test_another_root_file_of_the_same_authority_holds_at_once(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path / "ca")
    plugged, more = elsewhere(), elsewhere()
    async with running(mesh.keeper):
        mesh.plug(plugged)
        await until(lambda: mesh.keeper.trust.current.fingerprint == plugged.fingerprint)
        both = (pem(plugged.authority.root) + pem(more.authority.root)).encode()
        mesh.plug(plugged, root_cert=both)
        await until(lambda: len(mesh.keeper.trust.roots) == 2)


def settings(text: str) -> Put:
    metadata = Metadata(name="istio", namespace="istio-system")
    return Put(ConfigMap(kind="ConfigMap", metadata=metadata, data={"mesh": text}))


async def test_a_new_trust_domain_waits_for_every_proxy(tmp_path: Path) -> None:
    """A proxy that runs and has not all of its configuration would refuse the new name."""
    mesh = Mesh(tmp_path / "ca")
    mesh.pod("web")
    mesh.report("web")
    async with running(mesh.keeper):
        mesh.store.apply([settings("trustDomain: new-td\n")])
        mesh.keeper.take([])
        await until(lambda: mesh.keeper.trust.accepted_domains == {"cluster.local", "new-td"})
        await asyncio.sleep(0.1)
        assert mesh.keeper.trust.trust_domain == "cluster.local"
        mesh.clients = ()
        mesh.store.apply([Delete(ObjectKey("Pod", mesh.store.list("Pod")[0].key.namespace, "web"))])
        mesh.keeper.take([])
        await until(lambda: mesh.keeper.trust.trust_domain == "new-td")
    assert mesh.domains == ["new-td"]


async def test_an_intermediate_is_renewed_at_half_of_its_life(tmp_path: Path) -> None:
    """Under the same root: nobody must trust anything new, and each proxy shows a new certificate."""
    mesh = Mesh(tmp_path / "ca", days=400)
    mesh.pod("web")
    mesh.report("web")
    before = mesh.keeper.trust
    async with running(mesh.keeper):
        await until(lambda: mesh.keeper.trust.step is Step.SWITCH)
        assert mesh.keeper.trust.roots == before.roots
        assert mesh.keeper.trust.document.bundle == before.document.bundle
        mesh.report("web")
        await until(lambda: mesh.keeper.trust.step is None)
    assert mesh.keeper.trust.issuer.fingerprint != before.issuer.fingerprint
    assert (tmp_path / "ca" / "current" / "root-key.pem").exists()


async def test_a_young_intermediate_stays(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path / "ca", days=300)
    before = mesh.keeper.trust.document
    async with running(mesh.keeper):
        await asyncio.sleep(0.2)
        assert mesh.keeper.trust.document == before


def listed(issuer: Issuer, root: Authority) -> Issuer:
    now = CLOCK.now()
    crl = empty_revocations(root, now) + empty_revocations(issuer.authority, now)
    return replace(issuer, crl=crl)


async def test_in_every_step_each_authority_has_a_list_or_none_has(tmp_path: Path) -> None:
    """From our own to a plugged-in one with lists, and back to a new one of our own."""
    mesh = Mesh(tmp_path / "ca")
    root = create_root(DOMAIN, CLOCK.now())
    plugged = listed(self_made(create_intermediate(root, DOMAIN, CLOCK.now())), root)
    seen: list[tuple[str, ...]] = []
    reach = mesh.keeper._reach

    async def watched(step: Step, coming: Issuer) -> None:
        await reach(step, coming)
        seen.append(without_list(mesh.keeper.trust.trusted))
        assert mesh.keeper.trust.crl

    mesh.keeper._reach = watched  # type: ignore[method-assign]
    async with running(mesh.keeper):
        mesh.plug(plugged)
        await until(lambda: mesh.keeper.trust.current.fingerprint == plugged.fingerprint)
        mesh.store.apply(
            [Delete(ObjectKey("Secret", mesh.keeper._secret_key().namespace, "cacerts"))]
        )
        await until(lambda: not mesh.keeper.is_plugged)
        mesh.keeper.begin(dry_run=False)
        await until(lambda: mesh.keeper.trust.current.fingerprint != plugged.fingerprint)
    assert seen == [()] * 6


async def test_an_authority_without_lists_is_refused_beside_one_with_them(tmp_path: Path) -> None:
    """Proxies would refuse all that it signs."""
    mesh = Mesh(tmp_path / "ca")
    root = create_root(DOMAIN, CLOCK.now())
    plugged = listed(self_made(create_intermediate(root, DOMAIN, CLOCK.now())), root)
    async with running(mesh.keeper):
        mesh.plug(plugged)
        await until(lambda: mesh.keeper.trust.current.fingerprint == plugged.fingerprint)
        mesh.plug(self_made(create_intermediate(root, DOMAIN, CLOCK.now())))
        await until(lambda: "must cover both or none" in mesh.keeper.mistake)
        assert mesh.keeper.trust.current.fingerprint == plugged.fingerprint
        assert mesh.keeper.trust.step is None
