"""What Mixer is told: which limits, by whom, and as soon as it is another."""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from argosy.pilot.graph.cells import HasMixer
from argosy.pilot.graph.rate_limits import limits_document
from argosy.server.limits import SharedLimits
from argosy.testing.graph import Graph, a_pod, a_service

LIMIT = """
apiVersion: argosy.dev/v1alpha1
kind: RateLimit
metadata: {name: reviews, namespace: default}
spec:
  selector: {matchLabels: {app: reviews}}
  response: {body: slow}
  rules:
  - limit: {requests: 1, unit: SECOND}
  - name: all
    keys: [{source: PRINCIPAL}, {header: X-Key}]
    scope: SHARED
    limit: {requests: 5, unit: MINUTE, burst: 2}
"""
CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  argosy: "rateLimitCounters: redis://counters.default:6379/0"
"""


class World:
    def __init__(self) -> None:
        self.graph = Graph(a_pod("reviews-1", "10.0.0.1", app="reviews"))
        self.graph.engine.set({HasMixer(): True})
        self.limits = SharedLimits(self.graph.engine)
        self.limits.begin()
        self.graph.store.subscribe(self.limits.receive)


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    found = World()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(found.limits.run())
        yield found
        running.cancel()


async def test_shared_limits_with_those_who_may_count(world: World) -> None:
    assert (await world.limits.document("", 0)).limits == ()
    world.graph.apply(LIMIT)
    (limit,) = (await world.limits.document("", 0)).limits
    assert limit.id == "default/reviews/all"
    assert (limit.requests, limit.period, limit.burst) == (5, 60, 2)
    assert limit.keys == ("source.principal", "request.headers[x-key]")
    assert limit.proxies == (("default", "default"),)
    assert (limit.file, limit.line, limit.body) == ("test.yaml", 10, "slow")
    (own,) = (await world.limits.document("", 0)).own
    assert (own.id, own.counts_all, own.line) == ("default/reviews/0", True, 9)
    assert own.proxies == limit.proxies


async def test_who_waits_is_told_at_once_and_only_of_news(world: World) -> None:
    before = await world.limits.document("", 0)
    assert await world.limits.document(before.version, 0.01) == before
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(world.limits.document(before.version, 10))
        await asyncio.sleep(0)
        world.graph.apply(a_service("unrelated"))
        world.graph.apply(LIMIT)
    after = await waiting
    assert after.version != before.version
    world.graph.apply(a_pod("reviews-2", "10.0.0.2", app="reviews"))
    assert (await world.limits.document("", 0)).version == after.version, "one more replica"
    world.graph.delete("RateLimit", "default", "reviews")
    assert (await world.limits.document("", 0)).version == before.version


async def test_it_is_made_anew_only_for_what_it_depends_on(world: World) -> None:
    world.graph.apply(LIMIT)
    runs = world.graph.engine.runs
    before = runs[limits_document]
    for number in range(3):
        world.graph.apply(a_service(f"unrelated-{number}"))
        world.graph.apply(a_pod(f"other-{number}", f"10.0.1.{number}", app=f"other-{number}"))
    assert runs[limits_document] == before
    world.graph.apply(LIMIT.replace("requests: 5", "requests: 6"))
    assert runs[limits_document] == before + 1


async def test_a_ready_pod_stands_for_the_service_of_redis(world: World) -> None:
    world.graph.apply(CONFIG)
    url = "redis://counters.default:6379/0"
    assert (await world.limits.document("", 0)).counters == url, "nobody is there yet"
    world.graph.apply(
        a_service("counters", 6379, port_name="tcp"), a_pod("c", "10.0.0.9", app="counters")
    )
    found = await world.limits.document("", 0)
    assert (found.counters, found.counters_name) == ("redis://10.0.0.9:6379/0", "")
    world.graph.apply(CONFIG.replace("redis://", "rediss://"))
    found = await world.limits.document("", 0)
    secure = ("rediss://10.0.0.9:6379/0", "counters.default")
    assert (found.counters, found.counters_name) == secure, "which its certificate must be for"
    world.graph.apply(CONFIG)
    world.graph.apply(a_pod("c", "10.0.0.9", ready=False, app="counters"))
    assert (await world.limits.document("", 0)).counters == url
