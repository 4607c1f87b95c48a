"""What stands beside the containers of a proxyless gRPC pod: files, and no process.

The certificate files, the bootstrap by which a gRPC library finds the control plane, names, and
service addresses for whatever the application calls without xDS.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from argosy.api.core_pod import Pod
from argosy.model.proxy import ProxyType
from argosy.platforms.local import state
from argosy.proxy import capture
from argosy.proxy.bootstrap import ProxyFacts
from argosy.proxy.grpc_bootstrap import grpc_bootstrap
from argosy.proxy.node_credentials import CERTIFICATES
from argosy.proxy.node_injection import proxy_labels, workload_name
from argosy.proxy.node_sidecar import MeshFacts, PlainSidecar, for_ever

BOOTSTRAP_FILE = "grpc-bootstrap.json"


class GrpcAgent:
    """Ready when the files are there."""

    def __init__(
        self,
        pod: Pod,
        facts: MeshFacts,
        directory: Path,
        targets: Callable[[], tuple[capture.ServiceTarget, ...]],
        changed: Callable[[], None],
    ) -> None:
        self._pod = pod
        self._facts = facts
        self._directory = directory
        self._changed = changed
        self._plain = PlainSidecar(pod, facts, targets, changed)
        self._ready = asyncio.Event()

    @property
    def ready(self) -> bool:
        return self._ready.is_set()

    @property
    def message(self) -> str:
        return "the pod waits for its certificate" if self._plain.ready else self._plain.message

    @property
    def environment(self) -> Mapping[str, str]:
        """What Istio's template sets too."""
        return {
            "GRPC_XDS_BOOTSTRAP": str(self._directory / BOOTSTRAP_FILE),
            "GRPC_XDS_EXPERIMENTAL_SECURITY_SUPPORT": "true",
            "GRPC_XDS_EXPERIMENTAL_RBAC": "true",
        }

    def refresh(self) -> None:
        """The services or endpoints may have changed."""
        self._plain.refresh()

    async def wait_ready(self) -> None:
        await self._ready.wait()

    async def drain(self) -> None:
        return

    async def report(self) -> None:
        """Nothing is counted."""

    async def run(self, pod_netns: int, address: str) -> None:
        credentials = self._facts.credentials(self._pod, self._directory)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._plain.run(pod_netns, address))
            tasks.create_task(for_ever("credentials", credentials.run))
            self._write_bootstrap(address)
            await self._plain.wait_ready()
            await credentials.ready()
            self._ready.set()
            self._changed()

    def _write_bootstrap(self, address: str) -> None:
        pod = self._pod
        facts = ProxyFacts(
            type=ProxyType.GRPC,
            name=pod.metadata.name,
            namespace=pod.metadata.namespace,
            address=address,
            service_account=pod.spec.account,
            labels=proxy_labels(pod),
            workload=workload_name(pod),
            mesh=self._facts.mesh,
            ads=self._facts.ads,
            annotations=tuple(sorted(pod.metadata.annotations.items())),
        )
        content = grpc_bootstrap(facts, self._directory / CERTIFICATES)
        text = json.dumps(content, indent=1, sort_keys=True).encode()
        state.write_private(self._directory / BOOTSTRAP_FILE, text)
