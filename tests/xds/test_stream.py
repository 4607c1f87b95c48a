"""The stream machine, event by event: the protocol's rules and traps, one test each.

Rules are from Envoy's xDS protocol page; each test of a trap says what went wrong without it.
"""

from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.service.discovery.v3 import discovery_pb2

from argosy.testing.xds import MemorySource
from argosy.xds import Admission, Protocol, RejectedResource, StreamLimits, Timing
from argosy.xds.catalog import Catalog
from argosy.xds.stream import (
    Acknowledged,
    AdsStream,
    Close,
    Command,
    Event,
    Published,
    Received,
    Refused,
    Rescoped,
    Send,
    TimePassed,
    Wake,
)
from argosy.xds.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET
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


# First requests


@pytest.mark.parametrize("protocol", list(Protocol))
@pytest.mark.parametrize("type_url", [CLUSTER, LISTENER, "type.googleapis.com/some.Type"])
def test_the_first_request_is_answered_even_with_nothing(protocol: Protocol, type_url: str) -> None:
    # Otherwise Envoy waits for initial_fetch_timeout, 15 s.
    stream = World().stream(protocol)
    stream.ask(type_url)
    assert stream.take() == [(type_url, {}, set())]


@pytest.mark.parametrize("protocol", list(Protocol))
def test_no_names_mean_nothing_where_envoy_knows_no_wildcard(protocol: Protocol) -> None:
    world = World()
    world.put(ENDPOINT, a=b"a")
    stream = world.stream(protocol)
    stream.ask(ENDPOINT)
    assert stream.take() == [(ENDPOINT, {}, set())]


def test_an_explicit_star_is_a_wildcard_for_any_type() -> None:
    world = World()
    world.put(ENDPOINT, a=b"a")
    stream = world.stream()
    stream.ask(ENDPOINT, "*")
    assert stream.take() == [(ENDPOINT, {"a": b"a"}, set())]


def test_an_unknown_name_is_answered_as_removed() -> None:
    world = World()
    stream = world.stream()
    stream.ask(SECRET, "default")
    assert stream.take() == [(SECRET, {}, {"default"})]
    stream.ack(SECRET)
    stream.ask(SECRET, "other")
    assert stream.take() == [(SECRET, {}, {"other"})]
    stream.ack(SECRET)
    world.put(SECRET, default=b"now")
    world.publish()
    assert stream.take() == [(SECRET, {"default": b"now"}, set())], "it springs into existence"


# Subscriptions


def test_a_name_on_demand_beside_the_wildcard() -> None:
    world = World()
    world.put(CLUSTER, a=b"a")
    world.source.put("mesh", CLUSTER, "hidden", b"hidden", on_demand=True)
    stream = world.stream()
    stream.ask(CLUSTER)
    assert stream.take() == [(CLUSTER, {"a": b"a"}, set())]
    stream.ack(CLUSTER)
    stream.ask(CLUSTER, "hidden")
    assert stream.take() == [(CLUSTER, {"hidden": b"hidden"}, set())]
    stream.ack(CLUSTER)
    world.source.put("mesh", CLUSTER, "hidden", b"changed", on_demand=True)
    world.publish()
    assert stream.take() == [(CLUSTER, {"hidden": b"changed"}, set())]


def test_a_change_of_a_name_on_demand_concerns_only_who_asked() -> None:
    world = World()
    world.source.put("mesh", CLUSTER, "hidden", b"hidden", on_demand=True)
    stream = world.stream()
    stream.ask(CLUSTER)
    stream.ack_all()
    world.source.put("mesh", CLUSTER, "hidden", b"changed", on_demand=True)
    world.publish()
    assert stream.take() == []


def test_a_repeated_subscription_is_answered_again() -> None:
    world = World()
    world.put(ENDPOINT, a=b"a")
    stream = world.stream()
    stream.ask(ENDPOINT, "a")
    stream.ack_all()
    stream.ask(ENDPOINT, "a")
    assert stream.take() == [(ENDPOINT, {"a": b"a"}, set())]


def test_unsubscribed_names_are_sent_no_more() -> None:
    world = World()
    world.put(ENDPOINT, a=b"a", b=b"b")
    stream = world.stream()
    stream.ask(ENDPOINT, "a", "b")
    stream.ack_all()
    stream.ask(ENDPOINT, unsubscribe=("a",))
    world.put(ENDPOINT, a=b"2", b=b"2")
    world.publish()
    assert stream.take() == [(ENDPOINT, {"b": b"2"}, set())]


def test_unsubscribing_the_last_name_is_no_wildcard() -> None:
    world = World()
    world.put(CLUSTER, a=b"a", b=b"b")
    stream = world.stream()
    stream.ask(CLUSTER, "a")
    stream.ack_all()
    stream.ask(CLUSTER, unsubscribe=("a",))
    world.put(CLUSTER, b=b"2")
    world.publish()
    assert stream.take() == []


def test_a_name_unsubscribed_under_a_wildcard_is_cleared_up() -> None:
    # The client cannot know whether "*" still covers it.
    world = World()
    world.put(CLUSTER, a=b"a")
    world.source.put("mesh", CLUSTER, "hidden", b"hidden", on_demand=True)
    stream = world.stream()
    stream.ask(CLUSTER, "*", "a", "hidden")
    stream.ack_all()
    stream.ask(CLUSTER, unsubscribe=("a", "hidden"))
    assert stream.take() == [(CLUSTER, {"a": b"a"}, {"hidden"})]


def test_sotw_names_replace_one_another() -> None:
    world = World()
    world.put(ROUTE, a=b"a", b=b"b")
    stream = world.stream(Protocol.SOTW)
    stream.ask(ROUTE, "a")
    assert stream.take() == [(ROUTE, {"a": b"a"}, set())]
    stream.ack(ROUTE, "a", "b")
    assert stream.take() == [(ROUTE, {"b": b"b"}, set())], "partial: what was asked anew"
    stream.ack(ROUTE, "b")
    world.put(ROUTE, a=b"2")
    world.publish()
    assert stream.take() == []


def test_sotw_clusters_are_sent_whole() -> None:
    world = World()
    world.put(CLUSTER, a=b"a", b=b"b")
    stream = world.stream(Protocol.SOTW)
    stream.ask(CLUSTER)
    assert stream.take() == [(CLUSTER, {"a": b"a", "b": b"b"}, set())]
    stream.ack(CLUSTER)
    world.put(CLUSTER, c=b"c")
    world.publish()
    assert stream.take() == [(CLUSTER, {"a": b"a", "b": b"b", "c": b"c"}, set())]
    stream.ack(CLUSTER)
    world.remove(CLUSTER, "a")
    world.publish()
    assert stream.take() == [(CLUSTER, {"b": b"b", "c": b"c"}, set())]


def test_sotw_a_request_that_drops_the_star_keeps_the_names() -> None:
    world = World()
    world.put(CLUSTER, a=b"a", b=b"b")
    stream = world.stream(Protocol.SOTW)
    stream.ask(CLUSTER)
    stream.take()
    stream.ack(CLUSTER, "*", "a")
    stream.ack_all()
    stream.ask(CLUSTER, "a", nonce=stream.nonces[CLUSTER])
    world.put(CLUSTER, a=b"2", b=b"2")
    world.publish()
    assert all("b" not in bodies for _, bodies, _ in stream.take())


# Nonces and back-pressure


@pytest.mark.parametrize("protocol", list(Protocol))
def test_one_response_is_outstanding_and_the_next_is_the_latest(protocol: Protocol) -> None:
    world = World()
    world.put(CLUSTER, a=b"a")
    stream = world.stream(protocol)
    stream.ask(CLUSTER)
    stream.take()
    for content in (b"1", b"2", b"3"):
        world.source.put("mesh", CLUSTER, "x" if protocol is Protocol.DELTA else "3", content)
        world.publish()
    assert stream.take() == [], "not before the ACK"
    stream.ack(CLUSTER)
    ((_, bodies, _),) = stream.take()
    assert bodies.pop("x", None) == b"3" or bodies["3"] == b"3"


def test_a_stale_nonce_acknowledges_nothing_but_its_names_count_in_delta() -> None:
    world = World()
    world.put(ROUTE, a=b"a", b=b"b")
    stream = world.stream()
    stream.ask(ROUTE, "a")
    stream.ask(ROUTE, "b", nonce="of another time")
    assert stream.take() == [(ROUTE, {"a": b"a"}, set())]
    assert not any(isinstance(one, Acknowledged) for one in stream.other)
    stream.ack(ROUTE)
    assert stream.take() == [(ROUTE, {"b": b"b"}, set())]


def test_a_stale_nack_condemns_nothing() -> None:
    world = World()
    world.put(ROUTE, a=b"a")
    stream = world.stream()
    stream.ask(ROUTE, "a")
    stream.ask(ROUTE, nonce="1000", error="bad")
    assert not any(isinstance(one, Refused) for one in stream.other)


def test_a_stale_sotw_request_is_superseded() -> None:
    world = World()
    world.put(ROUTE, a=b"a", b=b"b")
    stream = world.stream(Protocol.SOTW)
    stream.ask(ROUTE, "a")
    stream.ask(ROUTE, "b")  # sent before the response arrived: a nonce it does not know
    stream.take()
    stream.ack(ROUTE, "a", "b")
    assert stream.take() == [(ROUTE, {"b": b"b"}, set())]


def test_streams_that_need_the_same_get_the_same_bytes_object() -> None:
    world = World()
    world.put(CLUSTER, a=b"a" * 1000)
    bodies = []
    for _ in range(3):
        machine = world.stream().machine
        commands = machine.handle(Received(Request(CLUSTER)), 0.0)
        bodies += [one.response.body for one in commands if isinstance(one, Send)]
    assert len(bodies) == 3
    assert bodies[0] is bodies[1] is bodies[2]
    assert world.encoder.encoded == 1


def test_a_big_answer_goes_in_pieces() -> None:
    world = World(limits=StreamLimits(response_bytes=250))
    world.put(CLUSTER, **{f"c{number}": b"x" * 100 for number in range(10)})
    stream = world.stream()
    stream.ask(CLUSTER)
    pieces = stream.ack_all()
    assert [len(bodies) for _, bodies, _ in pieces] == [3, 3, 3, 1]
    assert len({name for _, bodies, _ in pieces for name in bodies}) == 10


def test_too_many_types_or_names_close_the_stream() -> None:
    stream = World(limits=StreamLimits(names=3, types=2)).stream()
    stream.ask(ROUTE, "a", "b")
    stream.ask(SECRET, "c")
    assert not any(isinstance(one, Close) for one in stream.other)
    stream.ask(SECRET, "d")
    assert any(isinstance(one, Close) for one in stream.other)
    stream = World(limits=StreamLimits(types=2)).stream()
    for type_url in (ROUTE, SECRET, "type.googleapis.com/third"):
        stream.ask(type_url, "a")
    assert any(isinstance(one, Close) for one in stream.other)


# Reconnection


def versions(world: World, type_url: str, *names: str) -> dict[str, str]:
    found = {}
    for name in names:
        one = world.source.resource("g", type_url, name)
        assert one is not None
        found[name] = one.version
    return found


def test_a_reconnection_brings_differences_only() -> None:
    world = World()
    world.put(LISTENER, same=b"same", other=b"other", new=b"new")
    stream = world.stream()
    have = versions(world, LISTENER, "same") | {"other": "old", "gone": "any"}
    stream.ask(LISTENER, initial_versions=have)
    assert stream.take() == [(LISTENER, {"other": b"other", "new": b"new"}, {"gone"})]


def test_a_reconnection_with_everything_gets_an_empty_answer() -> None:
    world = World()
    world.put(LISTENER, a=b"a")
    stream = world.stream()
    stream.ask(LISTENER, initial_versions=versions(world, LISTENER, "a"))
    assert stream.take() == [(LISTENER, {}, set())]
    stream.ack(LISTENER)
    world.put(LISTENER, a=b"2")
    world.publish()
    assert stream.take() == [(LISTENER, {"a": b"2"}, set())]


def test_a_reconnection_does_not_remove_what_was_asked_for_by_name() -> None:
    # Forgetting the explicit names deleted every cluster on demand.
    world = World()
    world.put(CLUSTER, a=b"a")
    world.source.put("mesh", CLUSTER, "hidden", b"hidden", on_demand=True)
    stream = world.stream()
    have = versions(world, CLUSTER, "a", "hidden") | {"gone": "any"}
    stream.ask(CLUSTER, "*", "hidden", initial_versions=have)
    stream.ask(LISTENER)
    stream.ask(ROUTE)
    assert {removed for _, _, more in stream.ack_all() for removed in more} == {"gone"}


def test_removals_at_a_reconnection_wait_for_the_routes() -> None:
    world = World()
    world.put(ROUTE, r=b"to b")
    stream = world.stream()
    stream.ask(CLUSTER, initial_versions={"a": "any"})
    assert stream.take() == [(CLUSTER, {}, set())], "the old route may still name it"
    stream.ack(CLUSTER)
    stream.ask(LISTENER)
    stream.ask(ROUTE, "r", initial_versions={"r": "to a"})
    assert stream.ack_all() == [
        (LISTENER, {}, set()),
        (ROUTE, {"r": b"to b"}, set()),
        (CLUSTER, {}, {"a"}),
    ]


# Rejections


def test_the_culprit_is_found_by_its_name_in_the_error() -> None:
    world = World()
    world.put(CLUSTER, good=b"good", bad=b"bad", better=b"better")
    stream = world.stream()
    stream.ask(CLUSTER)
    stream.take()
    stream.nack(CLUSTER, "Error adding/updating cluster(s) bad: no")
    assert stream.take() == [(CLUSTER, {"good": b"good", "better": b"better"}, set())]
    stream.ack(CLUSTER)
    assert stream.take() == [(CLUSTER, {"bad": b"bad"}, set())]
    stream.nack(CLUSTER, "Error adding/updating cluster(s) bad: no")
    assert stream.take() == []
    (verdict,) = [
        one.rejection for one in stream.other if isinstance(one, Refused) and one.rejection
    ]
    bad = versions(world, CLUSTER, "bad")["bad"]
    assert verdict.resources == (RejectedResource("bad", bad),)
    assert verdict.error == "Error adding/updating cluster(s) bad: no"
    assert (verdict.client_id, verdict.type_url) == ("it", CLUSTER)


def test_a_culprit_that_the_error_does_not_name_is_found_by_halving() -> None:
    world = World()
    world.put(CLUSTER, **{f"c{number:03}": b"%d" % number for number in range(200)})
    stream = world.stream()
    stream.ask(CLUSTER)
    responses = 0
    accepted: set[str] = set()
    while stream.sent:
        ((_, bodies, _),) = stream.take()
        responses += 1
        if "c137" in bodies:
            stream.nack(CLUSTER, "missing ]")
        else:
            accepted |= set(bodies)
            stream.ack(CLUSTER)
    assert len(accepted) == 199
    assert responses <= 17, "one by one would be 200"
    assert set(stream.machine.subscriptions[CLUSTER].rejected) == {"c137"}


def test_a_refused_version_is_not_sent_again_until_it_is_another() -> None:
    world = World()
    world.put(ROUTE, r=b"bad")
    stream = world.stream()
    stream.ask(ROUTE, "r")
    stream.take()
    stream.nack(ROUTE, "no")
    world.put(ROUTE, r=b"bad")
    world.publish()
    assert stream.take() == []
    world.put(ROUTE, r=b"good")
    world.publish()
    assert stream.take() == [(ROUTE, {"r": b"good"}, set())]
    assert stream.machine.subscriptions[ROUTE].rejected, "the old verdict stands until the new"
    stream.ack(ROUTE)
    assert not stream.machine.subscriptions[ROUTE].rejected


def test_what_changed_meanwhile_is_retried_as_it_is_now() -> None:
    world = World()
    world.put(CLUSTER, a=b"a", b=b"b")
    stream = world.stream()
    stream.ask(CLUSTER)
    stream.take()
    world.put(CLUSTER, b=b"repaired")
    world.publish()
    stream.nack(CLUSTER, "b: no")
    assert [bodies for _, bodies, _ in stream.ack_all()] == [{"a": b"a"}, {"b": b"repaired"}]


def test_removals_of_a_refused_response_are_told_again() -> None:
    world = World()
    world.put(LISTENER, a=b"a", b=b"b", c=b"c")
    stream = connected(world)
    world.put(LISTENER, a=b"bad", b=b"2")
    world.remove(LISTENER, "c")
    world.publish()
    assert stream.take() == [(LISTENER, {"a": b"bad", "b": b"2"}, {"c"})]
    stream.nack(LISTENER, "no")
    assert stream.take() == [(LISTENER, {}, {"c"})]
    stream.ack(LISTENER)
    assert stream.take() == [(LISTENER, {"a": b"bad"}, set())]
    stream.nack(LISTENER, "no")
    assert stream.ack_all() == [(LISTENER, {"b": b"2"}, set())]


def test_sotw_keeps_the_last_good_version_of_a_refused_cluster_in_the_full_set() -> None:
    world = World()
    world.put(CLUSTER, a=b"a", b=b"b")
    stream = world.stream(Protocol.SOTW)
    stream.ask(CLUSTER)
    stream.take()
    stream.ack(CLUSTER)
    world.source.put("mesh", CLUSTER, "b", b"bad")
    world.publish()
    assert stream.take() == [(CLUSTER, {"a": b"a", "bad": b"bad"}, set())]
    stream.nack(CLUSTER, "no")
    world.put(CLUSTER, c=b"c")
    world.publish()
    # Left out, "b" would be deleted; sent as it is, everything would be refused again.
    assert stream.take() == [(CLUSTER, {"a": b"a", "b": b"b", "c": b"c"}, set())]


def test_sotw_after_a_reconnection_leaves_nothing_out_to_find_a_culprit() -> None:
    world = World()
    world.put(CLUSTER, a=b"a", b=b"b")
    stream = world.stream(Protocol.SOTW)
    stream.ask(CLUSTER, version="of before")
    stream.take()
    stream.nack(CLUSTER, "cluster(s) b: no")
    assert stream.take() == [], "half a set would delete what the client has"
    assert set(stream.machine.subscriptions[CLUSTER].rejected) == {"b"}


# Order


def a_mesh() -> World:
    world = World()
    world.put(CLUSTER, a=cluster("a"))
    world.put(ENDPOINT, a=b"of a")
    world.put(LISTENER, l=b"l")
    world.put(ROUTE, r=b"to a")
    return world


def test_a_mixed_change_goes_in_order_each_after_the_ack_of_the_one_before() -> None:
    world = a_mesh()
    stream = connected(world)
    world.put(CLUSTER, b=cluster("b"))
    world.put(ENDPOINT, b=b"of b")
    world.put(LISTENER, l=b"2")
    world.put(ROUTE, r=b"to b")
    world.remove(CLUSTER, "a")
    world.remove(ENDPOINT, "a")
    world.publish()
    assert stream.take() == [(CLUSTER, {"b": cluster("b")}, set())]
    stream.ack(CLUSTER)
    assert stream.take() == [], "the new cluster has no endpoints yet"
    stream.ask(ENDPOINT, "b")
    assert stream.take() == [(ENDPOINT, {"b": b"of b"}, set())]
    stream.ack(ENDPOINT)
    assert stream.take() == [(LISTENER, {"l": b"2"}, set())]
    stream.ack(LISTENER)
    assert stream.take() == [(ROUTE, {"r": b"to b"}, set())]
    assert stream.machine.acknowledged() < world.catalog.generation
    stream.ack(ROUTE)
    assert stream.take() == [(CLUSTER, {}, {"a"})]
    stream.ask(ENDPOINT, unsubscribe=("a",))
    stream.ack(CLUSTER)
    assert stream.take() == [], "unsubscribed: no removal of endpoints to tell"
    assert stream.machine.acknowledged() == world.catalog.generation


def test_endpoints_that_nobody_asks_for_delay_routes_for_a_bounded_time() -> None:
    world = a_mesh()
    world.options["timing"] = Timing(order=1.0)
    stream = connected(world)
    world.put(CLUSTER, b=cluster("b"))
    world.put(ROUTE, r=b"to b")
    world.publish()
    stream.take()
    stream.ack(CLUSTER)
    assert stream.take() == []
    assert min(stream.wakes) == 101.0
    world.now = 101.0
    stream.event(TimePassed())
    assert stream.take() == [(ROUTE, {"r": b"to b"}, set())]
    stream.ack(ROUTE)
    assert stream.machine.acknowledged() == world.catalog.generation


def test_a_client_that_does_not_answer_delays_removals_for_a_bounded_time() -> None:
    world = a_mesh()
    world.options["timing"] = Timing(removal=10.0)
    stream = connected(world)
    world.put(ROUTE, r=b"to b")
    world.remove(CLUSTER, "a")
    world.publish()
    assert stream.take() == [(ROUTE, {"r": b"to b"}, set())]
    assert stream.wakes == [110.0]
    world.now = 110.0
    stream.event(TimePassed())
    assert stream.take() == [(CLUSTER, {}, {"a"})]


def test_a_refused_route_keeps_its_cluster_as_long_as_possible() -> None:
    world = a_mesh()
    stream = connected(world)
    world.put(ROUTE, r=b"bad")
    world.remove(CLUSTER, "a")
    world.publish()
    stream.take()
    stream.nack(ROUTE, "no")
    assert stream.take() == [], "the old route is in force, and names the cluster"
    world.put(ROUTE, r=b"good")
    world.publish()
    stream.take()
    stream.ack(ROUTE)
    assert stream.take() == [(CLUSTER, {}, {"a"})]


def test_a_removal_is_forgotten_when_the_name_comes_back() -> None:
    world = a_mesh()
    stream = connected(world)
    world.put(ROUTE, r=b"2")
    world.remove(CLUSTER, "a")
    world.publish()
    stream.take()
    world.put(CLUSTER, a=cluster("a", "again"))
    world.publish()
    assert stream.ack_all() == [
        (CLUSTER, {"a": cluster("a", "again")}, set()),
        (ENDPOINT, {"a": b"of a"}, set()),
    ]


def test_endpoints_follow_their_changed_cluster_unasked() -> None:
    # Envoy warms the changed cluster until they come, and does not ask again.
    world = a_mesh()
    stream = connected(world)
    world.put(CLUSTER, a=cluster("a", "changed"))
    world.publish()
    assert stream.take() == [
        (CLUSTER, {"a": cluster("a", "changed")}, set()),
        (ENDPOINT, {"a": b"of a"}, set()),
    ]


def test_endpoints_follow_their_changed_cluster_after_a_reconnection() -> None:
    world = a_mesh()
    stream = world.stream()
    stream.ask(CLUSTER, initial_versions={"a": "old"})
    stream.take()
    stream.ask(ENDPOINT, "a", initial_versions=versions(world, ENDPOINT, "a"))
    assert stream.take() == [(ENDPOINT, {"a": b"of a"}, set())]


def test_endpoints_in_flight_do_not_count_for_a_cluster_sent_after_them() -> None:
    world = a_mesh()
    stream = connected(world)
    world.put(ENDPOINT, a=b"2")
    world.publish()
    assert stream.take() == [(ENDPOINT, {"a": b"2"}, set())]
    world.put(CLUSTER, a=cluster("a", "changed"))
    world.publish()
    assert stream.take() == [(CLUSTER, {"a": cluster("a", "changed")}, set())]
    stream.ack(ENDPOINT)
    assert stream.take() == [(ENDPOINT, {"a": b"2"}, set())]


# Layers


def test_other_layers_bring_what_they_have_and_take_what_they_had() -> None:
    world = World()
    world.source.put("mesh", LISTENER, "a", b"a")
    world.source.put("other", LISTENER, "b", b"b")
    world.source.put("both", LISTENER, "c", b"c")
    world.source.scope("g", "mesh", "both")
    stream = world.stream()
    stream.ask(LISTENER)
    stream.ack_all()
    world.source.scope("g", "other", "both")
    world.catalog.generation += 1
    stream.event(Rescoped(world.catalog.rescope("g")))
    assert stream.take() == [(LISTENER, {"b": b"b"}, {"a"})]


def test_a_name_that_one_layer_loses_and_another_has_stays() -> None:
    world = World()
    world.source.scope("g", "one", "two")
    world.source.put("one", LISTENER, "a", b"of one")
    world.source.put("two", LISTENER, "a", b"of two")
    stream = world.stream()
    stream.ask(LISTENER)
    assert stream.ack_all() == [(LISTENER, {"a": b"of one"}, set())]
    world.source.changes()
    world.source.remove("one", LISTENER, "a")
    world.publish()
    assert stream.take() == [(LISTENER, {"a": b"of two"}, set())]
