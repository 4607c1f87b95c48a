"""Whose a host is, and how far rules reach that others write for it.

Istio lets every namespace write rules for every host, for all clients that see them. Here they hold
for the clients of their own namespace only, unless the host is theirs, the root namespace wrote them,
or the mesh says otherwise (``hostOwnership`` of ``api.argosy_config``).
https://istio.io/latest/docs/ops/best-practices/security/#configuration-scope
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from argosy.base.names import Hostname, Namespace, ObjectKey
from argosy.base.problems import Problem, Severity
from argosy.model.route import MESH, Attachment
from argosy.model.service import Service
from argosy.pilot.compile.attachments import EVERYWHERE
from argosy.pilot.compile.hostnames import CLUSTER_DOMAIN, SERVICE_SUFFIX, is_wildcard
from argosy.pilot.compile.mesh import Mesh

NOBODY = Namespace("")
"""Whose the names are that cover several namespaces, such as ``*.svc.cluster.local``."""


def namespace_in_name(host: Hostname) -> Namespace | None:
    """The namespace that a cluster's name says: ``web-0.web.shop.svc.cluster.local`` is shop's."""
    if host.endswith(SERVICE_SUFFIX):
        *names, namespace = host.removesuffix(SERVICE_SUFFIX).split(".")
        return Namespace(namespace) if names and namespace != "*" else NOBODY
    covers_all = is_wildcard(host) and f".{CLUSTER_DOMAIN}".endswith(host[1:])
    return NOBODY if covers_all else None


def is_foreign(owner: Namespace | None, namespace: Namespace, mesh: Mesh) -> bool:
    """Whether what ``namespace`` says of a host of ``owner`` (None: nobody's) holds at home only."""
    if owner is None or not mesh.owned_hosts:
        return False
    return namespace not in (owner, mesh.traffic.root_namespace)


def at_home(export_to: frozenset[str], namespace: Namespace) -> frozenset[str]:
    """What is left of an ``exportTo`` within the object's own namespace."""
    return frozenset({namespace}) if export_to & {EVERYWHERE, namespace} else frozenset()


def limited(attachment: Attachment, owner: Namespace | None, mesh: Mesh) -> Attachment:
    """A VirtualService as far as it reaches for a host of ``owner``."""
    namespace = attachment.object.namespace
    if not is_foreign(owner, namespace, mesh):
        return attachment
    return replace(attachment, export_to=at_home(attachment.export_to, namespace))


def limited_service(service: Service, holders: Mapping[str, ObjectKey], mesh: Mesh) -> Service:
    """What a ServiceEntry defines, as far as it reaches. ``holders``: whose a cluster IP is."""
    owners = {namespace_in_name(service.hostname)}
    owners |= {holders[a].namespace for a in service.addresses if a in holders}
    if not any(is_foreign(owner, service.namespace, mesh) for owner in owners):
        return service
    return replace(service, export_to=at_home(service.export_to, service.namespace))


# What is told about it.


def check_rules(
    attachment: Attachment, owner_of: Callable[[Hostname], Namespace | None], mesh: Mesh
) -> tuple[Problem, ...]:
    """The hosts of a VirtualService that are not its namespace's."""
    if MESH not in attachment.gateways:
        return ()
    return tuple(
        _problem(
            attachment.object, f"spec.hosts[{index}]", "rules", _belongs(host, owner), _DELEGATE
        )
        for index, host in enumerate(attachment.hosts)
        for owner in (owner_of(host),)
        if is_foreign(owner, attachment.object.namespace, mesh)
        and attachment.export_to - {attachment.object.namespace}
    )


def check_entry(
    entry: ObjectKey,
    hosts: Iterable[Hostname],
    addresses: Iterable[str],
    holders: Mapping[str, ObjectKey],
    mesh: Mesh,
) -> tuple[Problem, ...]:
    """The hosts and addresses of a ServiceEntry that are another namespace's."""
    problems = []
    for index, host in enumerate(hosts):
        owner = namespace_in_name(host)
        if is_foreign(owner, entry.namespace, mesh):
            field = f"spec.hosts[{index}]"
            problems.append(_problem(entry, field, "entry", _belongs(host, owner), _RENAME))
    for index, address in enumerate(addresses):
        holder = holders.get(address)
        if holder is not None and is_foreign(holder.namespace, entry.namespace, mesh):
            why = f"{address} is the address of {holder}"
            problems.append(_problem(entry, f"spec.addresses[{index}]", "entry", why, _RENAME))
    return tuple(problems)


_DELEGATE = "let the owner's VirtualService delegate to this one"
_RENAME = "use a name and addresses of its own"


def _belongs(host: Hostname, owner: Namespace | None) -> str:
    whose = f"namespace {owner}" if owner else "no single namespace"
    return f"{host} belongs to {whose}"


def _problem(key: ObjectKey, field: str, what: str, why: str, hint: str) -> Problem:
    return Problem(
        key,
        field,
        "ForeignHost",
        f"{why}, so the {what} here hold{'' if what == 'rules' else 's'} for clients in namespace "
        f"{key.namespace} only",
        f'{hint}, write exportTo: ["."] if that is meant, or see hostOwnership',
        Severity.WARNING,
    )
