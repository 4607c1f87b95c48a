"""Formulas of telemetry: which objects hold for a proxy, and what it reports.

Proxies of a namespace share the result, but for those that objects select by labels.
"""

from argosy.api.telemetry import Telemetry as Written
from argosy.base.names import Namespace, ObjectKey
from argosy.derive import Reader, formula
from argosy.model.proxy import ClusterKey, ProxyType, Role, Sight
from argosy.model.telemetry import Mode, Telemetry
from argosy.model.workload import Labels
from argosy.pilot.compile import telemetry as compiling
from argosy.pilot.graph import rules
from argosy.pilot.graph.world import has_mixer, mesh_settings, names_of, read

KIND = "Telemetry"


@formula
def telemetries(get: Reader, namespace: Namespace) -> tuple[Written, ...]:
    """Oldest first."""
    found = (
        read(get, ObjectKey(KIND, namespace, name), Written)
        for name in names_of(get, KIND, namespace)
    )
    return compiling.by_age(one for one in found if one is not None)


@formula
def own_telemetries(get: Reader, role: Role) -> tuple[ObjectKey, ...]:
    """Those that select the workload, oldest first; seldom any."""
    if role.type is ProxyType.GRPC:
        return ()
    return get(selecting, role.namespace, role.labels)


@formula
def selecting(get: Reader, namespace: Namespace, labels: Labels) -> tuple[ObjectKey, ...]:
    """Those that select workloads with these labels, oldest first."""
    return compiling.own(get(telemetries, namespace), namespace, labels)


@formula
def holding(get: Reader, namespace: Namespace, own: tuple[ObjectKey, ...]) -> tuple[ObjectKey, ...]:
    """All that hold for a workload: the mesh's, its namespace's, those that select it."""
    near = dict.fromkeys((get(mesh_settings).traffic.root_namespace, namespace))
    wide = (compiling.wide(get(telemetries, Namespace(place))) for place in near)
    return (*(one.key for one in wide if one is not None), *own)


@formula
def choice(
    get: Reader, namespace: Namespace, own: tuple[ObjectKey, ...], mode: Mode
) -> compiling.Choice:
    found = (read(get, key, Written) for key in get(holding, namespace, own))
    levels = [one.spec for one in found if one is not None]
    return compiling.choice(levels, mode, get(mesh_settings).telemetry)


@formula
def telemetry(get: Reader, sight: Sight, own: tuple[ObjectKey, ...], mode: Mode) -> Telemetry:
    """``own`` as of ``own_telemetries``; ``sight`` is that of the proxy."""

    def cluster_of(service: str, port: int) -> ClusterKey | None:
        return get(rules.provider_cluster, sight, service, port)

    chosen = get(choice, sight.namespace, own, mode)
    mixer = get(has_mixer)
    return compiling.telemetry(chosen, get(mesh_settings).telemetry, cluster_of, mixer=mixer)
