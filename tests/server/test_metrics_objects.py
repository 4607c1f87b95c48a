"""What the store's events add up to."""

from argosy.api.core import Namespace, Service
from argosy.api.meta import Metadata
from argosy.api.networking_service_entry import ServiceEntry, ServiceEntrySpec
from argosy.server.metrics.objects import ObjectCounts, reason
from argosy.store.store import Store
from argosy.store.transaction import Delete, Put


def _service(**labels: str) -> Service:
    return Service(metadata=Metadata(name="a", namespace="default", labels=labels))


def _entry(*hosts: str) -> ServiceEntry:
    metadata = Metadata(name="e", namespace="default")
    return ServiceEntry(metadata=metadata, spec=ServiceEntrySpec(hosts=hosts))


def test_counts_follow_the_store(store: Store) -> None:
    counts = ObjectCounts()
    store.subscribe(counts.receive)
    store.apply([Put(Namespace(api_version="v1", metadata=Metadata(name="default")))])
    store.apply([Put(_service()), Put(_entry("a.com", "b.com"))])
    assert counts.services == 3
    assert counts.objects == {"Namespace": 1, "Service": 1, "ServiceEntry": 1}
    store.apply([Put(_service(x="y")), Put(_entry("a.com"))])
    assert counts.services == 2
    assert counts.objects["Service"] == 1
    assert counts.events["Service", "update"] == 1
    store.apply([Delete(_service().key), Delete(_entry().key)])
    assert counts.services == 0
    assert (counts.objects["Service"], counts.objects["ServiceEntry"]) == (0, 0)
    assert counts.events["ServiceEntry", "delete"] == 1
    assert counts.updates == {"config": 1, "svc": 4, "svcdelete": 2}


def test_reasons_are_istios() -> None:
    assert [reason(kind) for kind in ("Pod", "ServiceEntry", "Secret", "VirtualService")] == [
        "endpoint",
        "service",
        "secret",
        "config",
    ]
