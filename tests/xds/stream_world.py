"""Streams on a source in memory, for the tests of the stream machine."""

from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.service.discovery.v3 import discovery_pb2

from argosy.testing.xds.source import MemorySource
from argosy.xds import Admission, Protocol
from argosy.xds.catalog import Catalog
from argosy.xds.stream import (
    AdsStream,
    Command,
    Event,
    Published,
    Received,
    Send,
    Wake,
)
from argosy.xds.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE
from argosy.xds.wire import Encoder, Request

Sent = tuple[str, dict[str, bytes], set[str]]


class World:
    """A source, and streams on it, at a time that stands still unless moved."""

    def __init__(self, **options: Any) -> None:
        self.source = MemorySource()
        self.source.scope("g", "mesh")
        self.catalog = Catalog(self.source)
        self.encoder = Encoder()
        self.options = options
        self.now = 100.0
        self.streams: list[Stream] = []

    def stream(self, protocol: Protocol = Protocol.DELTA, group: str = "g") -> "Stream":
        self.source.changes()  # what is there already is no change
        machine = AdsStream(
            protocol, Admission(group, "it"), self.catalog, self.encoder, **self.options
        )
        self.streams.append(Stream(self, machine))
        return self.streams[-1]

    def put(self, type_url: str, **bodies: bytes) -> None:
        for name, body in bodies.items():
            self.source.put("mesh", type_url, name, body)

    def remove(self, type_url: str, *names: str) -> None:
        for name in names:
            self.source.remove("mesh", type_url, name)

    def publish(self) -> None:
        self.catalog.publish(self.source.changes())
        for stream in self.streams:
            stream.event(Published())


class Stream:
    """One stream; ``sent`` are the decoded responses that nobody has looked at yet."""

    def __init__(self, world: World, machine: AdsStream) -> None:
        self.world = world
        self.machine = machine
        self.sent: list[Sent] = []
        self.nonces: dict[str, str] = {}
        self.other: list[Command] = []

    def event(self, event: Event) -> None:
        for command in self.machine.handle(event, self.world.now):
            if isinstance(command, Send):
                self.sent.append(self.decoded(command.response.body))
            else:
                self.other.append(command)

    def decoded(self, raw: bytes) -> Sent:
        if self.machine.protocol is Protocol.DELTA:
            message = discovery_pb2.DeltaDiscoveryResponse.FromString(raw)
            bodies = {one.name: one.resource.value for one in message.resources}
            removed = set(message.removed_resources)
        else:
            message = discovery_pb2.DiscoveryResponse.FromString(raw)
            bodies = {one.value.decode(): one.value for one in message.resources}
            removed = set()
        assert self.nonces.get(message.type_url) != message.nonce, "a nonce twice"
        self.nonces[message.type_url] = message.nonce
        return message.type_url, bodies, removed

    def ask(self, type_url: str, *names: str, **fields: Any) -> None:
        self.event(Received(Request(type_url, subscribe=names, **fields)))

    def ack(self, type_url: str, *names: str) -> None:
        self.ask(type_url, *names, nonce=self.nonces[type_url])

    def nack(self, type_url: str, error: str, *names: str) -> None:
        self.ask(type_url, *names, nonce=self.nonces[type_url], error=error)

    def ack_all(self) -> list[Sent]:
        """Acknowledge until nothing is sent any more; everything that was sent."""
        everything: list[Sent] = []
        while self.sent:
            batch, self.sent = self.sent, []
            everything += batch
            for type_url, _, _ in batch:
                self.ack(type_url)
        return everything

    def take(self) -> list[Sent]:
        batch, self.sent = self.sent, []
        return batch

    @property
    def wakes(self) -> list[float]:
        return [one.at for one in self.other if isinstance(one, Wake)]


def cluster(name: str, stat: str = "") -> bytes:
    one = cluster_pb2.Cluster(name=name, alt_stat_name=stat, type=cluster_pb2.Cluster.EDS)
    one.eds_cluster_config.eds_config.ads.SetInParent()
    return bytes(one.SerializeToString())


def connected(world: World) -> Stream:
    """A delta stream that has everything, as a sidecar would."""
    stream = world.stream()
    stream.ask(CLUSTER)
    stream.ack_all()
    stream.ask(ENDPOINT, *world.source.everything("g", ENDPOINT))
    stream.ask(LISTENER)
    stream.ask(ROUTE, *world.source.everything("g", ROUTE))
    stream.ack_all()
    stream.other.clear()
    return stream


def versions(world: World, type_url: str, *names: str) -> dict[str, str]:
    found = {}
    for name in names:
        one = world.source.resource("g", type_url, name)
        assert one is not None
        found[name] = one.version
    return found
