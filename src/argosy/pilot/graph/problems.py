"""Formulas of what is wrong with each object, as far as only the whole mesh can tell."""

from collections.abc import Mapping

from argosy.base.names import Namespace, ObjectKey
from argosy.base.problems import Problem
from argosy.derive import Formula, Reader, formula
from argosy.model.proxy import ProxyType, Scope, Sight
from argosy.model.route import MESH
from argosy.pilot.compile import authn, gateways, service_entries
from argosy.pilot.compile import sidecars as sidecar_rules
from argosy.pilot.compile.ingresses import blame
from argosy.pilot.compile.matches import gateway_name
from argosy.pilot.compile.references import check_opaque_references, check_references
from argosy.pilot.graph import (
    credential_problems,
    destinations,
    entries,
    ingresses,
    outbound,
    proxy_configs,
    rules,
    sidecars,
    trust,
    world,
)
from argosy.pilot.graph import gateways as gateway_formulas
from argosy.pilot.graph.authorization_problems import authorization_problems
from argosy.pilot.graph.envoy_filter_problems import envoy_filter_problems
from argosy.pilot.graph.rate_limit_problems import rate_limit_problems
from argosy.pilot.graph.request_authn import request_authentication_problems
from argosy.pilot.graph.telemetry_problems import default_problems, telemetry_problems
from argosy.pilot.graph.world import keys


@formula
def virtual_service_problems(get: Reader, namespace: Namespace, name: str) -> tuple[Problem, ...]:
    attachment = get(rules.compiled_attachment, namespace, name)
    tcp = (
        *get(rules.compiled_tls_rules, namespace, name).problems,
        *get(rules.compiled_tcp_rules, namespace, name).problems,
    )
    if attachment is None:
        return (*tcp, *get(problems_of_delegates))
    bound = attachment.value.gateways
    return (
        *get(rules.compiled_rules, namespace, name).problems,
        *tcp,
        *attachment.problems,
        *get(rules.claim_conflicts),
        *get(rules.foreign_claims, namespace, name),
        *get(reference_problems, namespace, name),
        *(get(gateway_table_problems) if bound != {MESH} else ()),
        *_missing_gateways(get, namespace, name),
    )


@formula
def ingress_problems(get: Reader, namespace: Namespace, name: str) -> tuple[Problem, ...]:
    """Its own, and those of the Gateway and VirtualServices that it stands for."""
    made = get(ingresses.converted, namespace, name)
    found: list[Problem] = []
    for one in made.virtual_services:
        called = one.metadata.name
        of = get(virtual_service_problems, namespace, called)
        found += [problem for problem in of if problem.object == one.key]
    if made.gateway is not None:
        found += get(gateway_problems, namespace, made.gateway.metadata.name)
    own = ingresses.key_of(namespace, name)
    return (*made.problems, *(blame(problem, own) for problem in found))


@formula
def reference_problems(get: Reader, namespace: Namespace, name: str) -> tuple[Problem, ...]:
    """Hosts, subsets and ports that the rules of a VirtualService name and that are not there."""
    attachment = get(rules.compiled_attachment, namespace, name)
    if attachment is None:
        return ()
    lookup = rules.Lookup(get, Scope(ProxyType.SIDECAR, namespace))
    applied = get(rules.compiled_rules, namespace, name).value
    opaque = (
        *get(rules.compiled_tls_rules, namespace, name).value,
        *get(rules.compiled_tcp_rules, namespace, name).value,
    )
    ports = get(gateway_ports, namespace, name)
    return (
        *check_references(attachment.value, applied, lookup, ports),
        *check_opaque_references(attachment.value, opaque, lookup, ports),
    )


@formula
def problems_of_delegates(get: Reader) -> tuple[Problem, ...]:
    """What is wrong with delegates is found by the VirtualServices that delegate to them."""
    return tuple(
        problem
        for key in keys(get, rules.KIND)
        for problem in (
            *get(rules.compiled_rules, key.namespace, key.name).problems,
            *get(reference_problems, key.namespace, key.name),
        )
        if problem.object != key
    )


@formula
def gateway_ports(get: Reader, namespace: Namespace, name: str) -> frozenset[int]:
    """The ports of the Gateway servers that a VirtualService is bound to."""
    attachment = get(rules.compiled_attachment, namespace, name)
    if attachment is None:
        return frozenset()
    ports = set()
    for bound in attachment.value.gateways - {MESH}:
        of, _, called = bound.partition("/")
        servers = get(gateway_formulas.compiled_servers, Namespace(of), called).value
        ports |= {server.port for server in servers}
    return frozenset(ports)


def _missing_gateways(get: Reader, namespace: Namespace, called: str) -> list[Problem]:
    written = get(rules.virtual_service, namespace, called)
    problems = []
    for index, name in enumerate(written.spec.gateways if written else ()):
        bound = gateway_name(name, namespace)
        of, _, gateway = bound.partition("/")
        if bound != MESH and get(gateway_formulas.gateway, Namespace(of), gateway) is None:
            problems.append(
                Problem(
                    ObjectKey(rules.KIND, namespace, called),
                    f"spec.gateways[{index}]",
                    "GatewayNotFound",
                    f"there is no Gateway {bound}, so these rules are not served there",
                    "create the Gateway, or name it as <namespace>/<name>",
                )
            )
    return problems


@formula
def gateway_table_problems(get: Reader) -> tuple[Problem, ...]:
    """What gateways' route tables hide, of all gateway proxies that run."""
    found: list[Problem] = []
    for role in get(gateway_formulas.gateway_roles):
        for name in get(gateway_formulas.table_names, role):
            compiled = get(gateway_formulas.compiled_table, role, name)
            if compiled is not None:
                found += compiled.problems
    return tuple(dict.fromkeys(found))


@formula
def gateway_problems(get: Reader, namespace: Namespace, name: str) -> tuple[Problem, ...]:
    written = get(gateway_formulas.gateway, namespace, name)
    if written is None:
        return ()
    found = list(get(gateway_formulas.compiled_servers, namespace, name).problems)
    found += get(credential_problems.gateway_credentials, namespace, name)
    chosen = [
        role
        for role in get(gateway_formulas.gateway_roles)
        if gateways.gateway_selects(written, role.labels)
    ]
    service_ports: set[int] = set()
    for role in chosen:
        found += get(gateway_formulas.compiled_listeners, role).problems
        for service in get(world.services_of_labels, role.namespace, role.labels):
            service_ports |= {port.number for port in service.ports}
            service_ports |= {port.target for port in service.ports if isinstance(port.target, int)}
    found += gateways.reachability(
        written, selects_workloads=bool(chosen), service_ports=frozenset(service_ports)
    )
    return tuple(found)


@formula
def sidecar_problems(get: Reader, namespace: Namespace, name: str) -> tuple[Problem, ...]:
    key = ObjectKey(sidecars.KIND, namespace, name)
    found = get(sidecars.own_problems, key)
    egress = get(sidecars.egress, key)
    if egress is None:
        return found
    sees = get(rules.visible_services, Sight(namespace, key))
    return (*found, *sidecar_rules.check_egress(egress, key, sees, get(rules.mesh_claims)))


@formula
def entry_problems(get: Reader, namespace: Namespace, name: str) -> tuple[Problem, ...]:
    """What other definitions of its hosts, and other services of its ports, take from an entry."""
    written = get(entries.entry, namespace, name)
    if written is None:
        return ()
    hosts = service_entries.hosts(written)
    parts = {host: get(world.parts, host) for host in hosts}
    scope = Scope(ProxyType.SIDECAR, namespace)
    return (
        *service_entries.check(written, parts),
        *get(entries.foreign_names, namespace, name),
        *get(outbound.listener_conflicts, scope),
    )


@formula
def service_problems(get: Reader, namespace: Namespace, name: str) -> tuple[Problem, ...]:
    own = get(world.compiled_service, namespace, name).problems
    scope = Scope(ProxyType.SIDECAR, namespace)
    return (*own, *get(outbound.listener_conflicts, scope))


@formula
def destination_rule_problems(get: Reader, namespace: Namespace, name: str) -> tuple[Problem, ...]:
    return (
        *get(destinations.rule_problems, namespace, name),
        *get(credential_problems.destination_credentials, namespace, name),
    )


@formula
def proxy_config_problems(get: Reader, namespace: Namespace, _name: str) -> tuple[Problem, ...]:
    return get(proxy_configs.own_problems, namespace)


@formula
def peer_authentication_problems(
    get: Reader, namespace: Namespace, _name: str
) -> tuple[Problem, ...]:
    return authn.check(get(world.peer_authentications, namespace))


@formula
def config_map_problems(get: Reader, namespace: Namespace, name: str) -> tuple[Problem, ...]:
    if (namespace, name) != (world.MESH_CONFIG.namespace, world.MESH_CONFIG.name):
        return ()
    own = get(world.compiled_mesh).problems
    return (*own, *get(default_problems), *get(trust.bundle_problems))


PROBLEMS: Mapping[str, Formula[[Namespace, str], tuple[Problem, ...]]] = {
    "VirtualService": virtual_service_problems,
    "DestinationRule": destination_rule_problems,
    "Gateway": gateway_problems,
    "Ingress": ingress_problems,
    "Sidecar": sidecar_problems,
    "ProxyConfig": proxy_config_problems,
    "PeerAuthentication": peer_authentication_problems,
    "AuthorizationPolicy": authorization_problems,
    "RequestAuthentication": request_authentication_problems,
    "Telemetry": telemetry_problems,
    "RateLimit": rate_limit_problems,
    "EnvoyFilter": envoy_filter_problems,
    "ServiceEntry": entry_problems,
    "Secret": credential_problems.secret_problems,
    "Service": service_problems,
    "ConfigMap": config_map_problems,
}
"""One row for each kind of which the whole mesh can tell what is wrong. What a formula finds of other
objects is told by theirs."""


@formula
def problems_of(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    """Every problem of one object, without duplicates."""
    of_kind = PROBLEMS.get(key.kind)
    found = () if of_kind is None else get(of_kind, key.namespace, key.name)
    return tuple(dict.fromkeys(problem for problem in found if problem.object == key))
