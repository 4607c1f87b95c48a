"""What must hold for one Endpoints or EndpointSlice alone, as in Kubernetes' validation."""

from collections.abc import Iterator

from argosy.api.endpoints import SERVICE_NAME, EndpointPort, Endpoints, EndpointSlice
from argosy.api.typed import Mistake, short
from argosy.api.validate_values import check_port, check_unique, is_ip, warning


def validate_endpoints(endpoints: Endpoints) -> Iterator[Mistake]:
    for i, subset in enumerate(endpoints.subsets):
        path = f"subsets[{i}]"
        for field, addresses in (
            ("addresses", subset.addresses),
            ("notReadyAddresses", subset.not_ready_addresses),
        ):
            for j, address in enumerate(addresses):
                yield from _address(address.ip, f"{path}.{field}[{j}].ip")
        yield from _ports(subset.ports, f"{path}.ports")


def validate_endpoint_slice(endpoint_slice: EndpointSlice) -> Iterator[Mistake]:
    if not endpoint_slice.metadata.labels.get(SERVICE_NAME):
        message = "without this label the slice belongs to no Service"
        yield warning("metadata.labels", "NoEffect", message, f"Write {SERVICE_NAME}: SERVICE")
    if endpoint_slice.address_type == "FQDN":
        message = "endpoints that are names are not called"
        hint = "Write a ServiceEntry with resolution DNS"
        yield warning("addressType", "NoEffect", message, hint)
        return
    for i, endpoint in enumerate(endpoint_slice.endpoints):
        for j, address in enumerate(endpoint.addresses):
            yield from _address(address, f"endpoints[{i}].addresses[{j}]")
    yield from _ports(endpoint_slice.ports, "ports")


def _address(address: str, path: str) -> Iterator[Mistake]:
    if not is_ip(address):
        message = f"{short(address)} is not an IP address"
        yield Mistake(
            path, "InvalidAddress", message, "Write an address; names need a ServiceEntry"
        )


def _ports(ports: tuple[EndpointPort, ...], path: str) -> Iterator[Mistake]:
    yield from check_unique((port.name for port in ports), path, "name", "ports")
    for i, port in enumerate(ports):
        yield from check_port(port.port, f"{path}[{i}].port")
