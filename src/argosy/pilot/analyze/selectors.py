"""Objects that select workloads, and select none."""

from collections.abc import Mapping
from types import MappingProxyType

from argosy.api.networking_sidecar import Sidecar
from argosy.api.security import PeerAuthentication
from argosy.api.security_authorization_policy import AuthorizationPolicy
from argosy.base.names import Namespace, ObjectKey
from argosy.base.problems import Problem, Severity
from argosy.derive import Reader, formula
from argosy.model.sidecar import Selection
from argosy.pilot.graph.sidecars import selections
from argosy.pilot.graph.world import candidate_pods, mesh_settings, namespaces, read


@formula
def peer_authentication_selector(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    policy = read(get, key, PeerAuthentication)
    if policy is None or policy.spec.selector is None:
        return ()
    selector = policy.spec.selector.match_labels
    return unmatched(get, key, selector, "spec.selector.matchLabels")


@formula
def authorization_policy_selector(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    policy = read(get, key, AuthorizationPolicy)
    if policy is None or policy.spec.selector is None:
        return ()
    selector = policy.spec.selector.match_labels
    return unmatched(get, key, selector, "spec.selector.matchLabels")


@formula
def sidecar_selector(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    written = read(get, key, Sidecar)
    if written is None or written.spec.workload_selector is None:
        return ()
    selector = written.spec.workload_selector.labels
    return unmatched(get, key, selector, "spec.workloadSelector.labels")


@formula
def pods_of_sidecars(
    get: Reader, namespace: Namespace
) -> MappingProxyType[str, tuple[Selection, ...]]:
    """The pods of a namespace that several Sidecars select, and these in the order of precedence."""
    found: dict[str, list[Selection]] = {}
    order = sorted(get(selections, namespace), key=lambda item: (item.created, item.key.name))
    for item in order:
        if item.labels:
            for pod in get(candidate_pods, namespace, tuple(sorted(item.labels))):
                found.setdefault(pod, []).append(item)
    return MappingProxyType({pod: tuple(items) for pod, items in found.items() if len(items) > 1})


@formula
def overlapping_sidecars(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    """Workloads that another Sidecar rules. (Equal selectors are told when Sidecars are compiled.)"""
    for pod, items in sorted(get(pods_of_sidecars, key.namespace).items()):
        first = items[0]
        for item in items[1:]:
            if item.key == key and item.labels != first.labels:
                return (
                    Problem(
                        key,
                        "spec.workloadSelector",
                        "ConflictingSidecarWorkloadSelectors",
                        f"{first.key} selects workload {pod.rstrip('-')} too and is older, so this "
                        "one does not rule it",
                        "make the selectors distinct, or merge the two",
                        Severity.WARNING,
                    ),
                )
    return ()


def unmatched(
    get: Reader, key: ObjectKey, selector: Mapping[str, str], field: str
) -> tuple[Problem, ...]:
    """What selects workloads of its own namespace, or from the root namespace those of all."""
    everywhere = key.namespace == get(mesh_settings).traffic.root_namespace
    return unmatched_in(get, key, selector, field, None if everywhere else (key.namespace,))


def unmatched_in(
    get: Reader,
    key: ObjectKey,
    selector: Mapping[str, str],
    field: str,
    within: tuple[str, ...] | None,
) -> tuple[Problem, ...]:
    """As ``unmatched``, in these namespaces; None: in all."""
    if not selector:
        return ()
    wanted = tuple(sorted(selector.items()))
    everywhere = within is None
    places = namespaces(get, "Pod") if within is None else within
    if any(get(candidate_pods, Namespace(place), wanted) for place in places):
        return ()
    labels = ", ".join(f"{name}={value}" for name, value in wanted)
    where = "in the mesh" if everywhere else f"of namespace {key.namespace}"
    return (
        Problem(
            key,
            field,
            "NoMatchingWorkloads",
            f"no workload {where} has the labels {labels}, so this has no effect",
            "correct the labels, or deploy the workload",
            Severity.WARNING,
        ),
    )
