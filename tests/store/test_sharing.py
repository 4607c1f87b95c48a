"""Sharing gives equal objects, and the same parts to replicas."""

from hypothesis import given
from hypothesis import strategies as st

from argosy.api.core_pod import Pod
from argosy.store.sharing import Sharing
from argosy.testing.graph import Graph, a_pod, a_service, objects

RULES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: one, namespace: default}
spec:
  hosts: [one]
  http: [{timeout: 2s, route: [{destination: {host: one}}]}]
"""


def pod(name: str, address: str, **labels: str) -> Pod:
    (found,) = objects(a_pod(name, address, **labels))
    assert isinstance(found, Pod)
    return found


def test_replicas_share_their_spec_and_labels() -> None:
    sharing = Sharing()
    one = sharing.of(pod("one-1", "10.1.0.1", app="one"))
    two = sharing.of(pod("one-2", "10.1.0.2", app="one"))
    other = sharing.of(pod("other", "10.1.0.3", app="other"))
    assert isinstance(one, Pod)
    assert isinstance(two, Pod)
    assert isinstance(other, Pod)
    assert one.spec is two.spec is other.spec
    assert one.metadata.labels is two.metadata.labels
    assert other.metadata.labels == {"app": "other", "security.istio.io/tlsMode": "istio"}
    assert (two.metadata.name, two.status) != (one.metadata.name, one.status)


@given(st.permutations([a_pod("a", "10.1.0.1", app="x"), a_pod("b", "10.1.0.2"), RULES]))
def test_an_equal_object_comes_out(texts: list[str]) -> None:
    sharing = Sharing(capacity=2)
    for text in (*texts, *texts, a_service("s")):
        (value,) = objects(text)
        shared = sharing.of(value)
        assert shared == value
        assert type(shared) is type(value)


def test_only_so_many_parts_are_remembered() -> None:
    sharing = Sharing(capacity=1)
    first = sharing.of(pod("one-1", "10.1.0.1", app="one"))
    sharing.of(pod("two-1", "10.1.0.2", app="two"))
    again = sharing.of(pod("one-2", "10.1.0.3", app="one"))
    assert again.metadata.labels == first.metadata.labels
    assert again.metadata.labels is not first.metadata.labels


def test_the_store_shares() -> None:
    graph = Graph(a_pod("one-1", "10.1.0.1", app="one"), a_pod("one-2", "10.1.0.2", app="one"))
    one, two = graph.store.list("Pod")
    assert isinstance(one, Pod)
    assert isinstance(two, Pod)
    assert one.spec is two.spec
    assert one.status != two.status
