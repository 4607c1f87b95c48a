"""The store's cells as formulas read them, and the mesh-wide settings, which all formulas share."""

from dataclasses import dataclass
from typing import TypeVar, cast

from argosy.api import core
from argosy.base.names import CLUSTER_SCOPED, Namespace, ObjectKey
from argosy.base.problems import Compiled
from argosy.derive import ABSENT, Reader, formula
from argosy.model.workload import Labels
from argosy.pilot.compile import mesh, selectors
from argosy.store.cells import Annotated, Labeled, Names, Namespaces

T = TypeVar("T")

NAMESPACE_NAME = "kubernetes.io/metadata.name"
"""A label that Kubernetes gives to every namespace."""

MESH_CONFIG = ObjectKey("ConfigMap", Namespace("istio-system"), "istio")


def read(get: Reader, key: ObjectKey, kind: type[T]) -> T | None:
    """The object of a cell, or None. ``kind`` is its Struct: the store keeps them apart."""
    value = get.cell(key)
    if value is ABSENT:
        return None
    assert isinstance(value, kind), f"{key} holds a {type(value).__name__}"
    return value


def names_of(get: Reader, kind: str, namespace: str) -> tuple[str, ...]:
    """The sorted names of the objects of a kind in a namespace, if the mesh looks there."""
    if not get(is_discovered, namespace):
        return ()
    return _strings(get.cell(Names(kind, namespace)))


def namespaces(get: Reader, kind: str) -> tuple[str, ...]:
    """The sorted namespaces that have objects of a kind, of those that the mesh looks at."""
    found = _strings(get.cell(Namespaces(kind)))
    return tuple(namespace for namespace in found if get(is_discovered, namespace))


def keys(get: Reader, kind: str) -> tuple[ObjectKey, ...]:
    """All objects of a kind, sorted by namespace and name."""
    return tuple(
        ObjectKey(kind, Namespace(namespace), name)
        for namespace in namespaces(get, kind)
        for name in names_of(get, kind, namespace)
    )


def annotated(get: Reader, kind: str, annotation: str) -> tuple[ObjectKey, ...]:
    """The objects of a kind that have an annotation the store has an index of, sorted."""
    return tuple(
        ObjectKey(kind, Namespace(namespace), name)
        for namespace in namespaces(get, kind)
        for name in _strings(get.cell(Annotated(kind, namespace, annotation)))
    )


def _strings(value: object) -> tuple[str, ...]:
    return () if value is ABSENT else cast("tuple[str, ...]", value)


@dataclass(frozen=True, slots=True)
class HasMixer:
    """The cell that is there when the mesh has a Mixer; its value is of no importance."""


@formula
def has_mixer(get: Reader) -> bool:
    """Whether every proxy reaches a Mixer by its static cluster."""
    return get.cell(HasMixer()) is not ABSENT


@formula
def compiled_mesh(get: Reader) -> Compiled[mesh.Mesh]:
    """The mesh-wide settings: MeshConfig, or Istio's defaults."""
    return mesh.mesh(read(get, MESH_CONFIG, core.ConfigMap))


@formula
def mesh_settings(get: Reader) -> mesh.Mesh:
    return get(compiled_mesh).value


@formula
def is_discovered(get: Reader, namespace: str) -> bool:
    """Whether the mesh looks at a namespace (MeshConfig ``discoverySelectors``): OR of selectors.

    The root namespace always counts, as do objects without namespace.
    """
    mesh_wide = get(mesh_settings)
    if not mesh_wide.discovery or namespace in ("", mesh_wide.traffic.root_namespace):
        return True
    found = read(get, ObjectKey("Namespace", CLUSTER_SCOPED, namespace), core.Namespace)
    labels = dict(found.metadata.labels) if found is not None else {}
    labels.setdefault(NAMESPACE_NAME, namespace)
    return any(selectors.matches(selector, labels) for selector in mesh_wide.discovery)


def labelled(get: Reader, kind: str, namespace: Namespace, selector: Labels) -> tuple[str, ...]:
    """The sorted names of the objects that have every label of ``selector``; none if it is empty."""
    found: set[str] | None = None
    for key, value in selector:
        members = set(_strings(get.cell(Labeled(kind, namespace, key, value))))
        found = members if found is None else found & members
    return tuple(sorted(found or ()))
