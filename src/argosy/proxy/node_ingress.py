"""From the machine's published ports to the pods behind services."""

import asyncio
import itertools
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from argosy.api.core import Service
from argosy.platforms.local import relay
from argosy.platforms.local.state import Published
from argosy.platforms.local.supervisor import PUBLISHED_ENVIRONMENT, PublishedSocket
from argosy.proxy.node_cluster import Cluster, target_port

_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Ingress:
    """``wait_change`` returns when the cluster has changed, or soon."""

    cluster: Cluster
    wait_change: Callable[[], Awaitable[None]]

    async def serve(self, published: PublishedSocket) -> None:
        """Relay one published port until cancelled."""
        turn = itertools.count()

        async def dial(_: socket.socket) -> socket.socket | None:
            address = await self._find(published.published, next(turn))
            if address is None:
                return None
            return await relay.connect(socket.socket(), address)

        with socket.socket(fileno=published.fd) as listener:
            await relay.serve(listener, dial)

    async def _find(self, wanted: Published, turn: int) -> tuple[str, int] | None:
        """A ready pod's address, in turn; waits a while for the first one."""
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while not (found := self._targets(wanted)):
                    await self.wait_change()
        except TimeoutError:
            return None
        return found[turn % len(found)]

    def _targets(self, wanted: Published) -> list[tuple[str, int]]:
        service = self.cluster.get(Service, wanted.namespace, wanted.service)
        port = (
            next((p for p in service.spec.ports if p.port == wanted.port), None)
            if service
            else None
        )
        if service is None or port is None:
            return []
        found = []
        for pod in self.cluster.pods_of(service):
            number = target_port(port, pod)
            if number is not None and pod.status is not None:
                found.append((pod.status.pod_ip, number))
        return found


def published_sockets() -> tuple[PublishedSocket, ...]:
    """What the supervisor passed to this process."""
    text = os.environ.get(PUBLISHED_ENVIRONMENT, "[]")
    return msgspec.json.decode(text, type=tuple[PublishedSocket, ...])
