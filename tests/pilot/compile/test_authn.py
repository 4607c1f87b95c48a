"""PeerAuthentication: precedence as Istio documents it."""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.api.security import PeerAuthentication
from argosy.base.names import Namespace
from argosy.model.authn import MtlsMode
from argosy.pilot.compile.authn import check, demands

DISABLE, PERMISSIVE, STRICT = MtlsMode.DISABLE, MtlsMode.PERMISSIVE, MtlsMode.STRICT
DEFAULT = Namespace("default")
LABELS = (("app", "reviews"), ("version", "v1"))
REVIEWS = {"app": "reviews"}


def policy(
    mode: str | None = None,
    *,
    namespace: str = "default",
    selector: dict[str, str] | None = None,
    ports: dict[int, str] | None = None,
    name: str = "p",
    created: str = "",
) -> PeerAuthentication:
    spec: dict[str, Any] = {}
    if mode is not None:
        spec["mtls"] = {"mode": mode}
    if selector is not None:
        spec["selector"] = {"matchLabels": selector}
    if ports is not None:
        spec["portLevelMtls"] = {port: {"mode": m} for port, m in ports.items()}
    metadata = {"name": name, "namespace": namespace, "creationTimestamp": created}
    return msgspec.convert(
        {"kind": "PeerAuthentication", "metadata": metadata, "spec": spec}, PeerAuthentication
    )


def mode_of(*policies: PeerAuthentication, port: int | None = None) -> MtlsMode:
    root = [p for p in policies if p.metadata.namespace == "istio-system"]
    own = [p for p in policies if p.metadata.namespace == "default"]
    return demands(root, own, DEFAULT, LABELS).mode(port)


MESH_STRICT = policy("STRICT", namespace="istio-system")


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ((), PERMISSIVE),
        ((MESH_STRICT,), STRICT),
        ((policy("STRICT"),), STRICT),
        ((MESH_STRICT, policy("DISABLE")), DISABLE),
        ((MESH_STRICT, policy("UNSET")), STRICT),
        ((MESH_STRICT, policy()), STRICT),
        ((policy("UNSET"),), PERMISSIVE),
        ((MESH_STRICT, policy("DISABLE"), policy("PERMISSIVE", selector=REVIEWS)), PERMISSIVE),
        ((policy("STRICT", selector=REVIEWS),), STRICT),
        ((policy("STRICT", selector={"app": "other"}),), PERMISSIVE),
        ((policy("STRICT", selector={"app": "reviews", "x": "y"}),), PERMISSIVE),
        ((policy("STRICT", selector={}),), STRICT),
        ((policy("STRICT"), policy("UNSET", selector=REVIEWS, name="w")), STRICT),
        ((policy("STRICT", namespace="istio-system", selector=REVIEWS),), PERMISSIVE),
    ],
)
def test_precedence(policies: tuple[PeerAuthentication, ...], expected: MtlsMode) -> None:
    assert mode_of(*policies) is expected


def test_the_oldest_wins() -> None:
    old = policy("STRICT", name="z", created="2026-01-01T00:00:00Z")
    new = policy("DISABLE", name="a", created="2026-01-02T00:00:00Z")
    assert mode_of(new, old) is STRICT
    (problem,) = check([new, old])
    assert problem.object == new.key
    assert str(old.key) in problem.message


def test_ports() -> None:
    ports = policy("STRICT", selector=REVIEWS, ports={9080: "DISABLE", 9081: "UNSET"})
    assert mode_of(ports, port=9080) is DISABLE
    assert mode_of(ports, port=9081) is STRICT
    assert mode_of(ports, port=9082) is STRICT
    assert mode_of(ports, port=None) is STRICT


def test_ports_need_a_selector() -> None:
    ports = policy("STRICT", ports={9080: "DISABLE"})
    assert mode_of(ports, port=9080) is STRICT


def test_policies_for_different_workloads_do_not_conflict() -> None:
    assert check([policy("STRICT"), policy("STRICT", selector=REVIEWS, name="w")]) == ()


def test_in_the_root_namespace_a_policy_holds_for_its_own_workloads_too() -> None:
    root = Namespace("istio-system")
    selecting = policy("STRICT", namespace="istio-system", selector=REVIEWS)
    assert demands([selecting], [selecting], root, LABELS).mode(None) is STRICT


@given(
    st.lists(
        st.builds(
            policy,
            st.sampled_from([None, "UNSET", "DISABLE", "PERMISSIVE", "STRICT"]),
            namespace=st.sampled_from(["default", "istio-system"]),
            selector=st.sampled_from([None, {}, REVIEWS, {"version": "v1"}]),
            ports=st.sampled_from([None, {9080: "STRICT"}]),
            name=st.text("abc", min_size=1, max_size=4),
            created=st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]),
        ),
        max_size=6,
        unique_by=lambda p: (p.metadata.namespace, p.metadata.name),
    ),
    st.randoms(use_true_random=False),
)
def test_order_does_not_matter(policies: list[PeerAuthentication], shuffler: random.Random) -> None:
    expected = [mode_of(*policies, port=port) for port in (None, 9080)]
    problems = check(p for p in policies if p.metadata.namespace == "default")
    shuffler.shuffle(policies)
    assert [mode_of(*policies, port=port) for port in (None, 9080)] == expected
    assert check(p for p in policies if p.metadata.namespace == "default") == problems
