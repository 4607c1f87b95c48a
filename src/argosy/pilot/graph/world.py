"""Formulas over the platform's objects: services, workloads, endpoints, what peers demand."""

from typing import TypeVar, cast

from argosy.api import core, core_pod, security
from argosy.base.names import Hostname, Namespace, ObjectKey
from argosy.base.problems import Compiled
from argosy.derive import ABSENT, Reader, formula
from argosy.model.authn import MtlsMode
from argosy.model.service import Service
from argosy.model.workload import Endpoint, Labels, Workload
from argosy.pilot.compile import authn, endpoints, mesh, services, workloads
from argosy.pilot.compile.endpoints import EndpointSummary
from argosy.store.cells import Annotated, Labeled, Names, Namespaces

T = TypeVar("T")

MESH_CONFIG = ObjectKey("ConfigMap", Namespace("istio-system"), "istio")


def read(get: Reader, key: ObjectKey, kind: type[T]) -> T | None:
    """The object of a cell, or None. ``kind`` is its Struct: the store keeps them apart."""
    value = get.cell(key)
    if value is ABSENT:
        return None
    assert isinstance(value, kind), f"{key} holds a {type(value).__name__}"
    return value


def names_of(get: Reader, kind: str, namespace: str) -> tuple[str, ...]:
    """The sorted names of the objects of a kind in a namespace."""
    return _strings(get.cell(Names(kind, namespace)))


def namespaces(get: Reader, kind: str) -> tuple[str, ...]:
    """The sorted namespaces that have objects of a kind."""
    return _strings(get.cell(Namespaces(kind)))


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


@formula
def compiled_mesh(get: Reader) -> Compiled[mesh.Mesh]:
    """The mesh-wide settings: MeshConfig, or Istio's defaults."""
    return mesh.mesh(read(get, MESH_CONFIG, core.ConfigMap))


@formula
def mesh_settings(get: Reader) -> mesh.Mesh:
    return get(compiled_mesh).value


# Services.


@formula
def compiled_service(get: Reader, namespace: Namespace, name: str) -> Compiled[Service | None]:
    found = read(get, ObjectKey("Service", namespace, name), core.Service)
    if found is None:
        return Compiled(None)
    return services.service(found, get(mesh_settings))


@formula
def service(get: Reader, namespace: Namespace, name: str) -> Service | None:
    return get(compiled_service, namespace, name).value


@formula
def service_of_host(get: Reader, host: Hostname) -> Service | None:
    """The service with this fully qualified host name."""
    name, _, rest = host.partition(".")
    namespace, _, suffix = rest.partition(".")
    if suffix != f"svc.{get(mesh_settings).domain}":
        return None
    return get(service, Namespace(namespace), name)


@formula
def services_in(get: Reader, namespace: Namespace) -> tuple[Service, ...]:
    """The services of a namespace, by name."""
    found = (get(service, namespace, name) for name in names_of(get, "Service", namespace))
    return tuple(s for s in found if s is not None)


@formula
def all_services(get: Reader) -> tuple[Service, ...]:
    """Every service, by namespace and name."""
    return tuple(s for n in namespaces(get, "Service") for s in get(services_in, Namespace(n)))


@formula
def exported_services(get: Reader, namespace: Namespace) -> tuple[Service, ...]:
    """The services that are exported to proxies in ``namespace``."""
    return tuple(s for s in get(all_services) if s.export_to & {"*", namespace})


@formula
def service_exported_to(get: Reader, namespace: Namespace, host: Hostname) -> Service | None:
    found = get(service_of_host, host)
    if found is None or not found.export_to & {"*", namespace}:
        return None
    return found


@formula
def services_of_labels(get: Reader, namespace: Namespace, labels: Labels) -> tuple[Service, ...]:
    """The services that select a workload with these labels, oldest first."""
    found = []
    for name in names_of(get, "Service", namespace):
        candidate = get(service, namespace, name)
        if candidate and candidate.selector and endpoints.selects(candidate.selector, labels):
            written = read(get, ObjectKey("Service", namespace, name), core.Service)
            created = written.metadata.creation_timestamp if written else ""
            found.append((created, name, candidate))
    return tuple(candidate for _, _, candidate in sorted(found, key=lambda item: item[:2]))


# Workloads and endpoints.


@formula
def workload(get: Reader, namespace: Namespace, name: str) -> Workload | None:
    pod = read(get, ObjectKey("Pod", namespace, name), core_pod.Pod)
    return None if pod is None else workloads.workload(pod)


@formula
def candidate_pods(get: Reader, namespace: Namespace, selector: Labels) -> tuple[str, ...]:
    """The pods that have every label of the selector, by the index of labels."""
    found: set[str] | None = None
    for key, value in selector:
        labeled = set(_strings(get.cell(Labeled("Pod", namespace, key, value))))
        found = labeled if found is None else found & labeled
    return tuple(sorted(found or ()))


@formula
def service_endpoints(get: Reader, host: Hostname, port: int) -> tuple[Endpoint, ...]:
    """The endpoints of a service's port, those that are not ready too."""
    found = get(service_of_host, host)
    service_port = found.get_port(port) if found else None
    if found is None or service_port is None:
        return ()
    pods = get(candidate_pods, found.namespace, found.selector)
    candidates = [w for name in pods if (w := get(workload, found.namespace, name)) is not None]

    def mtls_of(candidate: Workload, number: int) -> MtlsMode:
        return get(mtls_mode, candidate.namespace, candidate.labels, number)

    trust_domain = get(mesh_settings).traffic.trust_domain
    return endpoints.endpoints(found, service_port, candidates, mtls_of, trust_domain)


@formula
def endpoint_summary(get: Reader, host: Hostname, port: int, subset: Labels) -> EndpointSummary:
    """What clusters must know of their endpoints: changes seldom, endpoints often."""
    return endpoints.summary(get(service_endpoints, host, port), subset)


# What workloads demand of their callers.


@formula
def peer_authentications(
    get: Reader, namespace: Namespace
) -> tuple[security.PeerAuthentication, ...]:
    found = (
        read(get, ObjectKey("PeerAuthentication", namespace, name), security.PeerAuthentication)
        for name in names_of(get, "PeerAuthentication", namespace)
    )
    return tuple(policy for policy in found if policy is not None)


@formula
def mtls_mode(get: Reader, namespace: Namespace, labels: Labels, port: int | None) -> MtlsMode:
    """What a workload demands on one of its ports; None is a port without a rule of its own."""
    return get(demands, namespace, labels).mode(port)


@formula
def demands(get: Reader, namespace: Namespace, labels: Labels) -> authn.Demands:
    """All that peer authentication says of workloads with these labels."""
    root = get(mesh_settings).traffic.root_namespace
    return authn.demands(
        get(peer_authentications, root), get(peer_authentications, namespace), namespace, labels
    )
