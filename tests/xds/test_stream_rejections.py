"""What the stream machine does about responses that a client refuses.

Each test of a trap says what went wrong without it.
"""

from tests.xds.stream_world import World, connected, versions

from argosy.xds import Protocol, RejectedResource
from argosy.xds.stream import (
    Refused,
)
from argosy.xds.type_urls import CLUSTER, LISTENER, ROUTE


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
