"""Addresses of ServiceEntries' hosts: found by the name, kept, and never given twice."""

from argosy.api.networking_service_entry import ServiceEntry
from argosy.testing.graph import Graph


def entry(name: str, *hosts: str, resolution: str = "DNS", label: str = "", extra: str = "") -> str:
    labels = f', labels: {{networking.istio.io/enable-autoallocate-ip: "{label}"}}' if label else ""
    names = ", ".join(f'"{host}"' for host in hosts)
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: default{labels}}}
spec:
  hosts: [{names}]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: {resolution}
  {extra}
"""


def addresses(graph: Graph, name: str) -> dict[str, str]:
    found = [o for o in graph.store.list("ServiceEntry") if o.metadata.name == name]
    assert isinstance(found[0], ServiceEntry)
    status = found[0].status
    return {} if status is None else {a.host: a.value for a in status.addresses}


def test_addresses_are_kept_as_long_as_the_host_is_there() -> None:
    graph = Graph(entry("one", "a.example.com", "b.example.com"))
    first = addresses(graph, "one")
    assert set(first) == {"a.example.com", "b.example.com"}
    assert len(set(first.values())) == 2
    assert all(value.startswith("240.240.") for value in first.values())
    graph.apply(entry("one", "c.example.com", "a.example.com"))
    second = addresses(graph, "one")
    assert second["a.example.com"] == first["a.example.com"]
    assert set(second) == {"a.example.com", "c.example.com"}
    assert addresses(Graph(entry("one", "a.example.com", "b.example.com")), "one") == first


def test_many_hosts_have_addresses_of_their_own() -> None:
    texts = [entry(f"e{i}", *(f"h{i}-{j}.example.com" for j in range(20))) for i in range(50)]
    graph = Graph(*texts)
    found = [a for i in range(50) for a in addresses(graph, f"e{i}").values()]
    assert len(found) == len(set(found)) == 1000


def test_who_has_none() -> None:
    without = {
        "none": entry("none", "a.example.com", resolution="NONE"),
        "dynamic": entry("dynamic", "*.example.com", resolution="DYNAMIC_DNS"),
        "own": entry("own", "b.example.com", extra="addresses: [192.0.2.1]"),
        "switched": entry("switched", "c.example.com", label="false"),
        "wild": entry("wild", "*.example.com", resolution="STATIC"),
    }
    graph = Graph(*without.values())
    assert [addresses(graph, name) for name in without] == [{}] * len(without)
    graph.apply(entry("switched", "c.example.com", label="true"))
    assert set(addresses(graph, "switched")) == {"c.example.com"}
