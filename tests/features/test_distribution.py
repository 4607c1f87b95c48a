"""Store in, xDS stream out, in memory: who gets what, when, and in which order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2

from argosy import xds
from argosy.base.names import Namespace, TrustDomain
from argosy.citadel.identity import TrustDomains
from argosy.server.admission import admit
from argosy.server.delivery import Delivery, Publisher
from argosy.testing.graph import Graph, a_pod, a_service
from argosy.testing.xds.clients import DeltaClient, SotwClient
from argosy.testing.xds.connections import Connection, in_memory
from argosy.xds import type_urls

TRUSTED = TrustDomains(TrustDomain("cluster.local"))
REVIEWS = "reviews.default.svc.cluster.local"
SUBSETS = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: default}
spec:
  host: reviews
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
"""
TO_V2 = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews]
  http: [{route: [{destination: {host: reviews, subset: v2}}]}]
"""
WORLD = (
    a_service("reviews", 9080),
    a_service("ratings", 9080),
    a_service("secret", 9080, namespace="other"),
    a_pod("productpage-1", "10.244.0.9", app="productpage"),
    a_pod("reviews-v1-1", "10.244.0.2", app="reviews", version="v1"),
    a_pod("reviews-v2-1", "10.244.0.3", app="reviews", version="v2"),
    a_pod("secret-1", "10.244.0.5", namespace="other", app="secret"),
)


class Plane:
    """The control plane without transport and certificates."""

    def __init__(self, *texts: str) -> None:
        self.graph = Graph(*texts)
        self.graph.detach()
        engine = self.graph.engine
        delivery = Delivery(engine)
        self.server = xds.Server(delivery, self._admit)
        publisher = Publisher(engine, delivery, self.server)
        publisher.receive(self.graph.store.snapshot(), self.graph.store.revision)
        self.graph.store.subscribe(publisher.receive)

    def _admit(self, peer: xds.Peer, node: bytes) -> xds.Admission | xds.Refusal:
        return admit(peer, node, self.graph.store.get, TRUSTED)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Plane"]:
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(self.server.run())
            yield self
            await self.server.stop()
            serving.cancel()


def peer(namespace: str = "default", account: str = "default") -> xds.Peer:
    return xds.Peer("memory:1", (f"spiffe://cluster.local/ns/{namespace}/sa/{account}",))


def node(pod: str = "productpage-1", namespace: str = "default") -> dict[str, str]:
    return {"id": f"sidecar~10.244.0.9~{pod}.{namespace}~{namespace}.svc.cluster.local"}


@pytest.fixture(params=[DeltaClient, SotwClient])
def client(request: pytest.FixtureRequest) -> DeltaClient | SotwClient:
    made: DeltaClient | SotwClient = request.param(node=node(), follow=True)
    return made


async def synced(connection: Connection) -> None:
    await connection.say(connection.client.subscribe(type_urls.CLUSTER))
    await connection.say(connection.client.subscribe(type_urls.LISTENER))
    have = connection.client.have
    await connection.until(lambda: "9080" in have[type_urls.ROUTE])
    await connection.until(lambda: f"outbound|9080||{REVIEWS}" in have[type_urls.ENDPOINT])


async def test_a_subset_and_its_rule_arrive_in_the_order_that_fails_no_request(
    client: DeltaClient | SotwClient,
) -> None:
    """Cluster, its endpoints, then the routes to it; and the other way round when they go."""
    async with Plane(*WORLD).running() as plane, in_memory(plane.server, client, peer()) as stream:
        await synced(stream)
        client.received.clear()
        plane.graph.apply(SUBSETS, TO_V2)
        v2 = f"outbound|9080|v2|{REVIEWS}"
        await stream.until(lambda: any(t == type_urls.ROUTE for t, _, _ in client.received))
        first = {t: i for i, (t, _, _) in reversed(list(enumerate(client.received)))}
        assert first[type_urls.CLUSTER] < first[type_urls.ENDPOINT] < first[type_urls.ROUTE]
        assert v2 in client.have[type_urls.ENDPOINT]
        distribution = await plane.server.wait_acknowledged(plane.graph.store.revision, 10)
        assert (distribution.touched, distribution.acknowledged) == (1, 1)
        client.received.clear()
        plane.graph.delete("VirtualService", "default", "reviews")
        plane.graph.delete("DestinationRule", "default", "reviews")
        await stream.until(lambda: v2 not in client.have[type_urls.CLUSTER])
        responses = list(enumerate(client.received))
        routed = min(i for i, (t, _, _) in responses if t == type_urls.ROUTE)
        delta = isinstance(client, DeltaClient)
        gone = min(
            i
            for i, (t, there, removed) in responses
            if t == type_urls.CLUSTER and (v2 in removed if delta else v2 not in there)
        )
        assert routed < gone


async def test_a_change_touches_only_proxies_that_see_it(
    client: DeltaClient | SotwClient,
) -> None:
    async with Plane(*WORLD).running() as plane, in_memory(plane.server, client, peer()) as stream:
        await synced(stream)
        client.received.clear()
        plane.graph.apply(
            a_service("hidden", 9080, namespace="other").replace(
                "metadata: {", "metadata: {annotations: {networking.istio.io/exportTo: .}, "
            )
        )
        found = await plane.server.wait_acknowledged(plane.graph.store.revision, 10)
        assert found.touched == 0
        assert client.received == []


@pytest.mark.parametrize(
    ("who", "asks_for", "why"),
    [
        (peer("other"), node("productpage-1"), "may not have the configuration of namespace"),
        (peer("default", "thief"), node("productpage-1"), "may not have the configuration of pod"),
        (peer(), node("no-such-pod"), "there is no pod"),
        (xds.Peer("memory:1"), node(), "a client certificate with one SPIFFE id is required"),
        (xds.Peer("memory:1", ("spiffe://evil/ns/default/sa/default",)), node(), "trust domain"),
        (xds.Peer("memory:1", ("https://example.com",)), node(), "not a workload's SPIFFE id"),
        (peer(), {"id": "sidecar~x"}, "the node id is not"),
        (peer(), {"id": "router~1.2.3.4~productpage-1.default~x"}, "is no router"),
        (peer(), {"id": "ztunnel~1.2.3.4~productpage-1.default~x"}, "names no sidecar or router"),
    ],
)
def test_configuration_goes_only_to_whom_it_belongs(
    who: xds.Peer, asks_for: dict[str, str], why: str
) -> None:

    plane = Plane(*WORLD)
    message = base_pb2.Node(**asks_for).SerializeToString()
    refusal = admit(who, message, plane.graph.store.get, TRUSTED)
    assert isinstance(refusal, xds.Refusal)
    assert why in refusal.message


def test_the_pods_own_labels_count_not_what_the_proxy_says() -> None:

    message = base_pb2.Node(id=node()["id"])
    message.metadata.update({"LABELS": {"app": "reviews"}, "NAMESPACE": "other"})
    plane = Plane(*WORLD)
    admitted = admit(peer(), message.SerializeToString(), plane.graph.store.get, TRUSTED)
    assert isinstance(admitted, xds.Admission)
    assert dict(admitted.group.labels)["app"] == "productpage"  # type: ignore[attr-defined]  # a Role
    assert admitted.group.namespace == Namespace("default")  # type: ignore[attr-defined]  # a Role


async def test_a_source_label_in_a_rule_gives_its_clients_other_routes(
    client: DeltaClient | SotwClient,
) -> None:
    """The rule splits the namespace's scope in two: only the proxies that it is for change."""
    async with Plane(*WORLD).running() as plane, in_memory(plane.server, client, peer()) as stream:
        await synced(stream)
        rule = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ratings, namespace: default}
spec:
  hosts: [ratings]
  http:
    - match: [{sourceLabels: {app: SOURCE}}]
      directResponse: {status: 418}
    - route: [{destination: {host: ratings}}]
"""
        plane.graph.apply(rule.replace("SOURCE", "somebody-else"))
        await plane.server.wait_acknowledged(plane.graph.store.revision, 10)
        assert ratings_route(client).HasField("route")
        plane.graph.apply(rule.replace("SOURCE", "productpage"))
        await stream.until(lambda: ratings_route(client).direct_response.status == 418)


def ratings_route(client: DeltaClient | SotwClient) -> route_components_pb2.Route:
    table = route_pb2.RouteConfiguration.FromString(client.have[type_urls.ROUTE]["9080"])
    (ratings,) = [host for host in table.virtual_hosts if host.name.startswith("ratings.")]
    return ratings.routes[0]
