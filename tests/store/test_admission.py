"""Cluster IPs as in https://kubernetes.io/docs/concepts/services-networking/cluster-ip-allocation/."""

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from argosy.api.core import Namespace as NamespaceObject
from argosy.api.core import Service, ServiceSpec
from argosy.api.meta import Metadata
from argosy.api.registry import KINDS
from argosy.base.clock import SystemClock
from argosy.base.names import Namespace, ObjectKey
from argosy.store.admission import KubernetesAdmission, deletions
from argosy.store.store import Store
from argosy.store.transaction import Delete, InvalidError, Put

NAMESPACED = {entry.kind: entry.namespaced for entry in KINDS}


def cluster_ip(store: Store, name: str) -> str:
    value = store.require(ObjectKey("Service", Namespace("default"), name))
    assert isinstance(value, Service)
    assert value.spec.cluster_ips == ((value.spec.cluster_ip,) if value.spec.cluster_ip else ())
    return value.spec.cluster_ip


def refusal(store: Store, value: Service) -> tuple[str, str]:
    with pytest.raises(InvalidError) as caught:
        store.apply([Put(value)])
    (problem,) = caught.value.problems
    return problem.field, problem.code


def test_an_address_is_allocated_by_name(new_store: Any, objects: Any) -> None:
    first, second = new_store(), new_store()
    first.apply([Put(objects.service("a")), Put(objects.service("b"))])
    second.apply([Put(objects.service("b"))])
    assert IPv4Address(cluster_ip(first, "b")) in IPv4Network("10.96.0.0/16")
    assert cluster_ip(first, "b") == cluster_ip(second, "b")
    assert cluster_ip(first, "a") != cluster_ip(first, "b")


def test_a_taken_address_is_passed_over(store: Store, new_store: Any, objects: Any) -> None:
    other = new_store()
    other.apply([Put(objects.service("b"))])
    taken = cluster_ip(other, "b")
    store.apply([Put(objects.service("a", taken))])
    store.apply([Put(objects.service("b"))])
    assert cluster_ip(store, "a") == taken
    assert IPv4Address(cluster_ip(store, "b")) == IPv4Address(taken) + 1
    store.apply([Delete(ObjectKey("Service", Namespace("default"), "a"))])
    store.apply([Put(objects.service("c", taken))])
    assert cluster_ip(store, "c") == taken


def test_headless_and_external_services_have_none(store: Store, objects: Any) -> None:
    store.apply(
        [Put(objects.service("h", "None")), Put(objects.service("e", service_type="ExternalName"))]
    )
    assert cluster_ip(store, "h") == "None"
    assert cluster_ip(store, "e") == ""
    assert refusal(store, objects.service("f", "10.96.0.9", "ExternalName")) == (
        "spec.clusterIP",
        "Forbidden",
    )


def test_an_address_is_kept_across_updates(store: Store, objects: Any) -> None:
    store.apply([Put(objects.service("a")), Put(objects.service("h", "None"))])
    before = cluster_ip(store, "a")
    store.apply(
        [
            Put(objects.service("a", service_type="LoadBalancer")),
            Put(objects.service("h", service_type="NodePort")),
        ]
    )
    assert cluster_ip(store, "a") == before
    assert cluster_ip(store, "h") == "None"


def test_an_address_does_not_change(store: Store, objects: Any) -> None:
    store.apply([Put(objects.service("a", "10.96.0.77"))])
    assert refusal(store, objects.service("a", "10.96.0.78")) == ("spec.clusterIP", "Immutable")
    assert refusal(store, objects.service("a", "None")) == ("spec.clusterIP", "Immutable")
    store.apply([Put(objects.service("a", service_type="ExternalName"))])
    assert cluster_ip(store, "a") == ""
    store.apply([Put(objects.service("a", "10.96.0.78"))])
    assert cluster_ip(store, "a") == "10.96.0.78"


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("10.96.0.0", "OutOfRange"),
        ("10.96.0.1", "OutOfRange"),
        ("10.96.255.255", "OutOfRange"),
        ("192.168.1.1", "OutOfRange"),
        ("fd00::1", "Invalid"),
        ("nonsense", "Invalid"),
        ("10.96.0.50", "AlreadyAllocated"),
    ],
)
def test_an_address_that_cannot_be_had(store: Store, objects: Any, address: str, code: str) -> None:
    store.apply([Put(objects.service("first", "10.96.0.50"))])
    assert refusal(store, objects.service("a", address)) == ("spec.clusterIP", code)


def test_the_two_fields_must_agree(store: Store, objects: Any) -> None:
    one = objects.service("a", "10.96.0.9")
    spec = structs.replace(one.spec, cluster_ips=("10.96.0.8",))
    assert refusal(store, structs.replace(one, spec=spec))[1] == "Invalid"
    spec = structs.replace(one.spec, cluster_ip="", cluster_ips=("10.96.0.8",))
    store.apply([Put(structs.replace(one, spec=spec))])
    assert cluster_ip(store, "a") == "10.96.0.8"


_names = st.lists(st.sampled_from("abcdefgh"), max_size=30)


@given(_names)
def test_no_two_services_share_an_address(names: list[str]) -> None:
    """Every second mention deletes; all ask for one of two neighbouring addresses or any."""
    store = Store(clock=SystemClock(), uids=lambda: "u", admission=KubernetesAdmission(NAMESPACED))
    for number, name in enumerate(names):
        key = ObjectKey("Service", Namespace("default"), name)
        if store.get(key):
            store.apply([Delete(key)])
            continue
        wanted = ("", "10.96.0.9", "10.96.0.10")[number % 3]
        value = Service(metadata=Metadata(name=name), spec=ServiceSpec(cluster_ip=wanted))
        store.apply_valid([Put(value)])
    held = [service.spec.cluster_ip for service in store.list("Service")]  # type: ignore[attr-defined]  # Services.
    assert len(set(held)) == len(held)
    assert all(held)


def test_a_namespace_takes_its_objects_along(store: Store, objects: Any) -> None:
    store.apply(
        [
            Put(NamespaceObject(metadata=Metadata(name="x"))),
            Put(objects.policy("a", namespace="x")),
            Put(objects.service("s", namespace="x")),
            Put(objects.policy("a", namespace="y")),
        ]
    )
    key = ObjectKey("Namespace", Namespace(""), "x")
    store.apply(deletions(key, NAMESPACED, store.list))
    assert [str(event.key) for event in store.snapshot()] == ["PeerAuthentication y/a"]
    other = ObjectKey("PeerAuthentication", Namespace("y"), "a")
    assert deletions(other, NAMESPACED, store.list) == (Delete(other),)
