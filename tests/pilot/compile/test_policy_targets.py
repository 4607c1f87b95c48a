"""For which workloads and gateways a policy holds.

https://istio.io/latest/docs/reference/config/security/authorization-policy/
"""

import pytest

from argosy.api.meta import WorkloadSelector
from argosy.api.policy_target import GATEWAY_API, PolicyTargetReference
from argosy.base.names import Namespace
from argosy.model.policy_scope import Attached, Everyone, PolicyScope, Selected
from argosy.model.workload import sorted_labels
from argosy.pilot.compile.policy_targets import holds_for, policy_scope

ROOT = "istio-system"
GATEWAY_LABELS = {"gateway.networking.k8s.io/gateway-name": "front"}


def target(kind: str, name: str, group: str = GATEWAY_API) -> PolicyTargetReference:
    return PolicyTargetReference(group=group, kind=kind, name=name)


def test_the_scope_of_the_written_fields() -> None:
    nothing: tuple[PolicyTargetReference, ...] = ()
    assert policy_scope(None, None, nothing) == Everyone()
    assert policy_scope(WorkloadSelector(), None, nothing) == Everyone()
    selector = WorkloadSelector(match_labels={"b": "2", "a": "1"})
    assert policy_scope(selector, None, nothing) == Selected((("a", "1"), ("b", "2")))
    assert policy_scope(None, target("Gateway", "front"), nothing) == Attached(("front",))
    both = (target("Gateway", "b"), target("Gateway", "a"))
    assert policy_scope(None, None, both) == Attached(("a", "b"))


@pytest.mark.parametrize(
    ("kind", "group"),
    [
        ("GatewayClass", GATEWAY_API),
        ("Service", ""),
        ("ServiceEntry", "networking.istio.io"),
        ("Gateway", "networking.istio.io"),
    ],
)
def test_what_is_a_target_for_waypoints_only_holds_for_nobody(kind: str, group: str) -> None:
    scope = policy_scope(None, target(kind, "front", group), ())
    assert scope == Attached(())
    labels = sorted_labels(GATEWAY_LABELS)
    assert not holds_for(scope, Namespace("prod"), ROOT, Namespace("prod"), labels)


@pytest.mark.parametrize(
    ("scope", "policy_namespace", "namespace", "labels", "expected"),
    [
        (Everyone(), "prod", "prod", {}, True),
        (Everyone(), "prod", "prod-x", {}, False),
        (Everyone(), ROOT, "prod", {}, True),
        (Selected((("app", "a"),)), "prod", "prod", {"app": "a", "x": "y"}, True),
        (Selected((("app", "a"),)), "prod", "prod", {"app": "b"}, False),
        (Selected((("app", "a"),)), "prod", "prod", {}, False),
        (Selected((("app", "a"),)), ROOT, "prod", {"app": "a"}, True),
        (Selected((("app", "a"), ("v", "1"))), "prod", "prod", {"app": "a"}, False),
        (Attached(("front",)), "prod", "prod", GATEWAY_LABELS, True),
        (Attached(("back",)), "prod", "prod", GATEWAY_LABELS, False),
        # Targets are in the policy's own namespace, also of a policy in the root namespace.
        (Attached(("front",)), ROOT, "prod", GATEWAY_LABELS, False),
        (Attached(("front",)), "prod", "prod", {}, False),
        (Attached(()), "prod", "prod", {}, False),
    ],
)
def test_for_whom_it_holds(
    scope: PolicyScope,
    policy_namespace: str,
    namespace: str,
    labels: dict[str, str],
    expected: bool,
) -> None:
    found = holds_for(
        scope, Namespace(policy_namespace), ROOT, Namespace(namespace), sorted_labels(labels)
    )
    assert found is expected
