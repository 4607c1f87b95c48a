"""Whatever a client does and in whatever order messages arrive, it ends with the source's state."""

from collections import deque
from dataclasses import dataclass, field

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from argosy.testing.xds.clients import Client, DeltaClient, SotwClient
from argosy.testing.xds.source import MemorySource
from argosy.xds import Admission
from argosy.xds.catalog import Catalog
from argosy.xds.stream import (
    AdsStream,
    Close,
    Published,
    Received,
    Rescoped,
    Send,
    StreamLimits,
    TimePassed,
    Wake,
)
from argosy.xds.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE
from argosy.xds.wire import Encoder, decode

TYPES = (CLUSTER, ENDPOINT, LISTENER, ROUTE)
NAMES = ("a", "b", "c", "d", "e")
BAD = b"\x7abad"


def body(type_url: str, name: str, content: int, bad: bool) -> bytes:
    """A message whose first field is the name, as in every real type; field 15 marks a bad one."""
    if type_url == CLUSTER:
        cluster = cluster_pb2.Cluster(name=name, alt_stat_name=str(content))
        cluster.type = cluster_pb2.Cluster.EDS
        cluster.eds_cluster_config.eds_config.ads.SetInParent()
        raw = cluster.SerializeToString()
    else:
        endpoints = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
        endpoints.policy.overprovisioning_factor.value = content + 1
        raw = endpoints.SerializeToString()
    return bytes(raw) + (b"\x92\x7f\x03bad" if bad else b"")


def refuse_bad(_type_url: str, name: str, raw: bytes) -> str | None:
    return f"{name} is bad" if raw.endswith(b"bad") else None


def refuse_bad_silently(_type_url: str, _name: str, raw: bytes) -> str | None:
    return "something is wrong" if raw.endswith(b"bad") else None


@dataclass
class Link:
    """A stream machine and a client with messages in flight both ways."""

    client: Client
    machine: AdsStream
    to_server: deque[bytes] = field(default_factory=deque)
    to_client: deque[bytes] = field(default_factory=deque)
    wakes: list[float] = field(default_factory=list)

    def deliver(self, event: object, now: float) -> None:
        unanswered = {t: s.outstanding for t, s in self.machine.subscriptions.items()}
        for command in self.machine.handle(event, now):  # type: ignore[arg-type]
            match command:
                case Send(response):
                    if not isinstance(event, Received):
                        assert unanswered.get(response.type_url) is None, "two unanswered"
                    self.to_client.append(response.body)
                case Wake(at):
                    assert at > now, "a wake in the past would spin"
                    self.wakes.append(at)
                case Close(_, message):
                    raise AssertionError(message)

    def step_server(self, now: float) -> None:
        raw = self.to_server.popleft()
        self.deliver(Received(decode(self.client.protocol, raw)[0]), now)

    def step_client(self) -> None:
        self.to_server.extend(self.client.handle(self.to_client.popleft()))


class Streams(RuleBasedStateMachine):
    """One client of each protocol and kind on one catalog, driven in step or out of step."""

    @initialize(silent=st.booleans(), small=st.booleans())
    def start(self, silent: bool, small: bool) -> None:
        self.now = 0.0
        self.source = MemorySource()
        self.source.scope("g", "shared", "own")
        self.catalog = Catalog(self.source)
        self.encoder = Encoder()
        self.limits = StreamLimits(response_bytes=30 if small else 1 << 20)
        reject = refuse_bad_silently if silent else refuse_bad
        clients: list[Client] = [DeltaClient(reject=reject), SotwClient(reject=reject)]
        self.links = [self.link(client) for client in clients]
        # What each client was last sent in good shape: a bad version keeps the one before.
        self.dirty = False

    def link(self, client: Client) -> Link:
        machine = AdsStream(
            client.protocol,
            Admission("g", "it"),
            self.catalog,
            self.encoder,
            limits=self.limits,
        )
        link = Link(client, machine)
        link.to_server.extend(client.connect())
        return link

    @rule(
        type_url=st.sampled_from(TYPES),
        name=st.sampled_from(NAMES),
        layer=st.sampled_from(("shared", "own")),
        content=st.integers(0, 3),
        bad=st.integers(0, 4).map(lambda n: n == 0),
    )
    def put(self, type_url: str, name: str, layer: str, content: int, bad: bool) -> None:
        self.source.put(layer, type_url, name, body(type_url, name, content, bad))

    @rule(type_url=st.sampled_from(TYPES), name=st.sampled_from(NAMES), data=st.data())
    def remove(self, type_url: str, name: str, data: st.DataObject) -> None:
        layers = [one for one in ("shared", "own") if name in self.source._content[one, type_url]]
        if layers:
            self.source.remove(data.draw(st.sampled_from(layers)), type_url, name)

    @rule()
    def publish(self) -> None:
        concerned = self.catalog.publish(self.source.changes()).get("g", [])
        for link in self.links:
            if link.machine.concerned(concerned):
                link.deliver(Published(), self.now)

    @rule(layers=st.sampled_from((("shared", "own"), ("own",), ("own", "shared"), ())))
    def rescope(self, layers: tuple[str, ...]) -> None:
        self.publish()
        self.source.scope("g", *layers)
        self.catalog.generation += 1
        rescopes = self.catalog.rescope("g")
        for link in self.links:
            link.deliver(Rescoped(rescopes), self.now)

    @rule(
        which=st.integers(0, 1),
        type_url=st.sampled_from(TYPES),
        names=st.sets(st.sampled_from(NAMES), max_size=3),
    )
    def subscribe(self, which: int, type_url: str, names: set[str]) -> None:
        client = self.links[which].client
        current = client.names.get(type_url)  # type: ignore[attr-defined]
        if not names and (current is not None or type_url in (ENDPOINT, ROUTE)):
            return
        if current == {"*"} and client.protocol.value == "sotw":
            names = names | {"*"}
        self.links[which].to_server.extend(client.subscribe(type_url, *names))

    @rule(which=st.integers(0, 1), type_url=st.sampled_from(TYPES), name=st.sampled_from(NAMES))
    def unsubscribe(self, which: int, type_url: str, name: str) -> None:
        client = self.links[which].client
        if name in client.names.get(type_url, ()):  # type: ignore[attr-defined]
            self.links[which].to_server.extend(client.unsubscribe(type_url, name))

    @rule(which=st.integers(0, 1))
    def reconnect(self, which: int) -> None:
        self.links[which] = self.link(self.links[which].client)

    @precondition(lambda self: any(link.to_server for link in self.links))
    @rule(which=st.integers(0, 1))
    def one_request(self, which: int) -> None:
        if self.links[which].to_server:
            self.links[which].step_server(self.now)

    @precondition(lambda self: any(link.to_client for link in self.links))
    @rule(which=st.integers(0, 1))
    def one_response(self, which: int) -> None:
        if self.links[which].to_client:
            self.links[which].step_client()

    @rule(seconds=st.sampled_from((0.1, 0.5, 1.0, 11.0)))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for link in self.links:
            if any(at <= self.now for at in link.wakes):
                link.wakes = [at for at in link.wakes if at > self.now]
                link.deliver(TimePassed(), self.now)

    @invariant()
    def logs_are_bounded(self) -> None:
        if hasattr(self, "catalog"):
            assert self.catalog.sizes()["changes"] <= 2 * len(TYPES) * len(NAMES)

    @rule()
    def come_to_rest(self) -> None:
        """Let everything arrive and every wait end; then each client has the source's state."""
        self.publish()
        for _ in range(2000):
            for link in self.links:
                while link.to_server:
                    link.step_server(self.now)
                while link.to_client:
                    link.step_client()
            if not any(link.to_server or link.to_client for link in self.links):
                if not any(link.wakes for link in self.links):
                    break
                self.wait(11.0)
        else:
            raise AssertionError("never comes to rest")
        for link in self.links:
            self.check(link)

    def check(self, link: Link) -> None:
        client = link.client
        for type_url, names in client.names.items():  # type: ignore[attr-defined]
            subscription = link.machine.subscriptions[type_url]
            wildcard = set(self.source.everything("g", type_url)) if "*" in names else set()
            wanted = {}
            for name in wildcard | (names - {"*"}):
                one = self.source.resource("g", type_url, name)
                if one is not None:
                    wanted[name] = one.body
            have = client.have[type_url]
            bad = {name for name, raw in wanted.items() if raw.endswith(b"bad")}
            good = {name: raw for name, raw in wanted.items() if name not in bad}
            assert {name: have.get(name) for name in good} == good
            extra = set(have) - set(wanted)
            if client.protocol.value == "delta" or type_url in (CLUSTER, LISTENER):
                assert extra == set(), f"not removed: {extra}"
            assert subscription.settled
            assert not subscription.held
            if not self.vague(link):
                assert {name for name in subscription.rejected if name in wanted} == bad
            link.machine.collect()
            assert link.machine.acknowledged() >= self.catalog.generation

    def vague(self, link: Link) -> bool:
        """State-of-the-world after a reconnection: the culprit is not always known."""
        return any(one.inherited for one in link.machine.subscriptions.values())


TestStreams = Streams.TestCase
TestStreams.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
