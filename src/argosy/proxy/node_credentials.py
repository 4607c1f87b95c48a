"""The certificates of this node's workloads: each kept by its own runner, all reported together.

A certificate is asked for with a token that only this pod's agent gets. What is reported is what the
workload's own Envoy says that it uses, not what was written for it: that is the proof on which a
rotation of the root goes on.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from argosy.api.core_pod import Pod
from argosy.api.meta import Metadata
from argosy.api.proxy_config import ANNOTATION, ProxyConfig
from argosy.base.clock import SystemClock
from argosy.citadel.reports import CertificateReport
from argosy.citadel.trust import EXTERNAL
from argosy.model.proxy import ProxyType
from argosy.pilot.compile import proxy_configs
from argosy.pilot.compile.roles import proxy_type
from argosy.platforms.local.environment import ConfigError
from argosy.proxy.certificates import CertificateRunner, CertificateState, IssueError
from argosy.proxy.envoy import AdminError, EnvoyAdmin
from argosy.proxy.grpc_bootstrap import REFRESH_SECONDS
from argosy.proxy.node_api import ApiClient, ApiError
from argosy.proxy.node_trust import NodeTrust, WatchedAccount
from argosy.proxy.secret_files import CERTIFICATE_SECRET, CONTROL_PLANE_SECRET
from argosy.proxy.user_volumes import OUTPUT_CERTS, output_directory

AUDIENCE = "istio-ca"
CERTIFICATES = "certs"
_TOKEN_SECONDS = 600
_LOOK_SECONDS = 0.25
_HEARTBEAT_SECONDS = 15.0
_ADMIN_SECONDS = 2.0
_SECRETS = "/config_dump?resource=dynamic_active_secrets&mask=name,version_info"
Key = tuple[str, str]
log = structlog.get_logger()


class ProxyView(Protocol):
    """The Envoy of a pod. ``pid`` is None while it does not run."""

    @property
    def pid(self) -> int | None: ...

    @property
    def admin(self) -> EnvoyAdmin: ...


@dataclass(slots=True)
class _Kept:
    runner: CertificateRunner
    by_file: bool
    asked: tuple[int, str, str] | None = None
    """Process, roots and serial that Envoy has confirmed."""


class NodeCertificates:
    """``proxy`` finds the Envoy of a pod, None for one that has none.

    ``proxy_config`` is what holds for a pod's proxy where its annotations say nothing.
    """

    def __init__(
        self,
        api: ApiClient,
        proxy: Callable[[Key], ProxyView | None],
        proxy_config: Callable[[Metadata], ProxyConfig],
    ) -> None:
        self._api = api
        self._proxy = proxy
        self._proxy_config = proxy_config
        self._kept: dict[Key, _Kept] = {}
        self._told: list[CertificateReport] = []
        self._told_at = 0.0
        self.trust = NodeTrust(api)

    def keeper(self, pod: Pod, directory: Path) -> CertificateRunner:
        """The keeper of a pod's certificate; its files go below the pod's directory."""
        namespace, name = pod.metadata.namespace, pod.metadata.name
        account = pod.spec.account

        async def issue(csr: str, signer: str) -> Sequence[str]:
            try:
                token = await self._api.workload_token(
                    namespace, account, name, AUDIENCE, _TOKEN_SECONDS
                )
                return await self._api.sign(csr, token, "" if signer == EXTERNAL else signer)
            except ApiError as error:
                raise IssueError(str(error)) from error

        annotation = pod.metadata.annotations.get(ANNOTATION, "")

        def config() -> ProxyConfig:
            below = self._proxy_config(pod.metadata)
            return proxy_configs.with_annotation(below, annotation)

        watched = WatchedAccount(
            self.trust, namespace, account, lambda: proxy_configs.signer(config())
        )
        place = directory / CERTIFICATES
        proxyless = proxy_type(pod) is ProxyType.GRPC
        pem = (*((place,) if proxyless else ()), *_output(pod, config(), directory))
        runner = CertificateRunner(watched, place, issue, SystemClock(), pem=pem)
        self._kept[namespace, name] = _Kept(runner, by_file=proxyless)
        return runner

    def forget(self, key: Key) -> None:
        """The pod is gone."""
        self._kept.pop(key, None)

    async def report(self) -> None:
        """Tell the control plane what changes, until cancelled; and all of it from time to time."""
        while True:
            found = [await self._report(key, kept) for key, kept in tuple(self._kept.items())]
            now = time.monotonic()
            if found != self._told or now - self._told_at > _HEARTBEAT_SECONDS:
                try:
                    await self._api.report_certificates(found)
                    self._told, self._told_at = found, now
                except ApiError as error:
                    log.warning("certificates.not_reported", error=str(error))
            await asyncio.sleep(_LOOK_SECONDS)

    async def _report(self, key: Key, kept: _Kept) -> CertificateReport:
        state, document = kept.runner.state, self.trust.document
        proven, running = await self._proven(key, kept, state)
        held = state.certificate
        return CertificateReport(
            namespace=key[0],
            pod=key[1],
            running=running,
            identity=state.identity,
            bundle=state.roots if proven else "",
            serial=held.serial if held is not None else "",
            issuer=state.issuer if proven else "",
            agent_bundle=document.bundle if document is not None else "",
            agent_issuer=state.issuer,
            not_before=held.not_before.isoformat() if held is not None else "",
            not_after=held.not_after.isoformat() if held is not None else "",
            renew_at=state.renew_at.isoformat() if state.renew_at is not None else "",
            failures=state.failures,
            last_failure=state.last_failure,
            signer=state.signer,
        )

    async def _proven(self, key: Key, kept: _Kept, state: CertificateState) -> tuple[bool, bool]:
        """Whether the workload uses the files as they are, and whether it runs at all."""
        if state.certificate is None:
            return False, False
        if kept.by_file:  # a gRPC library looks at its files itself, and says nothing of it
            return time.monotonic() - state.written > REFRESH_SECONDS * 1.5, True
        proxy = self._proxy(key)
        pid = proxy.pid if proxy is not None else None
        if proxy is None or pid is None:
            return False, False
        wanted = (pid, state.roots, state.certificate.serial)
        versions = {**state.secrets, CERTIFICATE_SECRET: state.certificate.serial}
        if kept.asked != wanted and await _uses(proxy.admin, versions):
            kept.asked = wanted
        return kept.asked == wanted, True


def _output(pod: Pod, config: ProxyConfig, directory: Path) -> tuple[Path, ...]:
    """Where the pod's containers want the certificate for themselves; a mistake in it is said."""
    path = config.proxy_metadata.get(OUTPUT_CERTS, "")
    if not path:
        return ()
    try:
        return (output_directory(pod, path, directory),)
    except ConfigError as error:
        log.warning("annotation.ignored", pod=pod.metadata.name, mistake=str(error))
        return ()


async def _uses(admin: EnvoyAdmin, wanted: Mapping[str, str]) -> bool:
    """Whether Envoy's active secrets are of these versions."""
    try:
        answer = await admin.request(_SECRETS, seconds=_ADMIN_SECONDS)
        configs = json.loads(answer.body).get("configs", [])
    except (AdminError, ValueError):
        return False
    found = [(one.get("name"), one.get("version_info")) for one in configs]
    names = {name for name, _ in found}
    return {CONTROL_PLANE_SECRET, CERTIFICATE_SECRET} <= names and all(
        version == wanted[name] for name, version in found if name in wanted
    )
