"""Formulas over Sidecars: which one rules a workload, and what each says."""

from argosy.api.networking_sidecar import Sidecar
from argosy.base.names import Namespace, ObjectKey
from argosy.base.problems import Compiled, Problem
from argosy.derive import Reader, formula
from argosy.model.proxy import ProxyType, Role
from argosy.model.sidecar import Egress, Ingress, Selection
from argosy.model.workload import Labels
from argosy.pilot.compile import sidecars as compiling
from argosy.pilot.graph.world import demands, mesh_settings, names_of, read

KIND = "Sidecar"


@formula
def sidecar(get: Reader, namespace: Namespace, name: str) -> Sidecar | None:
    return read(get, ObjectKey(KIND, namespace, name), Sidecar)


@formula
def selection(get: Reader, namespace: Namespace, name: str) -> Selection | None:
    written = get(sidecar, namespace, name)
    return None if written is None else compiling.selection(written)


@formula
def selections(get: Reader, namespace: Namespace) -> tuple[Selection, ...]:
    """The Sidecars of a namespace, and whom they are for."""
    found = (get(selection, namespace, name) for name in names_of(get, KIND, namespace))
    return tuple(item for item in found if item is not None)


@formula
def ruling(get: Reader, namespace: Namespace, labels: Labels) -> ObjectKey | None:
    """The Sidecar of workloads with these labels, if any."""
    root = get(mesh_settings).traffic.root_namespace
    return compiling.ruling(get(selections, namespace), get(selections, root), namespace, labels)


@formula
def compiled_egress(get: Reader, key: ObjectKey) -> Compiled[Egress | None]:
    written = get(sidecar, key.namespace, key.name)
    return Compiled(None) if written is None else compiling.egress(written)


@formula
def egress(get: Reader, key: ObjectKey | None) -> Egress | None:
    """What a scope's Sidecar says of its client's side; None when there is nothing to say."""
    return None if key is None else get(compiled_egress, key).value


@formula
def ruling_egress(get: Reader, role: Role) -> ObjectKey | None:
    """The Sidecar that changes what a proxy sees: what ``Scope.sidecar`` is."""
    if role.type is not ProxyType.SIDECAR:
        return None
    found = get(ruling, role.namespace, role.labels)
    return found if get(egress, found) is not None else None


@formula
def compiled_ingress(get: Reader, key: ObjectKey) -> Compiled[Ingress] | None:
    written = get(sidecar, key.namespace, key.name)
    traffic = get(mesh_settings).traffic
    return None if written is None else compiling.ingress(written, traffic)


@formula
def ingress(get: Reader, role: Role) -> Ingress | None:
    """What the Sidecar of a workload says of the workload's side; None without one."""
    key = get(ruling, role.namespace, role.labels)
    compiled = None if key is None else get(compiled_ingress, key)
    return None if compiled is None else compiled.value


@formula
def own_problems(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    """What is wrong with a Sidecar, but for what it refers to."""
    chosen = get(selection, key.namespace, key.name)
    found = get(compiled_ingress, key)
    if chosen is None or found is None:
        return ()
    wanted = get(demands, key.namespace, tuple(sorted(chosen.labels)))
    return (
        *compiling.conflicts(get(selections, key.namespace)),
        *get(compiled_egress, key).problems,
        *found.problems,
        *compiling.check_termination(found.value, wanted.mode),
    )
