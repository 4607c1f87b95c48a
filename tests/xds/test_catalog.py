"""Logs of changes: what a stream reads after a generation, and what is forgotten when."""

from argosy.testing.xds.source import MemorySource
from argosy.xds import Change
from argosy.xds.catalog import Catalog
from argosy.xds.type_urls import CLUSTER


def a_catalog() -> tuple[MemorySource, Catalog]:
    source = MemorySource()
    source.scope("g", "mesh", "own")
    source.scope("h", "mesh")
    source.put("mesh", CLUSTER, "a", b"1")
    source.changes()
    return source, Catalog(source)


def touched(catalog: Catalog, generation: int) -> list[str]:
    return [n for log in catalog.logs("g", CLUSTER) for n, _ in log.since(generation)]


def test_a_log_says_what_was_touched_since() -> None:
    _, catalog = a_catalog()
    catalog.logs("g", CLUSTER)
    for name in ("a", "b", "a"):
        catalog.publish([Change("mesh", CLUSTER, changed=frozenset({name}))])
    assert touched(catalog, 1) == ["a", "b"]
    assert touched(catalog, 3) == ["a"]
    assert touched(catalog, 4) == []


def test_layers_are_shared_by_groups() -> None:
    source, catalog = a_catalog()
    assert catalog.logs("g", CLUSTER)[0] is catalog.logs("h", CLUSTER)[0]
    source.put("own", CLUSTER, "o", b"1")
    concerned = catalog.publish(source.changes())
    assert set(concerned) == {"g"}
    source.put("mesh", CLUSTER, "a", b"2")
    assert set(catalog.publish(source.changes())) == {"g", "h"}


def test_the_wildcard_set_follows_what_appears_and_vanishes() -> None:
    source, catalog = a_catalog()
    assert catalog.wildcard("g", CLUSTER) == {"a"}
    source.put("own", CLUSTER, "o", b"1")
    catalog.publish(source.changes())
    assert catalog.wildcard("g", CLUSTER) == {"a", "o"}
    assert catalog.wildcard("h", CLUSTER) == {"a"}
    source.remove("mesh", CLUSTER, "a")
    catalog.publish(source.changes())
    assert catalog.wildcard("g", CLUSTER) == {"o"}


def test_a_layer_is_dropped_with_its_last_group() -> None:
    source, catalog = a_catalog()
    catalog.logs("g", CLUSTER)
    catalog.logs("h", CLUSTER)
    assert catalog.sizes()["layers"] == 2
    catalog.forget("g")
    assert catalog.sizes()["layers"] == 1
    catalog.forget("h")
    assert catalog.sizes()["layers"] == 0
    assert source.forgotten == ["g", "h"]


def test_trimming_forgets_what_everybody_read() -> None:
    _, catalog = a_catalog()
    catalog.logs("g", CLUSTER)
    for name in ("a", "b", "c"):
        catalog.publish([Change("mesh", CLUSTER, changed=frozenset({name}))])
    catalog.trim(3)
    assert catalog.sizes()["changes"] == 1
    assert touched(catalog, 3) == ["c"]


def test_a_new_order_of_layers_affects_names_that_several_have() -> None:
    source, catalog = a_catalog()
    source.put("own", CLUSTER, "a", b"2")
    source.put("own", CLUSTER, "o", b"2")
    catalog.logs("g", CLUSTER)
    source.scope("g", "own", "mesh")
    (rescope,) = catalog.rescope("g")
    assert rescope.names == {"a"}
    assert catalog.rescope("g") == ()
