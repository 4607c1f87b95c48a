"""Endpoints: who is selected, on which port, how healthy, and with what identity."""

import dataclasses
import random

from hypothesis import given
from hypothesis import strategies as st

from argosy.base.names import Hostname, Namespace
from argosy.model.authn import MtlsMode
from argosy.model.service import Protocol, Service, ServicePort
from argosy.model.workload import Endpoint, Health, Workload
from argosy.pilot.compile.endpoints import (
    EndpointSummary,
    endpoints,
    serving,
    summary,
    workload_name,
)

DEFAULT = Namespace("default")
PORT = ServicePort(9080, "http", Protocol.HTTP, 8080)
SERVICE = Service(
    Hostname("reviews.default.svc.cluster.local"),
    "reviews",
    DEFAULT,
    (PORT,),
    selector=(("app", "reviews"),),
)


def a_workload(
    number: int = 1,
    *,
    version: str = "v1",
    app: str = "reviews",
    health: Health = Health.HEALTHY,
    meshed: bool = True,
    namespace: str = "default",
) -> Workload:
    return Workload(
        name=f"{app}-{number}",
        namespace=Namespace(namespace),
        address=f"10.244.0.{number}",
        labels=(("app", app), ("version", version)),
        service_account="sa",
        container_ports=(("web", 8000 + number),),
        health=health,
        meshed=meshed,
    )


def permissive(_workload: Workload, _port: int) -> MtlsMode:
    return MtlsMode.PERMISSIVE


def found(
    *workloads: Workload, service: Service = SERVICE, port: ServicePort = PORT
) -> tuple[Endpoint, ...]:
    return endpoints(service, port, workloads, permissive, "cluster.local")


def test_an_endpoint() -> None:
    (one,) = found(a_workload())
    assert (one.address, one.port) == ("10.244.0.1", 8080)
    assert one.identity == "spiffe://cluster.local/ns/default/sa/sa"
    assert one.mtls
    assert one.workload == "reviews-1;default;reviews;v1;Kubernetes;reviews;v1"


def test_only_selected_workloads_of_the_same_namespace() -> None:
    assert found(a_workload(app="ratings"), a_workload(namespace="other")) == ()
    assert found(a_workload(), service=dataclasses.replace(SERVICE, selector=())) == ()


def test_named_target_ports_are_each_workloads_own() -> None:
    named = dataclasses.replace(PORT, target="web")
    assert [e.port for e in found(a_workload(1), a_workload(2), port=named)] == [8001, 8002]
    assert found(a_workload(), port=dataclasses.replace(PORT, target="absent")) == ()


def test_clients_are_sent_the_ready_and_the_draining() -> None:
    health = [Health.HEALTHY, Health.DRAINING, Health.UNHEALTHY]
    all_of_them = found(*(a_workload(n, health=h) for n, h in enumerate(health, 1)))
    assert len(all_of_them) == 3
    assert [e.health for e in serving(all_of_them)] == [Health.HEALTHY, Health.DRAINING]


def test_addresses_published_before_readiness() -> None:
    eager = dataclasses.replace(SERVICE, publish_not_ready=True)
    unready = a_workload(health=Health.UNHEALTHY)
    assert [e.health for e in serving(found(unready, service=eager))] == [Health.HEALTHY]
    leaving = a_workload(health=Health.DRAINING)
    assert [e.health for e in serving(found(leaving, service=eager))] == [Health.DRAINING]


def test_subsets_by_labels() -> None:
    both = found(a_workload(1), a_workload(2, version="v2"))
    assert [e.address for e in serving(both, (("version", "v2"),))] == ["10.244.0.2"]


def test_mtls_needs_a_sidecar_that_accepts_it_on_that_port() -> None:
    def refused(_workload: Workload, port: int) -> MtlsMode:
        return MtlsMode.DISABLE if port == 8080 else MtlsMode.STRICT

    (one,) = endpoints(SERVICE, PORT, [a_workload()], refused, "cluster.local")
    assert not one.mtls
    (legacy,) = found(a_workload(meshed=False))
    assert not legacy.mtls


def test_grpc_without_sidecar_takes_mtls_only_where_it_takes_nothing_else() -> None:
    grpc = dataclasses.replace(PORT, protocol=Protocol.GRPC)
    workload = dataclasses.replace(a_workload(), proxyless=True)
    for port, mode, expected in (
        (grpc, MtlsMode.STRICT, True),
        (grpc, MtlsMode.PERMISSIVE, False),
        (PORT, MtlsMode.STRICT, False),
    ):
        (one,) = endpoints(SERVICE, port, [workload], lambda _w, _p, m=mode: m, "cluster.local")
        assert (one.mtls, one.strict) == (expected, expected)


def test_summary_does_not_change_with_readiness() -> None:
    ready = found(a_workload(1), a_workload(2))
    unready = found(a_workload(1, health=Health.UNHEALTHY))
    expected = EndpointSummary(
        ("spiffe://cluster.local/ns/default/sa/sa",), all_mtls=True, all_strict=False
    )
    assert summary(ready) == summary(unready) == expected
    mixed = found(a_workload(1), a_workload(2, meshed=False))
    assert not summary(mixed).all_mtls
    assert summary(()) == EndpointSummary((), all_mtls=True)


def test_workload_names_come_from_what_made_the_pod() -> None:
    template = {"pod-template-hash": "5d8f9c7b6"}
    assert workload_name("reviews-v1-5d8f9c7b6-x2x9z", template) == "reviews-v1"
    assert workload_name("r" * 50 + "-5d8f9c-x2x9z", template) == "r" * 50
    assert workload_name("web-x2x9z", template) == "web-x2x9z"
    assert workload_name("web-0", {}) == "web-0"
    assert workload_name("x", {"service.istio.io/workload-name": "w"}) == "w"


@given(
    st.lists(
        st.builds(
            a_workload,
            st.integers(1, 9),
            version=st.sampled_from(["v1", "v2"]),
            health=st.sampled_from(Health),
            meshed=st.booleans(),
            app=st.sampled_from(["reviews", "ratings"]),
        ),
        max_size=8,
        unique_by=lambda w: w.name,
    ),
    st.randoms(use_true_random=False),
)
def test_order_does_not_matter(workloads: list[Workload], shuffler: random.Random) -> None:
    expected = found(*workloads)
    shuffler.shuffle(workloads)
    assert found(*workloads) == expected
