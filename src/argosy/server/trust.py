"""The keeper of the mesh's authority: who signs and who is trusted, now and while that changes.

One task changes it, step by step; each step is on the disk before it is told to anybody, so a
control plane that is started again goes on where it was. ``citadel.rotation`` decides, this file acts.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import structlog

from argosy import derive, xds
from argosy.api import meshconfig
from argosy.api.core import Secret
from argosy.api.core_pod import Pod
from argosy.base.clock import Clock
from argosy.base.names import CLUSTER_SCOPED, Namespace, ObjectKey, TrustDomain
from argosy.base.problems import Problem
from argosy.citadel import authority as files
from argosy.citadel.authority import ROOT_KEY, AuthorityDirectory, Kept
from argosy.citadel.issuer import AuthorityError, Issuer, issuer_from, without_list
from argosy.citadel.reports import CertificateReport, Reports
from argosy.citadel.rotation import Evidence, Progress, Step, Wanted, progress
from argosy.citadel.trust import Trust
from argosy.pilot.compile.injection import Injection, injection_of
from argosy.pilot.graph.trust import anchors as known_anchors
from argosy.pilot.graph.world import mesh_settings
from argosy.store.store import Store

SECRET = "cacerts"
"""Istio's name of the Secret with an authority, in the root namespace."""

DOMAIN_SETTLES_SECONDS = 2.0
"""Between the last acknowledgement of a new trust domain and the first certificate under it: what
an Envoy has acknowledged may still be warming up."""

_LOOK_SECONDS = 1.0
_MESH_CONFIG = ObjectKey(
    "ConfigMap", Namespace(meshconfig.CONFIG_MAP_NAMESPACE), meshconfig.CONFIG_MAP_NAME
)
_FINISHED = ("Succeeded", "Failed")
_log = structlog.get_logger()


class RotationRefusedError(Exception):
    """A rotation that cannot begin; the message says why and what to do."""


@dataclass(slots=True)
class _Source:
    """An authority that was made elsewhere. ``seen`` is what was judged last, ``why`` the verdict."""

    seen: object = None
    issuer: Issuer | None = None
    why: str = ""


@dataclass(slots=True)
class RotationLog:
    """The steps of the present or last rotation that are done, and how it ended."""

    done: dict[Step, Progress] = field(default_factory=dict)
    began: datetime | None = None
    ended: datetime | None = None


class TrustKeeper:
    """``trust`` is what holds now; a new value each time it changes. Belongs to the event loop."""

    def __init__(
        self,
        *,
        directory: AuthorityDirectory,
        kept: Kept,
        trust_domain: TrustDomain,
        remember_domain: Callable[[TrustDomain], None],
        store: Store,
        engine: derive.Engine,
        clients: Callable[[], tuple[xds.ClientStatus, ...]],
        clock: Clock,
        plugged: Path | None = None,
    ) -> None:
        self.trust = Trust(kept.current, trust_domain, kept.coming, kept.step)
        self.log = RotationLog()
        self.reports = Reports()
        self._directory = directory
        self._remember_domain = remember_domain
        self._store = store
        self._engine = engine
        self._clients = clients
        self._clock = clock
        self._plugged = plugged
        self._source = _Source()
        self._requested = False
        self._settled_since: float | None = None
        self._told = ""
        self._woken = asyncio.Event()
        self._changed = asyncio.Condition()

    async def run(self) -> None:
        """Keep it until cancelled."""
        while True:
            self._woken.clear()
            self._read_mesh()
            self._read_domain()
            try:
                await self._read_source()
                while await self._rotate():
                    await self._tell()
            except (AuthorityError, OSError) as error:
                self._say("authority.failed", reason=str(error))
            await self._tell()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._woken.wait()

    # What others ask.

    async def changed(self, version: str, seconds: float) -> None:
        """Wait until the document is another than ``version``, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: self.trust.document.version != version)

    def take(self, reports: list[CertificateReport]) -> None:
        self.reports.take(reports)
        self._woken.set()

    def begin(self, *, dry_run: bool) -> None:
        """Begin to rotate a root that was made here. Raises ``RotationRefusedError``."""
        if self.trust.step is not None:
            return  # the caller follows the one that is going on
        if self._source.issuer is not None:
            where = str(self._plugged) if self._plugged else f"the Secret {SECRET}"
            raise RotationRefusedError(
                f"the root is not made here but comes from {where}: put the new authority there, "
                "and the rotation to it begins by itself"
            )
        if not dry_run:
            self._requested = True
            self.log = RotationLog(began=self._clock.now())
            self._woken.set()

    @property
    def is_requested(self) -> bool:
        return self._requested

    def progress(self) -> Progress | None:
        """Of the step that is going on."""
        step, document = self.trust.step, self.trust.document
        if step is None:
            return None
        return progress(step, Wanted(document.bundle, document.issuer), self.proxies())

    def proxies(self) -> Mapping[str, Evidence | None]:
        """Every proxy that there is or is about to be, and what is known of it."""
        found: dict[str, Evidence | None] = {}
        for pod in self._store.list("Pod"):
            if isinstance(pod, Pod) and self._has_certificate(pod):
                found[f"{pod.metadata.name}.{pod.metadata.namespace}"] = None
        for client in self._clients():
            found.setdefault(client.client_id, None)
        for name in found:
            report = self.reports.of(name)
            found[name] = report.evidence if report is not None else None
        return found

    def problems(self, key: ObjectKey) -> tuple[Problem, ...]:
        """What is wrong with the Secret that holds an authority, and with MeshConfig's roots."""
        if key == _MESH_CONFIG and self.trust.anchors and not self.trust.uses_anchors:
            return (
                Problem(
                    key,
                    "data.mesh.caCertificates",
                    "NotWithRevocations",
                    "proxies cannot check revocation lists and trust domains together: "
                    "certificates of other meshes and of signers are refused",
                    "take ca-crl.pem out of the authority, or caCertificates out of MeshConfig",
                ),
            )
        why = self._secret_mistake() if key == self._secret_key() else ""
        if not why:
            return ()
        hint = "the authority that was in force goes on"
        return (Problem(key, "data", "InvalidAuthority", why, hint),)

    @property
    def mistake(self) -> str:
        """Why the authority that is plugged in is not the one in force, or nothing."""
        return self._source.why

    @property
    def is_plugged(self) -> bool:
        return self._source.issuer is not None

    # What the one task does.

    def _read_mesh(self) -> None:
        """The names and the anchors of MeshConfig hold at once: they only say whom to believe."""
        settings = self._engine.value(mesh_settings)
        if isinstance(settings, derive.Failed):
            return
        wanted = settings.traffic.trust_domain
        names = (*settings.traffic.trust_domain_aliases, wanted)
        aliases = tuple(sorted({*names} - {self.trust.trust_domain}))
        anchors = self._engine.value(known_anchors)
        if isinstance(anchors, derive.Failed):
            anchors = self.trust.anchors
        wanted_trust = replace(
            self.trust, aliases=aliases, anchors=anchors, external=settings.authority
        )
        if wanted_trust != self.trust:
            self.trust = wanted_trust

    def _read_domain(self) -> None:
        """Certificates are under a new name only when every proxy accepts it."""
        settings = self._engine.value(mesh_settings)
        if isinstance(settings, derive.Failed):
            return
        wanted, held = settings.traffic.trust_domain, self.trust.trust_domain
        if wanted == held:
            self._settled_since = None
            return
        late = self._unsynced()
        if late:
            self._settled_since = None
            self._say("trust-domain.waits", wanted=wanted, proxies=late[:5])
            return
        now = self._clock.monotonic()
        if self._settled_since is None:
            self._settled_since = now
        if now - self._settled_since < DOMAIN_SETTLES_SECONDS and self.proxies():
            return
        self._remember_domain(TrustDomain(wanted))
        aliases = tuple(sorted(({*self.trust.aliases} | {held}) - {wanted}))
        self.trust = replace(self.trust, trust_domain=TrustDomain(wanted), aliases=aliases)
        _log.info("trust-domain.changed", before=held, now=wanted)

    def _unsynced(self) -> list[str]:
        """Proxies that do not have all that there is for them."""
        clients = {client.client_id: client for client in self._clients()}
        late = [
            name
            for name, said in self.proxies().items()
            if said is not None and said.running and name not in clients
        ]
        for name, client in clients.items():
            if any(kind.state is not xds.SyncState.SYNCED for kind in client.types):
                late.append(name)
        return sorted(late)

    async def _read_source(self) -> None:
        if self.trust.step is not None:
            return
        now = self._clock.now()
        if self._plugged is not None:
            seen: object = await asyncio.to_thread(_signature, self._plugged)
        else:
            secret = self._store.get(self._secret_key())
            seen = None if secret is None else secret.metadata.resource_version
        if seen == self._source.seen:
            return
        self._source.seen = seen
        try:
            if self._plugged is not None:
                found: Issuer | None = await asyncio.to_thread(files.load, self._plugged, now)
            else:
                secret = self._store.get(self._secret_key())
                found = (
                    issuer_from(secret.values, f"Secret {SECRET}", now)
                    if isinstance(secret, Secret)
                    else None
                )
            if found is not None:
                await self._adopt(found, now)
            elif self._source.issuer is not None:
                _log.warning("authority.unplugged", hint="the last one goes on to sign")
            self._source.issuer, self._source.why = found, ""
        except AuthorityError as error:
            self._source.why = str(error)
            _log.error("authority.refused", reason=str(error))

    async def _adopt(self, found: Issuer, now: datetime) -> None:
        """What is plugged in shall be in force. Raises ``AuthorityError``."""
        current = self.trust.current
        if found.fingerprint == current.fingerprint:
            if (found.roots, found.crl) == (current.roots, current.crl):
                return
            await asyncio.to_thread(self._directory.prepare_plugged, found, now)
            await asyncio.to_thread(self._directory.finish)
            self.trust = replace(self.trust, current=found)
            _log.info("authority.changed", roots=len(found.roots), revocations=bool(found.crl))
            return
        if found.crl and not current.crl:
            listed = await asyncio.to_thread(self._directory.prepare_revocations, now)
            if listed is not None:
                await asyncio.to_thread(self._directory.finish)
                current = listed
                self.trust = replace(self.trust, current=listed)
        lacking = without_list((current, found))
        if lacking:
            raise AuthorityError(
                "while the authority changes, proxies trust both, and revocation lists must cover "
                f"both or none: {', '.join(lacking)} has none; add it to ca-crl.pem first"
            )
        coming = await asyncio.to_thread(self._directory.prepare_plugged, found, now)
        self.log = RotationLog(began=now)
        await self._reach(Step.TRUST, coming)

    async def _rotate(self) -> bool:
        """One move; whether there was one."""
        if self.trust.step is None:
            return await self._start()
        reached = self.progress()
        assert reached is not None
        if not reached.done:
            missing = [proof.proxy for proof in reached.proofs if proof.missing]
            self._say("rotation.waits", step=reached.step.value, proxies=missing[:5])
            return False
        self.log.done[reached.step] = reached
        _log.info("rotation.proven", step=reached.step.value, proxies=len(reached.proofs))
        following, coming = reached.following, self.trust.coming
        assert coming is not None
        if following is not None:
            await self._reach(following, coming)
            return True
        await asyncio.to_thread(self._directory.finish)
        self.trust = replace(self.trust, current=coming, coming=None, step=None)
        self.log.ended = self._clock.now()
        _log.info("rotation.done", root=coming.authority.root.subject.rfc4514_string())
        return True

    async def _start(self) -> bool:
        now, domain = self._clock.now(), self.trust.trust_domain
        if self._requested:
            coming = await asyncio.to_thread(
                self._directory.prepare, domain, now, listed=bool(self.trust.current.crl)
            )
            self._requested = False
            await self._reach(Step.TRUST, coming)
            return True
        certificate = self.trust.current.authority.certificate
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if now < begins + (ends - begins) / 2 or self.is_plugged:
            return False
        renewed = await asyncio.to_thread(self._directory.prepare_intermediate, domain, now)
        if renewed is None or renewed.authority.certificate.not_valid_after_utc <= ends:
            return False  # the root itself ends: only a rotation helps, and a warning says so
        self.log = RotationLog(began=now)
        await self._reach(Step.TRUST, renewed)
        return True

    async def _reach(self, step: Step, coming: Issuer) -> None:
        await asyncio.to_thread(self._directory.reach, step)
        self.trust = replace(self.trust, coming=coming, step=step)
        _log.info("rotation.step", step=step.value, title=step.title)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _has_certificate(self, pod: Pod) -> bool:
        if pod.status is not None and pod.status.phase in _FINISHED:
            return False
        namespace = self._store.get(ObjectKey("Namespace", CLUSTER_SCOPED, pod.metadata.namespace))
        labels = namespace.metadata.labels if namespace is not None else {}
        return injection_of(pod.metadata, labels) is not Injection.NONE

    def _secret_mistake(self) -> str:
        """Of the Secret as it is now, whether or not the task has looked at it."""
        secret = self._store.get(self._secret_key())
        if self._plugged is not None or not isinstance(secret, Secret):
            return ""
        if secret.metadata.resource_version == self._source.seen:
            return self._source.why
        try:
            issuer_from(secret.values, f"Secret {SECRET}", self._clock.now())
        except AuthorityError as error:
            return str(error)
        return ""

    def _secret_key(self) -> ObjectKey:
        settings = self._engine.value(mesh_settings)
        root = (
            Namespace("istio-system")
            if isinstance(settings, derive.Failed)
            else settings.traffic.root_namespace
        )
        return ObjectKey("Secret", root, SECRET)

    def _say(self, event: str, **facts: object) -> None:
        """Once, until it is something else."""
        text = f"{event} {facts}"
        if text != self._told:
            self._told = text
            _log.warning(event, **facts)


def _signature(directory: Path) -> object:
    """Changes with the directory's files."""
    return tuple(
        (path.name, path.stat().st_mtime_ns, path.stat().st_size, path.stat().st_ino)
        for path in sorted(directory.glob("*.pem"))
        if path.name != ROOT_KEY
    )
