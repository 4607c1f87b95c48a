"""Telemetry objects whose selectors match no workload, or one that others select too."""

from types import MappingProxyType

from argosy.api.telemetry import Telemetry
from argosy.base.names import Namespace, ObjectKey
from argosy.base.problems import Problem, Severity
from argosy.derive import Reader, formula
from argosy.model.policy_scope import Selected
from argosy.pilot.analyze.selectors import unmatched_in
from argosy.pilot.compile.telemetry import scope_of
from argosy.pilot.graph.telemetry import telemetries
from argosy.pilot.graph.world import candidate_pods, read


@formula
def selector(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    """Of the object's own namespace, in the root namespace too."""
    written = read(get, key, Telemetry)
    if written is None or written.spec.selector is None:
        return ()
    labels = written.spec.selector.match_labels
    return unmatched_in(get, key, labels, "spec.selector.matchLabels", (key.namespace,))


@formula
def selecting(get: Reader, namespace: Namespace) -> MappingProxyType[str, tuple[ObjectKey, ...]]:
    """The pods of a namespace that several objects select, and these, oldest first."""
    found: dict[str, list[ObjectKey]] = {}
    for one in get(telemetries, namespace):
        scope = scope_of(one)
        if isinstance(scope, Selected):
            for pod in get(candidate_pods, namespace, scope.labels):
                found.setdefault(pod, []).append(one.key)
    return MappingProxyType({pod: tuple(keys) for pod, keys in found.items() if len(keys) > 1})


@formula
def overlapping(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    """Once is enough: replicas are alike."""
    for pod, rivals in sorted(get(selecting, key.namespace).items()):
        if key in rivals:
            others = ", ".join(str(other) for other in rivals if other != key)
            return (
                Problem(
                    key,
                    "spec.selector",
                    "ConflictingTelemetryWorkloadSelectors",
                    f"{others} selects workload {pod.rstrip('-')} too; what the youngest says counts",
                    "make the selectors distinct, or merge the objects",
                    Severity.WARNING,
                ),
            )
    return ()
