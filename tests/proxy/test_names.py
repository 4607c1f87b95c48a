"""Service names mean what they mean in a Kubernetes cluster."""

import pytest

from argosy.proxy.names import Addresses, HostRecord, NameTable, NoSuchName, NotOurs, Record

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


HOSTED = NameTable(
    (Record("reviews", "default", ("10.96.0.1",)),),
    hosts=(
        HostRecord("api.example.com", "a", ("240.240.0.1",), frozenset({"a"})),
        HostRecord("api.example.com", "b", ("240.240.0.2",)),
        HostRecord("*.example.com", "b", ("192.0.2.9",)),
        HostRecord("reviews.default.svc.cluster.local", "b", ("192.0.2.1",)),
    ),
)


def test_hosts_of_entries() -> None:
    """One's own namespace's counts first, then what is exported; the longest wildcard last."""
    assert HOSTED.resolve("API.example.com", "a") == Addresses(("240.240.0.1",))
    assert HOSTED.resolve("api.example.com", "c") == Addresses(("240.240.0.2",))
    assert HOSTED.resolve("x.y.example.com", "c") == Addresses(("192.0.2.9",))
    assert HOSTED.resolve("example.com", "c") == NotOurs()
    assert HOSTED.resolve("reviews", "default") == Addresses(("10.96.0.1",))
    assert HOSTED.resolve("reviews.default.svc.cluster.local", "b") == Addresses(("10.96.0.1",)), (
        "a Service comes before an entry"
    )


def test_proxies_resolve_services_alone() -> None:
    """The host of an entry would lead a proxy back to itself."""
    assert HOSTED.resolve_service("api.example.com", "a") == NotOurs()
    assert HOSTED.resolve_service("reviews.default", "a") == Addresses(("10.96.0.1",))
