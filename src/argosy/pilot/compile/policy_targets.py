"""For which workloads and gateways a policy holds, whatever its kind.

A policy in the root namespace holds for the mesh, any other for its own namespace; a selector or
targets narrow that. Targets are Gateways of the Kubernetes Gateway API: sidecars are no targets, and
GatewayClass, Service and ServiceEntry are targets for waypoints only, as in Istio.
https://istio.io/latest/docs/reference/config/security/authorization-policy/
https://istio.io/latest/docs/reference/config/type/workload-selector/#PolicyTargetReference
"""

from collections.abc import Iterable, Mapping
from typing import assert_never

from argosy.api.meta import WorkloadSelector
from argosy.api.policy_target import PolicyTargetReference, is_gateway
from argosy.base.names import Namespace
from argosy.model.policy_scope import EVERYONE, Attached, Everyone, PolicyScope, Selected
from argosy.model.workload import Labels, sorted_labels

GATEWAY_NAME_LABEL = "gateway.networking.k8s.io/gateway-name"
"""On the proxies of a Gateway of the Kubernetes Gateway API."""


def policy_scope(
    selector: WorkloadSelector | None,
    target: PolicyTargetReference | None,
    targets: tuple[PolicyTargetReference, ...],
) -> PolicyScope:
    """Of the fields ``selector``, ``targetRef`` and ``targetRefs``."""
    labels = selector.match_labels if selector is not None else {}
    return scope_of(labels, (*targets, *(() if target is None else (target,))))


def scope_of(labels: Mapping[str, str], targets: Iterable[PolicyTargetReference]) -> PolicyScope:
    """Targets win where both are written, which validation refuses: that is the narrower."""
    attached = tuple(targets)
    if attached:
        return Attached(tuple(sorted({r.name for r in attached if is_gateway(r)})))
    return Selected(sorted_labels(labels)) if labels else EVERYONE


def holds_for(
    scope: PolicyScope,
    policy_namespace: Namespace,
    root_namespace: str,
    namespace: Namespace,
    labels: Labels,
) -> bool:
    """Whether a policy of ``policy_namespace`` holds for the proxy of a workload.

    ``namespace`` and ``labels`` are the workload's.
    """
    near = policy_namespace in (root_namespace, namespace)
    return near and selects(scope, policy_namespace, namespace, labels)


def selects(
    scope: PolicyScope, policy_namespace: Namespace, namespace: Namespace, labels: Labels
) -> bool:
    """As ``holds_for``, of a policy whose namespace is known to be the root's or the workload's."""
    match scope:
        case Everyone():
            return True
        case Selected(wanted):
            return set(wanted) <= set(labels)
        case Attached(gateways):
            name = dict(labels).get(GATEWAY_NAME_LABEL)
            return name in gateways and policy_namespace == namespace
        case _:
            assert_never(scope)
