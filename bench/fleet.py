"""Simulated proxies: delta ADS over real gRPC with mutual TLS, many in one process.

Each is a connection of its own that subscribes as a sidecar does (all clusters, the endpoints
and routes that those and the listeners name), acknowledges what it gets, and keeps nothing but
names. What a resource refers to is worked out once for the whole fleet.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from envoy.service.discovery.v3 import discovery_pb2

from argosy.testing.xds.names import route_names
from argosy.xds.grpc_service import SERVICE
from argosy.xds.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE
from argosy.xds.warming import awaited_endpoints
from bench.simulated_mesh import Proxy

_METHOD = f"/{SERVICE}/DeltaAggregatedResources"
_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))
_CONNECTING_AT_ONCE = 50
_EOF: object = vars(grpc.aio)["EOF"]  # missing in the stubs

_REFERRED: Mapping[str, str] = {CLUSTER: ENDPOINT, LISTENER: ROUTE}
"""The type that the resources of a type name resources of."""


class ReferenceCache:
    """What resources name, by their name and version."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str], tuple[str, ...]] = {}

    def of(self, type_url: str, name: str, version: str, body: bytes) -> tuple[str, ...]:
        key = (type_url, name, version)
        found = self._known.get(key)
        if found is None:
            if type_url == CLUSTER:
                awaited = awaited_endpoints(body)
                found = (awaited,) if awaited else ()
            else:
                found = tuple(route_names(body))
            self._known[key] = found
        return found


@dataclass(slots=True)
class Member:
    """One proxy's side of the protocol. Sans-io."""

    proxy: Proxy
    references: ReferenceCache
    named: dict[str, set[str]] = field(default_factory=lambda: {ENDPOINT: set(), ROUTE: set()})
    received: int = 0
    """Bytes."""
    responses: dict[str, int] = field(default_factory=dict)

    def first(self) -> list[bytes]:
        """The requests that open the stream."""
        clusters = discovery_pb2.DeltaDiscoveryRequest(type_url=CLUSTER)
        clusters.node.id = self.proxy.node_id
        clusters.node.metadata.update(
            {"NAMESPACE": self.proxy.namespace, "SERVICE_ACCOUNT": self.proxy.service_account}
        )
        listeners = discovery_pb2.DeltaDiscoveryRequest(type_url=LISTENER)
        return [bytes(clusters.SerializeToString()), bytes(listeners.SerializeToString())]

    def answer(self, raw: bytes) -> list[bytes]:
        """The acknowledgement of a response, and requests for what it newly names."""
        self.received += len(raw)
        response = discovery_pb2.DeltaDiscoveryResponse.FromString(raw)
        url = response.type_url
        self.responses[url] = self.responses.get(url, 0) + 1
        ack = discovery_pb2.DeltaDiscoveryRequest(type_url=url, response_nonce=response.nonce)
        requests = [bytes(ack.SerializeToString())]
        referred = _REFERRED.get(url)
        if referred is not None:
            names = {
                name
                for one in response.resources
                for name in self.references.of(url, one.name, one.version, one.resource.value)
            }
            new = sorted(names - self.named[referred])
            if new:
                self.named[referred].update(new)
                more = discovery_pb2.DeltaDiscoveryRequest(
                    type_url=referred, resource_names_subscribe=new
                )
                requests.append(bytes(more.SerializeToString()))
        return requests


class Fleet:
    """Members that stay connected while the context lasts."""

    def __init__(
        self,
        address: str,
        proxies: Sequence[Proxy],
        credentials: Callable[[Proxy], grpc.ChannelCredentials],
    ) -> None:
        references = ReferenceCache()
        self.members = [Member(proxy, references) for proxy in proxies]
        self._address = address
        self._credentials = credentials
        self._tasks = asyncio.TaskGroup()

    @property
    def received(self) -> int:
        """Bytes of all responses so far."""
        return sum(member.received for member in self.members)

    async def __aenter__(self) -> "Fleet":
        await self._tasks.__aenter__()
        at_once = asyncio.Semaphore(_CONNECTING_AT_ONCE)
        self._running = [
            self._tasks.create_task(self._live(member, at_once)) for member in self.members
        ]
        return self

    async def __aexit__(self, *_error: object) -> None:
        for task in self._running:
            task.cancel()
        await self._tasks.__aexit__(None, None, None)

    async def _live(self, member: Member, connecting: asyncio.Semaphore) -> None:
        channel = grpc.aio.secure_channel(
            self._address, self._credentials(member.proxy), options=_OPTIONS
        )
        async with channel:
            open_stream: Any = channel.stream_stream(_METHOD, None, None)
            async with connecting:
                call = open_stream()
                for request in member.first():
                    await call.write(request)
                raw = await call.read()
            while raw is not _EOF:
                for request in member.answer(raw):
                    await call.write(request)
                raw = await call.read()
            raise RuntimeError(
                f"the control plane ended the stream of {member.proxy.pod}: "
                f"{await call.code()} {await call.details()}"
            )
