"""xDS for tests: a source in memory, clients of both protocols, and two ways to connect them.

The clients are sans-io and behave as Envoy does where the protocol leaves room: they
subscribe to the endpoints that clusters and the routes that listeners name, they apply the
good clusters and listeners of a response that they refuse but do not record their
versions, and on reconnection they say what they have.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,
)
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2
from envoy.service.discovery.v3 import discovery_pb2

from argosy.xds import Change, Group, Layer, Peer, Resource, Server, StreamRefusedError, resource
from argosy.xds import Protocol as XdsProtocol
from argosy.xds.grpc_service import SERVICE
from argosy.xds.type_urls import CLUSTER, ENDPOINT, FULL_SET, LISTENER, ROUTE
from argosy.xds.warming import awaited_endpoints

Reject = Callable[[str, str, bytes], str | None]
"""Given type URL, name and body: the error to refuse the resource with, or None to take it."""


def accept(_type_url: str, _name: str, _body: bytes) -> None:
    """Refuse nothing."""


class MemorySource:
    """A source that tests write to. ``changes`` gives what was written since it was last called."""

    def __init__(self) -> None:
        self._layers: dict[Group, tuple[Layer, ...]] = {}
        self._content: dict[tuple[Layer, str], dict[str, Resource]] = defaultdict(dict)
        self._on_demand: set[tuple[Layer, str, str]] = set()
        self._touched: dict[tuple[Layer, str], dict[str, bool]] = defaultdict(dict)
        self.forgotten: list[Group] = []

    def scope(self, group: Group, *layers: Layer) -> None:
        """The group's layers from now on; tell the server with ``rescoped``."""
        self._layers[group] = layers

    def put(
        self, layer: Layer, type_url: str, name: str, body: bytes, *, on_demand: bool = False
    ) -> None:
        """Set a resource; ``on_demand`` keeps it out of the wildcard set."""
        self._touch(layer, type_url, name)
        self._content[layer, type_url][name] = resource(name, body)
        if on_demand:
            self._on_demand.add((layer, type_url, name))

    def remove(self, layer: Layer, type_url: str, name: str) -> None:
        """Take a resource away."""
        self._touch(layer, type_url, name)
        del self._content[layer, type_url][name]

    def _touch(self, layer: Layer, type_url: str, name: str) -> None:
        before = name in self._listed(layer, type_url)
        self._touched[layer, type_url].setdefault(name, before)

    def _listed(self, layer: Layer, type_url: str) -> dict[str, Resource]:
        return {
            name: one
            for name, one in self._content[layer, type_url].items()
            if (layer, type_url, name) not in self._on_demand
        }

    def changes(self) -> list[Change]:
        """What to publish: everything written since the last call."""
        changes = []
        for (layer, type_url), names in self._touched.items():
            listed = self._listed(layer, type_url)
            changes.append(
                Change(
                    layer,
                    type_url,
                    changed=frozenset(n for n, was in names.items() if was == (n in listed)),
                    appeared=frozenset(n for n, was in names.items() if n in listed and not was),
                    vanished=frozenset(n for n, was in names.items() if was and n not in listed),
                )
            )
        self._touched.clear()
        return changes

    def layers(self, group: Group, type_url: str) -> tuple[Layer, ...]:
        _ = type_url
        return self._layers[group]

    def names(self, layer: Layer, type_url: str) -> Iterable[str]:
        return tuple(self._listed(layer, type_url))

    def resource(self, group: Group, type_url: str, name: str) -> Resource | None:
        for layer in self._layers[group]:
            one = self._content[layer, type_url].get(name)
            if one is not None:
                return one
        return None

    def forget(self, group: Group) -> None:
        self.forgotten.append(group)

    def everything(self, group: Group, type_url: str) -> dict[str, bytes]:
        """The bodies of the group's wildcard set."""
        return {
            name: one.body
            for layer in reversed(self._layers[group])
            for name, one in self._listed(layer, type_url).items()
        }


class Client(Protocol):
    """What both clients can do. ``have`` maps type URL to the bodies in force by name."""

    protocol: XdsProtocol
    have: dict[str, dict[str, bytes]]

    def connect(self) -> list[bytes]: ...

    def subscribe(self, type_url: str, *names: str) -> list[bytes]: ...

    def unsubscribe(self, type_url: str, *names: str) -> list[bytes]: ...

    def handle(self, raw: bytes) -> list[bytes]: ...


@dataclass
class _Base:
    node: Mapping[str, Any] = field(default_factory=lambda: {"id": "a-client"})
    reject: Reject = accept
    follow: bool = False
    have: dict[str, dict[str, bytes]] = field(default_factory=lambda: defaultdict(dict))
    names: dict[str, set[str]] = field(default_factory=dict)
    received: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = field(default_factory=list)
    """Every response since the connection: type URL, names of resources, names removed."""
    refused: list[tuple[str, str]] = field(default_factory=list)
    """Every NACK: type URL and error."""
    _node_sent: bool = False

    def _errors(self, type_url: str, bodies: Mapping[str, bytes]) -> dict[str, str]:
        return {
            name: error
            for name, body in bodies.items()
            if (error := self.reject(type_url, name, body)) is not None
        }

    def _error(self, type_url: str, errors: Mapping[str, str]) -> str:
        kinds = {
            CLUSTER: "Error adding/updating cluster(s) ",
            LISTENER: "Error adding/updating listener(s) ",
        }
        if type_url in kinds:
            return kinds[type_url] + ", ".join(f"{name}: {why}" for name, why in errors.items())
        return "; ".join(errors.values())

    def _referred(self, type_url: str) -> tuple[str, set[str]] | None:
        """The type and names that the resources of a type refer to."""
        if not self.follow:
            return None
        if type_url == CLUSTER:
            found = (awaited_endpoints(body) for body in self.have[CLUSTER].values())
            return ENDPOINT, {name for name in found if name}
        if type_url == LISTENER:
            return ROUTE, {
                name for body in self.have[LISTENER].values() for name in route_names(body)
            }
        return None


def route_names(body: bytes) -> set[str]:
    """The route configurations that a serialized listener asks for."""
    listener = listener_pb2.Listener.FromString(body)
    names = set()
    for chain in [*listener.filter_chains, listener.default_filter_chain]:
        for one in chain.filters:
            manager = http_connection_manager_pb2.HttpConnectionManager()
            if one.typed_config.Unpack(manager) and manager.HasField("rds"):
                names.add(manager.rds.route_config_name)
    return names


def extension_names(body: bytes) -> set[str]:
    """The extensions that a serialized listener asks of the control plane."""
    listener = listener_pb2.Listener.FromString(body)
    names = set()
    for chain in [*listener.filter_chains, listener.default_filter_chain]:
        for one in chain.filters:
            manager = http_connection_manager_pb2.HttpConnectionManager()
            if one.typed_config.Unpack(manager):
                names |= {h.name for h in manager.http_filters if h.HasField("config_discovery")}
    return names


def secret_names(kind: str, body: bytes) -> set[str]:
    """The secrets that a serialized listener (LDS) or cluster (CDS) asks of the control plane."""
    sockets = []
    if kind == "LDS":
        listener = listener_pb2.Listener.FromString(body)
        sockets = [chain.transport_socket for chain in listener.filter_chains]
    elif kind == "CDS":
        sockets = [cluster_pb2.Cluster.FromString(body).transport_socket]
    names = set()
    for socket in sockets:
        for context in (tls_pb2.DownstreamTlsContext(), tls_pb2.UpstreamTlsContext()):
            if socket.typed_config.Unpack(context):
                common = context.common_tls_context
                named = [
                    *common.tls_certificate_sds_secret_configs,
                    common.combined_validation_context.validation_context_sds_secret_config,
                ]
                names |= {one.name for one in named if one.sds_config.HasField("ads")}
    return names


@dataclass
class DeltaClient(_Base):
    """A delta client. ``versions`` is what it would say on reconnection."""

    protocol: XdsProtocol = XdsProtocol.DELTA
    versions: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))

    def _request(self, type_url: str, **fields: Any) -> bytes:
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=type_url, **fields)
        if not self._node_sent:
            request.node.MergeFrom(discovery_pb2.DeltaDiscoveryRequest(node=self.node).node)
            self._node_sent = True
        return bytes(request.SerializeToString())

    def connect(self) -> list[bytes]:
        """The first requests on a new stream: all subscriptions and the versions it has."""
        self._node_sent = False
        self.received.clear()
        return [
            self._request(
                type_url,
                resource_names_subscribe=sorted(names) if names != {"*"} else [],
                initial_resource_versions=self.versions[type_url],
            )
            for type_url, names in self.names.items()
        ]

    def subscribe(self, type_url: str, *names: str) -> list[bytes]:
        """Subscribe to names, or to everything when there are none and it is the first time."""
        first = type_url not in self.names
        wanted = self.names.setdefault(type_url, set())
        wanted |= set(names) or ({"*"} if first else set())
        versions = self.versions[type_url] if first else {}
        return [
            self._request(
                type_url,
                resource_names_subscribe=sorted(names),
                initial_resource_versions=versions,
            )
        ]

    def unsubscribe(self, type_url: str, *names: str) -> list[bytes]:
        """Unsubscribe; what "*" does not cover any more is dropped."""
        self.names[type_url] -= set(names)
        for name in list(self.have[type_url]):
            if "*" not in self.names[type_url] and name not in self.names[type_url]:
                del self.have[type_url][name]
                self.versions[type_url].pop(name, None)
        return [self._request(type_url, resource_names_unsubscribe=sorted(names))]

    def handle(self, raw: bytes) -> list[bytes]:
        """Take a response: requests to send, the ACK or NACK first."""
        response = discovery_pb2.DeltaDiscoveryResponse.FromString(raw)
        url = response.type_url
        bodies = {one.name: one.resource.value for one in response.resources}
        assert len(bodies) == len(response.resources), "a name twice in one response"
        self.received.append((url, tuple(sorted(bodies)), tuple(response.removed_resources)))
        errors = self._errors(url, bodies)
        if errors and url not in FULL_SET:
            bodies = {}
        wanted = self.names.get(url, set())
        for one in response.resources:
            if one.name in bodies and one.name not in errors:
                if "*" not in wanted and one.name not in wanted:
                    continue
                self.have[url][one.name] = bodies[one.name]
                if not errors:
                    self.versions[url][one.name] = one.version
        for name in response.removed_resources:
            self.have[url].pop(name, None)
            self.versions[url].pop(name, None)
        if not errors:
            return [self._request(url, response_nonce=response.nonce), *self._follow(url)]
        text = self._error(url, errors)
        self.refused.append((url, text))
        detail = {"code": 13, "message": text}
        nack = self._request(url, response_nonce=response.nonce, error_detail=detail)
        return [nack, *self._follow(url)]

    def _follow(self, type_url: str) -> list[bytes]:
        referred = self._referred(type_url)
        if referred is None:
            return []
        url, names = referred
        before = self.names.get(url, set())
        requests = []
        if names - before:
            requests += self.subscribe(url, *(names - before))
        if before - names:
            requests += self.unsubscribe(url, *(before - names))
        return requests


@dataclass
class SotwClient(_Base):
    """A state-of-the-world client."""

    protocol: XdsProtocol = XdsProtocol.SOTW
    version: dict[str, str] = field(default_factory=lambda: defaultdict(str))
    nonce: dict[str, str] = field(default_factory=lambda: defaultdict(str))

    def _request(self, type_url: str, error: str = "") -> bytes:
        names = self.names[type_url]
        request = discovery_pb2.DiscoveryRequest(
            type_url=type_url,
            version_info=self.version[type_url],
            response_nonce=self.nonce[type_url],
            resource_names=sorted(names) if names != {"*"} else [],
        )
        if error:
            request.error_detail.code = 13
            request.error_detail.message = error
        if not self._node_sent:
            request.node.MergeFrom(discovery_pb2.DeltaDiscoveryRequest(node=self.node).node)
            self._node_sent = True
        return bytes(request.SerializeToString())

    def connect(self) -> list[bytes]:
        """The first requests on a new stream: all subscriptions and the last versions."""
        self._node_sent = False
        self.received.clear()
        self.nonce.clear()
        return [self._request(type_url) for type_url in self.names]

    def subscribe(self, type_url: str, *names: str) -> list[bytes]:
        """Subscribe to names, or to everything when there are none and it is the first time."""
        first = type_url not in self.names
        wanted = self.names.setdefault(type_url, set())
        wanted |= set(names) or ({"*"} if first else set())
        return [self._request(type_url)]

    def unsubscribe(self, type_url: str, *names: str) -> list[bytes]:
        """Unsubscribe from names."""
        wanted = self.names[type_url]
        wanted -= set(names)
        for name in list(self.have[type_url]):
            if "*" not in wanted and name not in wanted:
                del self.have[type_url][name]
        return [self._request(type_url)]

    def handle(self, raw: bytes) -> list[bytes]:
        """Take a response: requests to send, the ACK or NACK first."""
        response = discovery_pb2.DiscoveryResponse.FromString(raw)
        url = response.type_url
        bodies = {resource_name(url, one.value): one.value for one in response.resources}
        assert len(bodies) == len(response.resources), "a name twice in one response"
        self.received.append((url, tuple(sorted(bodies)), ()))
        self.nonce[url] = response.nonce
        errors = self._errors(url, bodies)
        wanted = self.names.get(url, set())
        if not errors or url in FULL_SET:
            for name, body in bodies.items():
                if name not in errors and ("*" in wanted or name in wanted):
                    self.have[url][name] = body
            if url in FULL_SET:
                for name in set(self.have[url]) - set(bodies):
                    del self.have[url][name]
        error = ""
        if errors:
            error = self._error(url, errors)
            self.refused.append((url, error))
        else:
            self.version[url] = response.version_info
        requests = [self._request(url, error)]
        referred = self._referred(url)
        if referred is not None and self.names.get(referred[0], set()) != referred[1]:
            type_url, names = referred
            self.names[type_url] = set(names)
            for name in set(self.have[type_url]) - names:
                del self.have[type_url][name]
            requests.append(self._request(type_url))
        return requests


def resource_name(type_url: str, body: bytes) -> str:
    """The name inside a serialized resource: the first field of every xDS type that Envoy reads.

    (``name`` of Cluster, Listener, RouteConfiguration and Secret, ``cluster_name`` of
    ClusterLoadAssignment.)
    """
    assert body[:1] == b"\x0a", f"{type_url} without a name"
    length, at, shift = 0, 1, 0
    while True:
        byte = body[at]
        length |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return body[at : at + length].decode()


class Connection:
    """A client on a running stream."""

    def __init__(self, client: Client, write: Callable[[bytes], Any]) -> None:
        self.client = client
        self._write = write
        self._lock = asyncio.Lock()
        self._moved = asyncio.Event()

    async def say(self, requests: Iterable[bytes]) -> None:
        """Send requests of the client."""
        async with self._lock:
            for request in requests:
                await self._write(request)

    async def take(self, raw: bytes) -> None:
        """A response came."""
        await self.say(self.client.handle(raw))
        self._moved.set()
        self._moved = asyncio.Event()

    async def until(self, condition: Callable[[], bool], timeout_seconds: float = 10.0) -> None:
        """Wait until the condition holds, looking after every response. Raises ``TimeoutError``."""
        async with asyncio.timeout(timeout_seconds):
            while not condition():
                await self._moved.wait()


LOCAL = Peer("memory:1")


@asynccontextmanager
async def in_memory(
    server: Server, client: Client, peer: Peer = LOCAL
) -> AsyncIterator[Connection]:
    """Connect a client to a server in this process, without gRPC."""
    to_server: asyncio.Queue[bytes | None] = asyncio.Queue(10_000)
    to_client: asyncio.Queue[bytes] = asyncio.Queue(10_000)
    connection = Connection(client, to_server.put)

    async def responses() -> None:
        while True:
            await connection.take(await to_client.get())

    async def serve() -> None:
        try:
            await server.serve(peer, client.protocol, to_server.get, to_client.put)
        except StreamRefusedError:
            reading.cancel()

    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(responses())
        tasks.create_task(serve())
        await connection.say(client.connect())
        yield connection
        await to_server.put(None)
        reading.cancel()


_METHOD = {
    XdsProtocol.DELTA: f"/{SERVICE}/DeltaAggregatedResources",
    XdsProtocol.SOTW: f"/{SERVICE}/StreamAggregatedResources",
}


@asynccontextmanager
async def over_grpc(
    address: str,
    client: Client,
    credentials: grpc.ChannelCredentials | None = None,
    options: Iterable[tuple[str, Any]] = (),
) -> AsyncIterator[Connection]:
    """Connect a client to a listening server; a connection of its own, as a proxy has.

    Raises ``grpc.aio.AioRpcError`` (in an exception group) when the server ends the stream.
    """
    channel_options = [("grpc.use_local_subchannel_pool", 1), *options]
    if credentials is None:
        channel = grpc.aio.insecure_channel(address, options=channel_options)
    else:
        channel = grpc.aio.secure_channel(address, credentials, options=channel_options)
    async with channel:
        open_stream: Any = channel.stream_stream(_METHOD[client.protocol], None, None)
        call = open_stream()

        async def write(request: bytes) -> None:
            try:
                await call.write(request)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await call.code()  # the stream has ended; the reading task says how

        connection = Connection(client, write)

        async def responses() -> None:
            async for raw in call:
                await connection.take(raw)

        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(responses())
            await connection.say(client.connect())
            yield connection
            reading.cancel()
            call.cancel()
