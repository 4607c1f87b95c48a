"""The stream machine, event by event: the protocol's rules and traps, one test each.

Rules are from Envoy's xDS protocol page; each test of a trap says what went wrong without it.
"""

import pytest
from tests.xds.stream_world import World, versions

from argosy.xds import Protocol, StreamLimits
from argosy.xds.stream import Acknowledged, Close, Received, Refused, Rescoped, Send
from argosy.xds.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET
from argosy.xds.wire import Request

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
