"""Objects that select workloads, and select none."""

from collections.abc import Mapping

from argosy.api.security import PeerAuthentication
from argosy.base.names import Namespace, ObjectKey
from argosy.base.problems import Problem, Severity
from argosy.derive import Reader, formula
from argosy.pilot.graph.world import candidate_pods, mesh_settings, namespaces, read


@formula
def peer_authentication_selector(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    policy = read(get, key, PeerAuthentication)
    if policy is None or policy.spec.selector is None:
        return ()
    selector = policy.spec.selector.match_labels
    return unmatched(get, key, selector, "spec.selector.matchLabels")


def unmatched(
    get: Reader, key: ObjectKey, selector: Mapping[str, str], field: str
) -> tuple[Problem, ...]:
    """What selects workloads of its own namespace, or from the root namespace those of all."""
    if not selector:
        return ()
    everywhere = key.namespace == get(mesh_settings).traffic.root_namespace
    wanted = tuple(sorted(selector.items()))
    places = namespaces(get, "Pod") if everywhere else (key.namespace,)
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
