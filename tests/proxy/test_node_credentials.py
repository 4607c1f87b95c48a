"""What the node reports of its workloads: only what their proxies say themselves is proof."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import msgspec

from argosy.api.core_pod import Pod
from argosy.api.meta import Metadata
from argosy.api.proxy_config import NO_PROXY_CONFIG
from argosy.base.names import TrustDomain
from argosy.citadel.identity import SpiffeId
from argosy.citadel.issuer import Issuer, self_made
from argosy.citadel.reports import CertificateReport
from argosy.citadel.signer import create_intermediate, create_root, sign_workload
from argosy.citadel.trust import Trust, TrustDocument
from argosy.proxy.envoy import AdminError, AdminResponse, EnvoyAdmin
from argosy.proxy.node_api import ApiClient
from argosy.proxy.node_credentials import NodeCertificates

DOMAIN = TrustDomain("cluster.local")


def issuer() -> Issuer:
    now = datetime.now(UTC)
    return self_made(create_intermediate(create_root(DOMAIN, now), DOMAIN, now))


@dataclass
class ControlPlane:
    """As the node reaches it. ``told`` is the last report of each pod."""

    trust_now: Trust = field(default_factory=lambda: Trust(issuer(), DOMAIN))
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    told: dict[str, CertificateReport] = field(default_factory=dict)

    async def trust(self, version: str, seconds: int) -> TrustDocument:
        while self.trust_now.document.version == version:
            await self.changed.wait()
            self.changed.clear()
        return self.trust_now.document

    def now(self, trust: Trust) -> None:
        self.trust_now = trust
        self.changed.set()

    async def report_certificates(self, reports: Sequence[CertificateReport]) -> None:
        self.told = {report.pod: report for report in reports}

    async def workload_token(
        self, namespace: str, service_account: str, pod: str, audience: str, seconds: int
    ) -> str:
        return "token"

    async def sign(self, csr: str, token: str, signer: str = "") -> tuple[str, ...]:
        identity = SpiffeId.of(self.trust_now.trust_domain, "default", "default")
        now = datetime.now(UTC)
        return sign_workload(self.trust_now.authority, csr, identity, now).chain


@dataclass
class Proxy:
    """An Envoy that takes its files when it is told to; ``stuck`` it says nothing."""

    directory: Path
    pid: int | None = 7
    stuck: bool = False
    active: list[dict[str, str]] = field(default_factory=list)

    @property
    def admin(self) -> EnvoyAdmin:
        return cast("EnvoyAdmin", self)

    def reload(self) -> None:
        self.active = []
        for file in sorted(self.directory.glob("certs/*.json")):
            content = json.loads(file.read_text())
            name = content["resources"][0]["name"]
            self.active.append({"name": name, "version_info": content["version_info"]})

    async def request(self, path: str, **_: Any) -> AdminResponse:
        assert path.startswith("/config_dump")
        if self.stuck:
            raise AdminError("no answer")
        return AdminResponse(200, "application/json", msgspec.json.encode({"configs": self.active}))


@asynccontextmanager
async def node(plane: ControlPlane, proxy: Proxy) -> AsyncIterator[None]:
    certificates = NodeCertificates(
        cast("ApiClient", plane), lambda _: proxy, lambda _: NO_PROXY_CONFIG
    )
    pod = Pod(kind="Pod", metadata=Metadata(name="web", namespace="default"))
    keeper = certificates.keeper(pod, proxy.directory)
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(do())
            for do in (certificates.trust.run, certificates.report, keeper.run)
        ]
        try:
            yield
        finally:
            for task in running:
                task.cancel()


async def report(plane: ControlPlane, **wanted: Any) -> CertificateReport:
    """As soon as the report of the pod says that."""
    async with asyncio.timeout(20):
        while True:
            found = plane.told.get("web")
            if found is not None and all(
                getattr(found, name) == value for name, value in wanted.items()
            ):
                return found
            await asyncio.sleep(0.02)


async def test_what_is_written_is_no_proof_until_the_proxy_says_so(tmp_path: Path) -> None:
    plane, proxy = ControlPlane(), Proxy(tmp_path)
    async with node(plane, proxy):
        document = plane.trust_now.document
        written = await report(plane, agent_issuer=document.issuer, running=True)
        assert (written.bundle, written.issuer) == ("", "")
        assert written.identity == "spiffe://cluster.local/ns/default/sa/default"
        proxy.reload()
        proven = await report(plane, bundle=document.bundle)
        assert proven.issuer == document.issuer
        old, new = plane.trust_now.current, issuer()
        proxy.stuck = True
        plane.now(Trust(new, DOMAIN))
        after = plane.trust_now.document
        waiting = await report(plane, agent_bundle=after.bundle, agent_issuer=after.issuer)
        assert (waiting.bundle, waiting.issuer) == ("", ""), "an old proof is none for the new"
        assert old is not new
        proxy.reload()
        proxy.stuck = False
        await report(plane, bundle=after.bundle, issuer=after.issuer)
        proxy.pid = 8
        proxy.active = []
        await report(plane, bundle="", issuer="")


async def test_a_proxy_that_does_not_run_is_told_as_such(tmp_path: Path) -> None:
    plane, proxy = ControlPlane(), Proxy(tmp_path, pid=None)
    async with node(plane, proxy):
        found = await report(plane, running=False)
        assert found.bundle == ""
        await report(plane, running=False, agent_bundle=plane.trust_now.document.bundle)


async def test_a_new_trust_domain_is_followed(tmp_path: Path) -> None:
    plane, proxy = ControlPlane(), Proxy(tmp_path)
    async with node(plane, proxy):
        await report(plane, agent_issuer=plane.trust_now.document.issuer)
        plane.now(replace(plane.trust_now, trust_domain=TrustDomain("new-td")))
        await report(plane, identity="spiffe://new-td/ns/default/sa/default")
