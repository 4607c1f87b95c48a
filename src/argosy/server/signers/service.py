"""``citadel.service.OtherSigners``: which signer a workload has, and the way to each."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import cache

from argosy import derive
from argosy.api.core_pod import Pod
from argosy.api.proxy_config import ANNOTATION
from argosy.base.names import ObjectKey
from argosy.citadel.identity import SpiffeId
from argosy.citadel.refusal import RefusedError
from argosy.citadel.trust import Trust
from argosy.pilot.graph.request_authn import key_servers
from argosy.pilot.graph.trust import signer_of
from argosy.server.jwks.addresses import get_address
from argosy.server.jwks.reach import Reach
from argosy.server.signers import remote
from argosy.server.signers.requests import SigningRequests
from argosy.store.store import Store

AT_ONCE = 64
"""Requests that are with signers; more are refused, and come again."""


def dialing(engine: derive.Engine, reach: Callable[[], Reach]) -> remote.Dial:
    """To pods behind a Service of the mesh, or out of its network."""
    known = cache(reach)

    async def dial(host: str, port: int) -> socket.socket:
        found = engine.value(key_servers, host, port)
        if not found or isinstance(found, derive.Failed):
            addresses = await known().resolve(host) if get_address(host) is None else (host,)
            found = tuple((address, port) for address in addresses)
        address, at = found[0]
        return await known().dial(address, at)

    return dial


class Signers:
    def __init__(
        self,
        *,
        store: Store,
        engine: derive.Engine,
        trust: Callable[[], Trust],
        requests: SigningRequests,
        dial: remote.Dial,
    ) -> None:
        self._store = store
        self._engine = engine
        self._trust = trust
        self._requests = requests
        self._dial = dial
        self._under_way = 0

    def choices(self, identity: SpiffeId, pod: str) -> frozenset[str] | None:
        """By what the mesh's configuration says of its pods now."""
        found = [one for one in self._pods(identity, pod) if isinstance(one, Pod)]
        return frozenset(map(self._signer, found)) if found else None

    async def sign(self, signer: str, csr: str, lifetime: timedelta) -> Sequence[str]:
        if self._under_way >= AT_ONCE:
            raise RefusedError(429, f"{AT_ONCE} requests are with signers already: try again")
        self._under_way += 1
        try:
            if signer:
                return (await self._requests.sign(signer, csr, lifetime),)
            external = self._trust().external
            if external is None or not external.host:
                raise RefusedError(502, "MeshConfig's ca has mistakes: see argosy analyze")
            async with asyncio.timeout(external.timeout.total_seconds() + 1):
                return await remote.ask(external, csr, lifetime, self._dial)
        except TimeoutError:
            raise RefusedError(504, "the certificate authority did not answer in time") from None
        finally:
            self._under_way -= 1

    def _pods(self, identity: SpiffeId, pod: str) -> Sequence[object]:
        if pod:
            return (self._store.get(ObjectKey("Pod", identity.namespace, pod)),)
        return [
            one
            for one in self._store.list("Pod", identity.namespace)
            if isinstance(one, Pod) and one.spec.account == identity.service_account
        ]

    def _signer(self, pod: Pod) -> str:
        labels = tuple(sorted(pod.metadata.labels.items()))
        annotation = pod.metadata.annotations.get(ANNOTATION, "")
        found = self._engine.value(signer_of, pod.key.namespace, labels, annotation)
        if isinstance(found, derive.Failed):
            raise RefusedError(502, f"who signs for {pod.key} is not known: {found}")
        return found
