"""VirtualServices at Gateways that do not offer their hosts."""

from argosy.base.names import Namespace, ObjectKey
from argosy.base.problems import Problem, Severity
from argosy.derive import Reader, formula
from argosy.model.route import MESH
from argosy.pilot.analyze import gateways
from argosy.pilot.compile.hostnames import covers
from argosy.pilot.compile.matches import gateway_name
from argosy.pilot.graph import rules


@formula
def gateway_hosts(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    """Gateways of which no server offers a host of the VirtualService to its namespace."""
    written = get(rules.virtual_service, key.namespace, key.name)
    attachment = get(rules.compiled_attachment, key.namespace, key.name)
    if written is None or attachment is None:
        return ()
    found = []
    for index, name in enumerate(written.spec.gateways):
        bound = gateway_name(name, key.namespace)
        if bound == MESH:
            continue
        of, _, called = bound.partition("/")
        servers = get(gateways.opened, ObjectKey("Gateway", Namespace(of), called))
        offered = [
            host
            for server in servers
            for namespace, host in server.hosts
            if namespace in ("*", key.namespace)
        ]
        hosts = attachment.value.hosts
        if servers and not any(covers(a, b) or covers(b, a) for a in offered for b in hosts):
            found.append(
                Problem(
                    key,
                    f"spec.gateways[{index}]",
                    "VirtualServiceHostNotFoundInGateway",
                    f"Gateway {bound} offers none of the hosts {', '.join(hosts)} to namespace "
                    f"{key.namespace}, so these rules are not served there",
                    "add the host to the Gateway, or correct it",
                    Severity.WARNING,
                )
            )
    return tuple(found)
