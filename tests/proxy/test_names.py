"""Service names mean what they mean in a Kubernetes cluster."""

import pytest

from argosy.proxy.names import Addresses, NameTable, NoSuchName, NotOurs, Record

TABLE = NameTable(
    [
        Record("reviews", "default", ("10.96.0.7",)),
        Record("reviews", "other", ("10.96.0.8",)),
        Record("db", "default", ()),
    ]
)


@pytest.mark.parametrize(
    "name",
    ["reviews", "reviews.default", "reviews.default.svc", "reviews.default.svc.cluster.local"],
)
def test_every_form_of_a_service_name(name: str) -> None:
    assert TABLE.resolve(name, "default") == Addresses(("10.96.0.7",))


def test_a_short_name_is_of_the_clients_own_namespace() -> None:
    assert TABLE.resolve("reviews", "other") == Addresses(("10.96.0.8",))
    assert TABLE.resolve("reviews", "third") == NotOurs()


def test_case_does_not_matter() -> None:
    assert TABLE.resolve("Reviews.Default.SVC.Cluster.Local", "x") == Addresses(("10.96.0.7",))


def test_a_headless_service_without_endpoints_exists() -> None:
    assert TABLE.resolve("db", "default") == Addresses(())


@pytest.mark.parametrize(
    "name", ["nope.default.svc.cluster.local", "cluster.local", "a.b.c.default.svc.cluster.local"]
)
def test_the_clusters_domain_is_never_asked_for_outside(name: str) -> None:
    assert TABLE.resolve(name, "default") == NoSuchName()


@pytest.mark.parametrize("name", ["example.com", "www.example.com", "reviews.default.example.com"])
def test_other_names_are_not_ours(name: str) -> None:
    assert TABLE.resolve(name, "default") == NotOurs()


def test_pods_of_a_headless_service_have_names_below_it() -> None:
    table = NameTable([Record("web", "ns", ("10.0.0.1", "10.0.0.2"), (("web-0", "10.0.0.1"),))])
    first = Addresses(("10.0.0.1",))
    for name in ("web-0.web", "web-0.web.ns", "web-0.web.ns.svc", "WEB-0.web.ns.svc.cluster.local"):
        assert table.resolve(name, "ns") == first, name
    assert table.resolve("web-0.web", "other") == NotOurs()
    assert table.resolve("web-0.web.ns", "other") == first
    assert table.resolve("web-9.web.ns.svc.cluster.local", "ns") == NoSuchName()
