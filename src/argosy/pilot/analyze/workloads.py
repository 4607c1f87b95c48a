"""What several analyzers read of workloads: templates, injection, and the services that select."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from argosy.api import apps, core, core_pod
from argosy.api.meta import Metadata, Object
from argosy.base.names import CLUSTER_SCOPED, Namespace, ObjectKey
from argosy.derive import ABSENT, Reader, formula
from argosy.model.workload import Labels
from argosy.pilot.compile.endpoints import selects
from argosy.pilot.compile.injection import Injection, injection_of
from argosy.pilot.graph.world import names_of, read

SYSTEM_NAMESPACES = frozenset({"kube-system", "kube-public", "kube-node-lease"})


@dataclass(frozen=True, slots=True)
class Template:
    """What pods are made from, and where it stands in its object: ``""`` in a Pod itself."""

    path: str
    metadata: Metadata
    spec: core_pod.PodSpec

    def at(self, field: str) -> str:
        return f"{self.path}.{field}" if self.path else field


def template_of(value: object) -> Template | None:
    """The template of a Deployment or its like, or a pod that nobody else has made."""
    if isinstance(value, core_pod.Pod):
        if value.metadata.owner_references:
            return None
        return Template("", value.metadata, value.spec)
    if isinstance(value, apps.Deployment | apps.StatefulSet):
        template = value.spec.template
        return Template("spec.template", template.metadata, template.spec)
    return None


def metadata_of(get: Reader, key: ObjectKey) -> Metadata | None:
    value = get.cell(key)
    return value.metadata if isinstance(value, Object) else None


@formula
def object_of(get: Reader, key: ObjectKey) -> Object | None:
    value = get.cell(key)
    if value is ABSENT:
        return None
    assert isinstance(value, Object), f"{key} holds a {type(value).__name__}"
    return value


@formula
def namespace_labels(get: Reader, name: str) -> Mapping[str, str]:
    found = read(get, ObjectKey("Namespace", CLUSTER_SCOPED, name), core.Namespace)
    return MappingProxyType({} if found is None else dict(found.metadata.labels))


def injection(get: Reader, template: Template, namespace: Namespace) -> Injection:
    return injection_of(template.metadata, get(namespace_labels, namespace))


@formula
def services_by_label(
    get: Reader, namespace: Namespace
) -> Mapping[tuple[str, str], tuple[str, ...]]:
    """The services of a namespace by the first label that they select, so that few are looked at."""
    found: dict[tuple[str, str], list[str]] = {}
    for name in names_of(get, "Service", namespace):
        selector = get(selector_of, namespace, name)
        if selector:
            found.setdefault(selector[0], []).append(name)
    return MappingProxyType({label: tuple(names) for label, names in found.items()})


@formula
def selector_of(get: Reader, namespace: Namespace, name: str) -> Labels:
    found = read(get, ObjectKey("Service", namespace, name), core.Service)
    return () if found is None else tuple(sorted(found.spec.selector.items()))


def services_selecting(
    get: Reader, namespace: Namespace, labels: Mapping[str, str]
) -> tuple[core.Service, ...]:
    """The Services that select a workload with these labels, by name."""
    index = get(services_by_label, namespace)
    names = sorted({name for label in labels.items() for name in index.get(label, ())})
    wanted = tuple(sorted(labels.items()))
    found = []
    for name in names:
        service = read(get, ObjectKey("Service", namespace, name), core.Service)
        if service is not None and selects(get(selector_of, namespace, name), wanted):
            found.append(service)
    return tuple(found)
