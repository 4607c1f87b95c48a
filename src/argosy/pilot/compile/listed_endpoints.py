"""Endpoints and EndpointSlices → workloads: where a Service leads that selects no pods.

They are outside the mesh as far as anybody knows, so mesh mTLS is not tried with them.
"""

from collections.abc import Iterable, Iterator

from argosy.api.endpoints import EndpointPort, Endpoints, EndpointSlice
from argosy.base.names import Namespace
from argosy.model.workload import Health, Workload


def of_endpoints(written: Endpoints) -> tuple[Workload, ...]:
    return tuple(_of_endpoints(written))


def _of_endpoints(written: Endpoints) -> Iterator[Workload]:
    for subset in written.subsets:
        for health, addresses in (
            (Health.HEALTHY, subset.addresses),
            (Health.UNHEALTHY, subset.not_ready_addresses),
        ):
            for address in addresses:
                yield _workload(written, address.ip, subset.ports, health)


def of_slice(written: EndpointSlice) -> tuple[Workload, ...]:
    """Each endpoint's first address: Kubernetes says that consumers may take any."""
    if written.address_type == "FQDN":
        return ()
    return tuple(
        _workload(
            written,
            endpoint.addresses[0],
            written.ports,
            Health.UNHEALTHY if endpoint.conditions.ready is False else Health.HEALTHY,
        )
        for endpoint in written.endpoints
        if endpoint.addresses
    )


def _workload(
    written: Endpoints | EndpointSlice,
    address: str,
    ports: Iterable[EndpointPort],
    health: Health,
) -> Workload:
    return Workload(
        name=written.metadata.name,
        namespace=Namespace(written.metadata.namespace),
        address=address,
        labels=(),
        service_account="",
        container_ports=(),
        health=health,
        meshed=False,
        entry_ports=tuple(sorted((p.name, p.port) for p in ports if p.protocol == "TCP")),
    )
