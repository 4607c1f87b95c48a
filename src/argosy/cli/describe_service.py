"""Services described: their names, endpoints and rules. Pure."""

from argosy.base.names import Namespace
from argosy.cli.client import Json, name_of, namespace_of
from argosy.cli.describe_rules import destination_hosts
from argosy.cli.description import NONE, Description, Table, pairs, path_of, spec_of
from argosy.cli.snapshot import Snapshot
from argosy.model.service import Service
from argosy.model.traffic import Destination
from argosy.model.workload import Endpoint, Health
from argosy.pilot.compile.endpoints import selects
from argosy.pilot.compile.hostnames import aliases, resolve


def service(item: Json, snapshot: Snapshot) -> Description:
    namespace = namespace_of(item)
    found = snapshot.service(namespace, name_of(item))
    if found is None:
        return Description()
    policy = snapshot.policy(found.hostname, namespace)
    return Description(
        facts=(
            ("Names", ", ".join((*aliases(found.hostname, found.namespace), found.hostname))),
            ("Address", ", ".join(found.addresses) or "none: headless, its names lead to the pods"),
            ("Selector", pairs(spec_of(item).get("selector")) or "none: it has no endpoints"),
            ("Visible to", "" if "*" in found.export_to else ", ".join(sorted(found.export_to))),
            ("Routing", _routing(found, snapshot)),
            ("Policy", _policy(policy)),
            ("Named by", _named_by(found, snapshot)),
        ),
        tables=(_ports(found, snapshot), _endpoints(found, policy, snapshot)),
    )


def _routing(found: Service, snapshot: Snapshot) -> str:
    rule = snapshot.routing(found.hostname, found.namespace)
    return str(rule) if rule else "no VirtualService: requests go to every ready endpoint"


def _policy(policy: Destination | None) -> str:
    if policy is None:
        return "no DestinationRule: Istio's defaults"
    names = ", ".join(subset.name for subset in policy.subsets)
    return str(policy.rule) + (f" (subsets {names})" if names else "")


def _named_by(found: Service, snapshot: Snapshot) -> str:
    """Every VirtualService that sends requests here."""
    names = [
        path_of(rule)
        for rule in snapshot.all("VirtualService")
        if any(
            resolve(host, Namespace(namespace_of(rule))) == found.hostname
            for host in destination_hosts(spec_of(rule))
        )
    ]
    return f"VirtualService {', '.join(names)}" if names else ""


def _ports(found: Service, snapshot: Snapshot) -> Table:
    rows = []
    for port in found.ports:
        endpoints = snapshot.endpoints(found, port.number)
        ready = sum(endpoint.health is Health.HEALTHY for endpoint in endpoints)
        rows.append(
            (
                str(port.number),
                port.name or NONE,
                port.protocol.value,
                str(port.target),
                f"{ready} of {len(endpoints)} ready",
            )
        )
    columns = ("PORT", "NAME", "PROTOCOL", "TARGET", "ENDPOINTS")
    return Table("Ports", columns, tuple(rows), empty="none that the mesh serves")


def _endpoints(found: Service, policy: Destination | None, snapshot: Snapshot) -> Table:
    pods = {(pod.get("status") or {}).get("podIP"): name_of(pod) for pod in snapshot.all("Pod")}
    rows = [
        (
            f"{endpoint.address}:{endpoint.port}",
            pods.get(endpoint.address, NONE),
            "yes" if endpoint.health is Health.HEALTHY else "no",
            "yes" if endpoint.mtls else "no",
            snapshot.demands(found.namespace, dict(endpoint.labels)).mode(endpoint.port).value,
            _subsets(endpoint, policy),
        )
        for port in found.ports
        for endpoint in snapshot.endpoints(found, port.number)
    ]
    return Table(
        "Endpoints",
        ("ENDPOINT", "POD", "READY", "MTLS", "ACCEPTS", "SUBSETS"),
        tuple(sorted(set(rows))),
        empty="none: no pod has all labels of the selector, so every request gets a 503",
    )


def _subsets(endpoint: Endpoint, policy: Destination | None) -> str:
    subsets = policy.subsets if policy else ()
    names = [s.name for s in subsets if selects(s.labels, endpoint.labels)]
    return ", ".join(names) or NONE
