"""Formulas over VirtualServices: what each says, and which one rules a host."""

from types import MappingProxyType

from argosy.api.networking_virtual_service import VirtualService
from argosy.base.names import Hostname, Namespace, ObjectKey
from argosy.base.problems import Compiled, Problem
from argosy.derive import Reader, formula
from argosy.model.listener import OutboundTrafficPolicy
from argosy.model.proxy import ClusterKey, Scope, Sight
from argosy.model.route import MESH, Attachment, HashPolicy, HttpRule
from argosy.model.service import Resolution, Service
from argosy.model.tcp_route import TcpRule
from argosy.model.workload import Labels
from argosy.pilot.compile import attachments as compiling
from argosy.pilot.compile import ownership, tcp_routes, virtual_services
from argosy.pilot.compile import sidecars as scoping
from argosy.pilot.compile.hostnames import is_wildcard
from argosy.pilot.compile.ingresses import ingress_of
from argosy.pilot.graph import destinations, ingresses, sidecars
from argosy.pilot.graph.world import (
    exported_services,
    keys,
    mesh_settings,
    names_of,
    namespaces,
    read,
    service_exported_to,
    service_of_host,
    services_in,
)

KIND = "VirtualService"
EVERYBODY = Namespace("")
"""As whom a host is looked up that is meant as most see it."""


@formula
def virtual_service(get: Reader, namespace: Namespace, name: str) -> VirtualService | None:
    """With the mesh's defaults for what it does not say; or as an Ingress stands for it."""
    if ingress_of(name) is None:
        found = read(get, ObjectKey(KIND, namespace, name), VirtualService)
    else:
        found = get(ingresses.virtual_service, namespace, name)
    if found is None:
        return None
    mesh = get(mesh_settings)
    return virtual_services.with_defaults(found, mesh.virtual_service_export_to, mesh.http_retry)


@formula
def compiled_attachment(
    get: Reader, namespace: Namespace, name: str
) -> Compiled[Attachment] | None:
    """What a VirtualService claims; a delegate claims nothing."""
    found = get(virtual_service, namespace, name)
    if found is None or not found.spec.hosts:
        return None
    return virtual_services.attachment(found)


@formula
def compiled_rules(get: Reader, namespace: Namespace, name: str) -> Compiled[tuple[HttpRule, ...]]:
    found = get(virtual_service, namespace, name)
    if found is None or not found.spec.hosts:
        return Compiled(())

    def delegate(of: Namespace, called: str) -> VirtualService | None:
        return get(virtual_service, of, called)

    return virtual_services.compile_virtual_service(found, delegate)


@formula
def rules_of(get: Reader, owner: ObjectKey) -> tuple[HttpRule, ...]:
    return get(compiled_rules, owner.namespace, owner.name).value


@formula
def compiled_tcp_rules(
    get: Reader, namespace: Namespace, name: str
) -> Compiled[tuple[TcpRule, ...]]:
    found = get(virtual_service, namespace, name)
    return Compiled(()) if found is None else tcp_routes.tcp_rules(found)


@formula
def compiled_tls_rules(
    get: Reader, namespace: Namespace, name: str
) -> Compiled[tuple[TcpRule, ...]]:
    found = get(virtual_service, namespace, name)
    return Compiled(()) if found is None else tcp_routes.tls_rules(found)


@formula
def tcp_rules_of(get: Reader, owner: ObjectKey) -> tuple[TcpRule, ...]:
    return get(compiled_tcp_rules, owner.namespace, owner.name).value


@formula
def tls_rules_of(get: Reader, owner: ObjectKey) -> tuple[TcpRule, ...]:
    return get(compiled_tls_rules, owner.namespace, owner.name).value


@formula
def attachments_in(get: Reader, namespace: Namespace) -> tuple[Attachment, ...]:
    """The claims of the VirtualServices of a namespace."""
    found = (get(compiled_attachment, namespace, name) for name in names_of(get, KIND, namespace))
    return tuple(compiled.value for compiled in found if compiled is not None)


@formula
def attachments(get: Reader) -> tuple[Attachment, ...]:
    """Every VirtualService's claims, and what Ingresses claim."""
    written = (a for n in namespaces(get, KIND) for a in get(attachments_in, Namespace(n)))
    made = (
        get(compiled_attachment, key.namespace, key.name)
        for key in get(ingresses.virtual_service_keys)
    )
    return (*written, *(compiled.value for compiled in made if compiled is not None))


@formula
def mesh_claims(get: Reader) -> MappingProxyType[Hostname, tuple[Attachment, ...]]:
    """Who claims a host for sidecars, by the host as written: exact or wildcard."""
    claims: dict[Hostname, list[Attachment]] = {}
    for attachment in get(attachments):
        if MESH in attachment.gateways:
            for host in attachment.hosts:
                claims.setdefault(host, []).append(attachment)
    return MappingProxyType({host: tuple(found) for host, found in claims.items()})


@formula
def claims_on(get: Reader, host: Hostname) -> tuple[Attachment, ...]:
    """Those whose hosts may cover ``host``: looked up by its name and each wildcard above it."""
    claims = get(mesh_claims)
    labels = host.split(".")
    patterns = [host, *(Hostname("*." + ".".join(labels[i:])) for i in range(1, len(labels)))]
    found = {a.object: a for pattern in patterns for a in claims.get(pattern, ())}
    return tuple(found[key] for key in sorted(found))


@formula
def host_owner(get: Reader, host: Hostname, namespace: Namespace) -> Namespace | None:
    """Whose a host is in the eyes of clients in ``namespace``; None: nobody defines it."""
    named = ownership.namespace_in_name(host)
    if named is not None:
        return named
    labels = host.split(".")
    wider = (Hostname("*." + ".".join(labels[i:])) for i in range(1, len(labels)))
    for name in (host, *wider):
        found = get(service_exported_to, namespace, name)
        if found is not None:
            return found.namespace
    return None


def claims_for(get: Reader, host: Hostname, namespace: Namespace) -> tuple[Attachment, ...]:
    """Those whose hosts cover ``host``, as far as they reach for what is not theirs."""
    claims = get(claims_on, host)
    if not claims:
        return ()
    owner, mesh = get(host_owner, host, namespace), get(mesh_settings)
    return tuple(ownership.limited(claim, owner, mesh) for claim in claims)


@formula
def mesh_owner(get: Reader, host: Hostname, sight: Sight, opaque: bool) -> ObjectKey | None:
    """The VirtualService whose HTTP rules, or whose rules for opaque bytes, ``host`` has."""
    claims = [
        a
        for a in claims_for(get, host, sight.namespace)
        if (a.opaque if opaque else a.http) and is_imported(get, sight, a)
    ]
    winner = compiling.winner(claims, host, sight.namespace) if claims else None
    return None if winner is None else winner.object


@formula
def mesh_rules(get: Reader, host: Hostname, sight: Sight) -> tuple[HttpRule, ...]:
    """The HTTP rules that sidecars of this ``sight`` apply to ``host``."""
    owner = get(mesh_owner, host, sight, False)
    return () if owner is None else get(rules_of, owner)


@formula
def mesh_tcp_rules(get: Reader, host: Hostname, sight: Sight) -> tuple[TcpRule, ...]:
    """The rules for opaque bytes that sidecars of this ``sight`` apply to ``host``, TLS first."""
    owner = get(mesh_owner, host, sight, True)
    return () if owner is None else (*get(tls_rules_of, owner), *get(tcp_rules_of, owner))


@formula
def foreign_hosts(get: Reader, sight: Sight) -> tuple[Hostname, ...]:
    """Hosts that sidecars of this ``sight`` have rules for though no service has the name."""
    return tuple(
        sorted(
            host
            for host in get(mesh_claims)
            if not is_wildcard(host)
            and any(
                compiling.is_visible(a, sight.namespace) and is_imported(get, sight, a)
                for a in claims_for(get, host, sight.namespace)
                if host in a.hosts
            )
            and get(service_of_host, host) is None
        )
    )


@formula
def source_selectors(get: Reader) -> tuple[Labels, ...]:
    """The label sets by which VirtualServices tell clients apart, sorted."""
    found: set[Labels] = set()
    for key in keys(get, KIND):
        written = get(virtual_service, key.namespace, key.name)
        if written is not None:
            found |= virtual_services.source_selectors(written)
            found |= tcp_routes.tcp_source_selectors(written)
    return tuple(sorted(found))


@formula
def claim_conflicts(get: Reader) -> tuple[Problem, ...]:
    """Hosts that one VirtualService loses to another."""
    mesh = get(mesh_settings)

    def limited(attachment: Attachment, host: Hostname) -> Attachment:
        return ownership.limited(attachment, get(host_owner, host, EVERYBODY), mesh)

    return compiling.mesh_conflicts(get(attachments), limited)


@formula
def foreign_claims(get: Reader, namespace: Namespace, name: str) -> tuple[Problem, ...]:
    """The hosts of a VirtualService that are another namespace's."""
    attachment = get(compiled_attachment, namespace, name)
    if attachment is None:
        return ()

    def owner_of(host: Hostname) -> Namespace | None:
        return get(host_owner, host, EVERYBODY)

    return ownership.check_rules(attachment.value, owner_of, get(mesh_settings))


class Lookup:
    """What routes read of the mesh, as proxies of one scope see it."""

    def __init__(self, get: Reader, scope: Scope) -> None:
        self._get = get
        self._scope = scope

    def service(self, host: Hostname) -> Service | None:
        return self._get(service_exported_to, self._scope.namespace, host)

    def subsets(self, host: Hostname) -> frozenset[str]:
        return self._get(destinations.subset_names, self._scope, host)

    def hash_policy(self, host: Hostname, port: int, subset: str) -> HashPolicy | None:
        return self._get(destinations.hash_policy, self._scope, host, port, subset)


# What proxies of one sight see.


def is_imported(get: Reader, sight: Sight, attachment: Attachment) -> bool:
    """Whether a Sidecar lets its proxies have the rules of a VirtualService."""
    egress = None if sight.sidecar is None else get(sidecars.egress, sight.sidecar)
    if egress is None:
        return True
    imports = (item for listener in egress.listeners for item in listener.imports)
    return scoping.imports_rules(imports, attachment, sight.namespace)


@formula
def destinations_of(get: Reader, owner: ObjectKey) -> frozenset[tuple[Hostname, int | None]]:
    """The hosts, and perhaps ports, that the rules of a VirtualService lead to."""
    return virtual_services.destinations_of(get(rules_of, owner), get(tcp_rules_of, owner))


@formula
def listener_services(get: Reader, sight: Sight, index: int) -> tuple[Service, ...]:
    """The services behind one egress listener of the sight's Sidecar, by namespace and name.

    Those that it imports, and those to which the rules lead that it imports; each with the ports
    that it has there.
    """
    egress = get(sidecars.egress, sight.sidecar)
    if egress is None or index >= len(egress.listeners):
        return ()
    listener = egress.listeners[index]
    where = scoping.imported_namespaces(listener.imports, sight.namespace)
    candidates = (
        get(exported_services, sight.namespace)
        if where is None
        else tuple(s for n in sorted(where) for s in get(services_in, n))
    )
    found = {
        service.hostname: trimmed
        for service in candidates
        if service.export_to & {"*", sight.namespace}
        and scoping.imports_service(listener.imports, service, sight.namespace)
        and (trimmed := scoping.behind(listener, service)) is not None
    }
    claims = (
        get(attachments)
        if where is None
        else tuple(a for n in sorted(where) for a in get(attachments_in, n))
    )
    for attachment in claims:
        if MESH not in attachment.gateways or not compiling.is_visible(attachment, sight.namespace):
            continue
        if not scoping.imports_rules(listener.imports, attachment, sight.namespace):
            continue
        for host, port in sorted(
            get(destinations_of, attachment.object), key=lambda item: (item[0], item[1] or 0)
        ):
            service = get(service_exported_to, sight.namespace, host)
            trimmed = None if service is None else scoping.behind(listener, service, port)
            if trimmed is not None:
                found[host] = scoping.joined(found.get(host), trimmed)
    return tuple(sorted(found.values(), key=lambda s: (s.namespace, s.name, s.hostname)))


@formula
def visible_services(get: Reader, sight: Sight) -> tuple[Service, ...]:
    """The services that proxies of this ``sight`` may call, with the ports that they see."""
    egress = get(sidecars.egress, sight.sidecar)
    if egress is None:
        return get(exported_services, sight.namespace)
    found: dict[Hostname, Service] = {}
    for index in range(len(egress.listeners)):
        for service in get(listener_services, sight, index):
            found[service.hostname] = scoping.joined(found.get(service.hostname), service)
    return tuple(sorted(found.values(), key=lambda s: (s.namespace, s.name, s.hostname)))


@formula
def visible_hosts(get: Reader, sight: Sight) -> MappingProxyType[Hostname, Service]:
    return MappingProxyType({s.hostname: s for s in get(visible_services, sight)})


@formula
def service_visible_to(get: Reader, sight: Sight, host: Hostname) -> Service | None:
    if get(sidecars.egress, sight.sidecar) is None:
        return get(service_exported_to, sight.namespace, host)
    return get(visible_hosts, sight).get(host)


@formula
def provider_cluster(get: Reader, sight: Sight, service: str, port: int) -> ClusterKey | None:
    """By which proxies of a ``sight`` reach a provider ``[<namespace>/]<host>``; None: they do not."""
    namespace, _, host = service.rpartition("/")
    found = get(service_visible_to, sight, Hostname(host))
    if found is None or found.get_port(port) is None:
        return None
    if namespace and found.namespace != namespace:
        return None
    return ClusterKey(port, "", found.hostname)


@formula
def has_dynamic_hosts(get: Reader, sight: Sight) -> bool:
    """Whether hosts are resolved when a request names them, for proxies of this ``sight``."""
    policy = get(mesh_settings).listeners.outbound
    return policy is OutboundTrafficPolicy.ALLOW_ANY_DYNAMIC_DNS or any(
        found.resolution is Resolution.DYNAMIC_DNS for found in get(visible_services, sight)
    )


@formula
def http_services(get: Reader, sight: Sight, port: int) -> tuple[Service, ...]:
    """The visible services with a declared HTTP port of this number."""
    egress = get(sidecars.egress, sight.sidecar)
    if egress is None:
        return scoping.with_http_port(get(visible_services, sight), port)
    index = scoping.listener_of_port(egress, port)
    if index is None:
        return ()
    any_http = egress.listeners[index].port is not None
    return scoping.with_http_port(
        get(listener_services, sight, index), port, undeclared_too=any_http
    )
