"""The order in which the stream machine sends what belongs together.

Rules are from Envoy's xDS protocol page (make before break).
"""

from tests.xds.stream_world import World, cluster, connected, versions

from argosy.xds import Timing
from argosy.xds.stream import TimePassed
from argosy.xds.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE


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
