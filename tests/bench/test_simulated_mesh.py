"""The mesh of the control plane's benchmark is what its shape says, and the proxies behave."""

from collections import Counter
from pathlib import Path

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.service.discovery.v3 import discovery_pb2

from argosy.api.core_pod import Pod
from argosy.base.names import Hostname, Namespace, ObjectKey
from argosy.pilot.graph import world
from argosy.store.journal import Journal
from argosy.testing.graph import Graph
from argosy.xds.type_urls import CLUSTER, ENDPOINT, LISTENER
from bench.fleet import Member, ReferenceCache
from bench.simulated_mesh import (
    Shape,
    host,
    objects,
    proxies,
    virtual_service,
    write_journal,
)

SMALL = Shape(services=12, endpoints=3, namespaces=4, ports=2, workloads=5, replicas=2)


def test_shape_is_kept() -> None:
    made = list(objects(SMALL))
    kinds = Counter(value.kind for value in made)
    assert kinds == {"Namespace": 4, "Service": 12, "Pod": 36}
    assert len({value.key for value in made}) == len(made)
    services = Counter(v.metadata.namespace for v in made if v.kind == "Service")
    assert set(services.values()) == {3}
    assert Counter(SMALL.port(number) for number in range(12)) == {8000: 8, 8001: 4}
    addresses = {v.status.pod_ip for v in made if isinstance(v, Pod) and v.status}
    assert len(addresses) == 36


def test_proxies_are_pods_and_replicas_share_a_role() -> None:
    found = proxies(SMALL)
    pods = {value.key for value in objects(SMALL) if value.kind == "Pod"}
    assert len(found) == SMALL.proxies == 10
    assert {ObjectKey("Pod", Namespace(p.namespace), p.pod) for p in found} < pods
    assert len({proxy.role for proxy in found}) == 5
    assert found[0].node_id == (
        "sidecar~10.1.1.1~service-0000-00.team-00~team-00.svc.cluster.local"
    )


def test_every_service_has_its_ready_endpoints() -> None:
    graph = Graph()
    graph.put(objects(SMALL))
    for service in range(SMALL.services):
        found = graph.engine.value(
            world.service_endpoints,
            Namespace(SMALL.namespace(service)),
            Hostname(host(SMALL, service)),
            SMALL.port(service),
        )
        assert isinstance(found, tuple)
        assert len(found) == 3
        assert all(endpoint.mtls for endpoint in found)


def test_a_change_of_the_rules_changes_routes() -> None:
    graph = Graph()
    graph.put(objects(SMALL))
    for role in {proxy.role for proxy in proxies(SMALL)}:
        graph.observe(role)
    graph.apply(virtual_service(SMALL, 0, 1000))
    again = graph.apply(virtual_service(SMALL, 0, 1001))
    assert again
    assert not graph.apply(virtual_service(SMALL, 0, 1001))
    assert not graph.problems("VirtualService", SMALL.namespace(0), "service-0000")


def test_journal_holds_the_mesh(tmp_path: Path) -> None:
    write_journal(SMALL, tmp_path / "store.db")
    journal = Journal(tmp_path / "store.db")
    assert Counter(row.key.kind for row in journal.open().rows)["Pod"] == 36
    journal.close()


@pytest.mark.parametrize("field", ["workloads", "replicas"])
def test_impossible_shapes(field: str) -> None:
    with pytest.raises(AssertionError):
        Shape(services=2, endpoints=2, **{"workloads": 1, "replicas": 1, field: 3})


def test_member_acknowledges_and_asks_once_for_what_clusters_name() -> None:
    member = Member(proxies(SMALL)[0], ReferenceCache())
    first = [discovery_pb2.DeltaDiscoveryRequest.FromString(raw) for raw in member.first()]
    assert [request.type_url for request in first] == [CLUSTER, LISTENER]
    assert first[0].node.id == member.proxy.node_id

    def clusters(nonce: str, *names: str) -> bytes:
        response = discovery_pb2.DeltaDiscoveryResponse(type_url=CLUSTER, nonce=nonce)
        for name in names:
            cluster = cluster_pb2.Cluster(name=name, type=cluster_pb2.Cluster.EDS)
            cluster.eds_cluster_config.eds_config.ads.SetInParent()
            one = response.resources.add(name=name, version="1")
            one.resource.value = cluster.SerializeToString()
        return bytes(response.SerializeToString())

    def parsed(raw: bytes) -> list[discovery_pb2.DeltaDiscoveryRequest]:
        return [discovery_pb2.DeltaDiscoveryRequest.FromString(one) for one in member.answer(raw)]

    ack, more = parsed(clusters("1", "b", "a"))
    assert (ack.type_url, ack.response_nonce) == (CLUSTER, "1")
    assert not ack.HasField("error_detail")
    assert (more.type_url, list(more.resource_names_subscribe)) == (ENDPOINT, ["a", "b"])
    (ack,) = parsed(clusters("2", "a"))
    assert ack.response_nonce == "2"
    _, more = parsed(clusters("3", "a", "c"))
    assert list(more.resource_names_subscribe) == ["c"]
