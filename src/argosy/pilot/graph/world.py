"""Formulas over the platform's objects: services, workloads, endpoints, what peers demand."""

from argosy.api import core, core_pod, security
from argosy.api.endpoints import SERVICE_NAME, Endpoints, EndpointSlice
from argosy.base.names import Hostname, Namespace, ObjectKey
from argosy.base.problems import Compiled
from argosy.derive import Reader, formula
from argosy.model.authn import MtlsMode
from argosy.model.proxy import Role
from argosy.model.service import Service, ServicePort
from argosy.model.workload import Endpoint, Labels, Workload
from argosy.pilot.compile import (
    authn,
    endpoints,
    listed_endpoints,
    service_entries,
    services,
    workloads,
)
from argosy.pilot.compile.endpoints import EndpointSummary
from argosy.pilot.compile.roles import role_of
from argosy.pilot.graph import entries
from argosy.pilot.graph.cells import MESH_CONFIG as MESH_CONFIG
from argosy.pilot.graph.cells import annotated as annotated
from argosy.pilot.graph.cells import compiled_mesh as compiled_mesh
from argosy.pilot.graph.cells import has_mixer as has_mixer
from argosy.pilot.graph.cells import is_discovered as is_discovered
from argosy.pilot.graph.cells import keys as keys
from argosy.pilot.graph.cells import labelled as labelled
from argosy.pilot.graph.cells import mesh_settings as mesh_settings
from argosy.pilot.graph.cells import names_of as names_of
from argosy.pilot.graph.cells import namespaces as namespaces
from argosy.pilot.graph.cells import read as read

# Services.


@formula
def compiled_service(get: Reader, namespace: Namespace, name: str) -> Compiled[Service | None]:
    found = read(get, ObjectKey("Service", namespace, name), core.Service)
    if found is None or not get(is_discovered, namespace):
        return Compiled(None)
    return services.service(found, get(mesh_settings))


@formula
def service(get: Reader, namespace: Namespace, name: str) -> Service | None:
    return get(compiled_service, namespace, name).value


@formula
def kubernetes_service(get: Reader, host: Hostname) -> Service | None:
    """The Kubernetes Service with this fully qualified host name."""
    name, _, rest = host.partition(".")
    namespace, _, suffix = rest.partition(".")
    if suffix != f"svc.{get(mesh_settings).domain}":
        return None
    return get(service, Namespace(namespace), name)


@formula
def services_in(get: Reader, namespace: Namespace) -> tuple[Service, ...]:
    """What a namespace defines: its Services by name, then the hosts of its ServiceEntries."""
    found = (get(service, namespace, name) for name in names_of(get, "Service", namespace))
    claims = (get(entries.claim, namespace, n) for n in names_of(get, entries.KIND, namespace))
    hosts = sorted({host for _, claimed in claims for host in claimed})
    entered = (s for host in hosts for s in get(definitions, host) if s.namespace == namespace)
    return (*(s for s in found if s is not None and s.hostname not in hosts), *entered)


@formula
def service_of_host(get: Reader, host: Hostname) -> Service | None:
    """What a host means first of all; namespaces may see it otherwise."""
    if host in get(entries.by_host):
        return next(iter(get(definitions, host)), None)
    return get(kubernetes_service, host)


@formula
def parts(get: Reader, host: Hostname) -> tuple[Service, ...]:
    """Every object's own definition of a host: the Kubernetes Service, then entries by age."""
    platform = get(kubernetes_service, host)
    found = () if platform is None else (platform,)
    return (*found, *get(entries.services_of, host))


@formula
def definitions(get: Reader, host: Hostname) -> tuple[Service, ...]:
    """What a host means: one service for each namespace that defines it, by precedence."""
    return service_entries.definitions(get(parts, host))


@formula
def all_services(get: Reader) -> tuple[Service, ...]:
    """Every service, by namespace. A host that several namespaces define comes several times."""
    where = {*namespaces(get, "Service"), *namespaces(get, entries.KIND)}
    return tuple(s for n in sorted(where) for s in get(services_in, Namespace(n)))


@formula
def contested_hosts(get: Reader) -> frozenset[Hostname]:
    """Hosts that several namespaces define, so that not everybody means the same by them."""
    return frozenset(host for host in get(entries.by_host) if len(get(definitions, host)) > 1)


@formula
def exported_services(get: Reader, namespace: Namespace) -> tuple[Service, ...]:
    """The services that are exported to proxies in ``namespace``, no host twice."""
    contested = get(contested_hosts)
    plain = [
        s
        for s in get(all_services)
        if s.hostname not in contested and s.export_to & {"*", namespace}
    ]
    seen = (get(service_exported_to, namespace, host) for host in sorted(contested))
    found = (*plain, *(s for s in seen if s is not None))
    # Namespaces that nothing is exported to in particular have one value among them.
    everybody = get(exported_services, Namespace("")) if namespace else found
    return everybody if found == everybody else found


@formula
def service_exported_to(get: Reader, namespace: Namespace, host: Hostname) -> Service | None:
    """What a host means to clients in ``namespace``."""
    if host in get(contested_hosts):
        return service_entries.seen(get(definitions, host), namespace)
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
    for created, name, candidate in get(entries.selecting, namespace):
        if endpoints.selects(candidate.selector, labels):
            found.append((created, name, candidate))
    return tuple(candidate for _, _, candidate in sorted(found, key=lambda item: item[:2]))


# Workloads and endpoints.


@formula
def proxy_roles(get: Reader) -> tuple[Role, ...]:
    """The roles of all pods, one for the replicas of a workload."""
    pods = (read(get, key, core_pod.Pod) for key in keys(get, "Pod"))
    found = dict.fromkeys(role_of(pod) for pod in pods if pod is not None)
    return tuple(sorted(found, key=lambda r: (r.namespace, r.labels, r.type.value)))


@formula
def workload(get: Reader, namespace: Namespace, name: str) -> Workload | None:
    pod = read(get, ObjectKey("Pod", namespace, name), core_pod.Pod)
    return None if pod is None else workloads.workload(pod)


@formula
def candidate_pods(get: Reader, namespace: Namespace, selector: Labels) -> tuple[str, ...]:
    """The pods that have every label of the selector, by the index of labels."""
    return labelled(get, "Pod", namespace, selector)


def candidates(get: Reader, namespace: Namespace, selector: Labels) -> tuple[Workload, ...]:
    """The workloads that have every label of the selector: pods and WorkloadEntries."""
    pods = (get(workload, namespace, name) for name in get(candidate_pods, namespace, selector))
    named = labelled(get, "WorkloadEntry", namespace, selector)
    entered = (get(entries.entry_workload, namespace, name) for name in named)
    return tuple(found for found in (*pods, *entered) if found is not None)


@formula
def listed_workloads(get: Reader, namespace: Namespace, name: str) -> tuple[Workload, ...]:
    """What Endpoints and EndpointSlices say of a Service that selects no pods."""
    written = read(get, ObjectKey("Endpoints", namespace, name), Endpoints)
    found = () if written is None else listed_endpoints.of_endpoints(written)
    slices = (
        read(get, ObjectKey("EndpointSlice", namespace, one), EndpointSlice)
        for one in labelled(get, "EndpointSlice", namespace, ((SERVICE_NAME, name),))
    )
    more = (w for one in slices if one is not None for w in listed_endpoints.of_slice(one))
    return (*found, *more)


def alias_endpoints(get: Reader, alias: Service, port: ServicePort) -> tuple[Endpoint, ...]:
    """Of an ExternalName: those of the service that it names, or what DNS will find."""
    if alias.resolution.is_dns:
        return (endpoints.of_host(alias, port),)
    target = get(kubernetes_service, Hostname(alias.external_name))
    if target is None or target.external_name:
        return ()
    return get(service_endpoints, target.namespace, target.hostname, port.number)


@formula
def service_endpoints(
    get: Reader, namespace: Namespace, host: Hostname, port: int
) -> tuple[Endpoint, ...]:
    """The endpoints of a host's port as ``namespace`` defines it, those that are not ready too."""
    trust_domain = get(mesh_settings).traffic.trust_domain

    def mtls_of(candidate: Workload, number: int) -> MtlsMode:
        return get(mtls_mode, candidate.namespace, candidate.labels, number)

    if host not in get(entries.by_host):
        own: tuple[Service, ...] = tuple(filter(None, (get(kubernetes_service, host),)))
    else:
        own = get(parts, host)
    found: dict[tuple[str, int], Endpoint] = {}
    for part in own:
        service_port = part.get_port(port)
        if part.namespace != namespace or service_port is None:
            continue
        if part.external_name:
            more = alias_endpoints(get, part, service_port)
        elif part.entry is None and not part.selector:
            listed = get(listed_workloads, namespace, part.name)
            more = endpoints.endpoints_at(part, service_port, listed, mtls_of, trust_domain)
        elif part.selector or part.entry is None:
            workloads_of = candidates(get, namespace, part.selector)
            more = endpoints.endpoints(part, service_port, workloads_of, mtls_of, trust_domain)
        else:
            inline = get(entries.inline_workloads, namespace, part.entry.name)
            more = endpoints.endpoints_at(part, service_port, inline, mtls_of, trust_domain)
            if not inline and part.resolution.is_dns:
                more = (endpoints.of_host(part, service_port),)
        for endpoint in more:
            found.setdefault((endpoint.address, endpoint.port), endpoint)
    return tuple(found.values())


@formula
def endpoint_summary(
    get: Reader, namespace: Namespace, host: Hostname, port: int, subset: Labels
) -> EndpointSummary:
    """What clusters must know of their endpoints: changes seldom, endpoints often."""
    return endpoints.summary(get(service_endpoints, namespace, host, port), subset)


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
