"""What must hold for one ServiceEntry alone.

Rules as in Istio's validation (``pkg/config/validation/validation.go``) and
https://istio.io/latest/docs/reference/config/networking/service-entry/
"""

import ipaddress
from collections.abc import Iterator

from argosy.api.networking_service_entry import ServiceEntry, ServiceEntrySpec, ServicePort
from argosy.api.typed import Mistake, did_you_mean, short
from argosy.api.validate_metadata import check_labels
from argosy.api.validate_values import (
    check_export_to,
    check_host,
    check_port,
    check_unique,
    is_ip,
    warning,
)
from argosy.api.validate_workload_entry import UNIX, check_workload_entry

PROTOCOLS = ("HTTP", "HTTPS", "HTTP2", "GRPC", "GRPC-WEB", "TCP", "TLS", "MONGO", "REDIS", "MYSQL")
"""Compared without case; UDP is known and not carried."""

AUTOALLOCATE = "networking.istio.io/enable-autoallocate-ip"
_KEEPING = ("NONE", "DYNAMIC_DNS")
_DNS = ("DNS", "DNS_ROUND_ROBIN")
_RESOLVABLE = frozenset({"HTTP", "HTTP2", "GRPC", "GRPC-WEB", "TLS", "HTTPS"})


def validate_service_entry(entry: ServiceEntry) -> Iterator[Mistake]:
    spec = entry.spec
    namespace = entry.metadata.namespace
    yield from _hosts(spec)
    yield from _addresses(spec)
    yield from _ports(spec)
    yield from _resolution(spec)
    yield from _endpoints(spec)
    yield from _selector(spec)
    yield from check_export_to(spec.export_to, namespace, "spec.exportTo")
    for i, name in enumerate(spec.subject_alt_names):
        if not name:
            yield Mistake(f"spec.subjectAltNames[{i}]", "MissingField", "the name is empty")
    label = entry.metadata.labels.get(AUTOALLOCATE)
    if label is not None and label.lower() not in ("true", "false"):
        message = f"{AUTOALLOCATE} is true or false, not {short(label)}"
        yield warning(f'metadata.labels["{AUTOALLOCATE}"]', "InvalidValue", message)


def _hosts(spec: ServiceEntrySpec) -> Iterator[Mistake]:
    if not spec.hosts:
        yield Mistake("spec.hosts", "MissingField", "the entry has no hosts")
    first: dict[str, int] = {}
    for i, host in enumerate(spec.hosts):
        path = f"spec.hosts[{i}]"
        if host == "*":
            message = "* is every host there is"
            hint = "Name the hosts, or set outboundTrafficPolicy.mode of MeshConfig"
            yield Mistake(path, "InvalidHost", message, hint)
            continue
        yield from check_host(host, path)
        if first.setdefault(host.lower(), i) != i:
            yield Mistake(path, "DuplicateHost", f"{short(host)} is written twice", "Remove one")
        wild = host.startswith("*")
        if wild and spec.resolution in _DNS and not spec.endpoints:
            message = f"{short(host)} is no name that DNS can resolve"
            hint = "Write endpoints, or resolution: DYNAMIC_DNS, or NONE"
            yield Mistake(path, "InvalidHost", message, hint)
        if "." not in host:
            message = f"{short(host)} has no dot: short names are those of Services"
            yield warning(path, "ShortName", message, "Write a full name such as api.example.com")


def _addresses(spec: ServiceEntrySpec) -> Iterator[Mistake]:
    for i, address in enumerate(spec.addresses):
        path = f"spec.addresses[{i}]"
        try:
            network = ipaddress.ip_network(address, strict=False)
        except ValueError:
            message = f"{short(address)} is not an IP address or CIDR block"
            yield Mistake(path, "InvalidAddress", message, "Write 192.0.2.7 or 192.0.2.0/24")
            continue
        if network.network_address.is_unspecified and network.prefixlen == network.max_prefixlen:
            message = f"{address} is no address that clients can dial"
            yield Mistake(path, "InvalidAddress", message, "Leave addresses out")
    if spec.addresses and spec.resolution == "DYNAMIC_DNS":
        message = "addresses have no effect with DYNAMIC_DNS: the request says which host it is for"
        yield warning("spec.addresses", "NoEffect", message, "Remove them")


def _ports(spec: ServiceEntrySpec) -> Iterator[Mistake]:
    if not spec.ports:
        message = "without ports no connection is for the entry"
        yield warning("spec.ports", "MissingField", message, "Write a port")
    numbers: dict[int, int] = {}
    for i, port in enumerate(spec.ports):
        path = f"spec.ports[{i}]"
        yield from _port(port, path)
        if numbers.setdefault(port.number, i) != i:
            message = f"port {port.number} is written twice"
            yield Mistake(f"{path}.number", "DuplicatePort", message, "Remove one of them")
        if spec.resolution == "DYNAMIC_DNS" and port.protocol.upper() not in _RESOLVABLE:
            message = (
                f"protocol {port.protocol or 'detection'} names no host, so DYNAMIC_DNS cannot tell "
                "where its connections go"
            )
            yield Mistake(f"{path}.protocol", "ConflictingFields", message, "Write HTTP or TLS")
        if spec.resolution in _KEEPING and port.target_port not in (0, port.number):
            message = f"with resolution {spec.resolution} connections keep the client's port"
            yield warning(f"{path}.targetPort", "NoEffect", message, "Remove it")
    yield from check_unique((p.name for p in spec.ports), "spec.ports", "name", "ports")


def _port(port: ServicePort, path: str) -> Iterator[Mistake]:
    yield from check_port(port.number, f"{path}.number")
    if port.target_port:
        yield from check_port(port.target_port, f"{path}.targetPort")
    if not port.name:
        yield Mistake(f"{path}.name", "MissingField", "the port has no name", "Write http")
    protocol = port.protocol.upper()
    if protocol == "UDP":
        message = "UDP is not captured: it passes the proxy by"
        yield warning(f"{path}.protocol", "NoEffect", message)
    elif protocol and protocol not in PROTOCOLS:
        hint = did_you_mean(port.protocol, PROTOCOLS) or f"Use one of {', '.join(PROTOCOLS)}"
        message = f"{short(port.protocol)} is not a protocol"
        yield Mistake(f"{path}.protocol", "InvalidValue", message, hint)


def _resolution(spec: ServiceEntrySpec) -> Iterator[Mistake]:
    if spec.resolution in ("NONE", "DYNAMIC_DNS") and spec.endpoints:
        message = f"endpoints contradict resolution {spec.resolution}"
        yield Mistake("spec.endpoints", "ConflictingFields", message, "Write resolution: STATIC")
    if spec.resolution == "DYNAMIC_DNS" and spec.location == "MESH_INTERNAL":
        message = "DYNAMIC_DNS is for hosts outside the mesh"
        yield Mistake("spec.location", "ConflictingFields", message, "Write MESH_EXTERNAL")
    if spec.resolution == "STATIC" and not spec.endpoints and spec.workload_selector is None:
        message = "resolution STATIC without endpoints leads nowhere: requests get a 503"
        yield warning("spec.endpoints", "MissingField", message, "Write endpoints")
    if spec.resolution == "DNS_ROUND_ROBIN" and len(spec.endpoints) > 1:
        message = "resolution DNS_ROUND_ROBIN takes one endpoint at most"
        yield Mistake("spec.endpoints", "ConflictingFields", message, "Write resolution: DNS")
    if spec.resolution != "NONE" or spec.location != "MESH_EXTERNAL" or spec.addresses:
        return
    for i, port in enumerate(spec.ports):
        if port.protocol.upper() in ("TCP", "MONGO", "REDIS", "MYSQL"):
            message = (
                f"without addresses every connection to port {port.number} is for this entry, "
                "whatever host it means"
            )
            hint = "Write addresses, or protocol: TLS"
            yield warning(f"spec.ports[{i}]", "TakesAll", message, hint)


def _endpoints(spec: ServiceEntrySpec) -> Iterator[Mistake]:
    names = {port.name for port in spec.ports}
    for i, endpoint in enumerate(spec.endpoints):
        path = f"spec.endpoints[{i}]"
        yield from check_workload_entry(endpoint, path)
        for name in endpoint.ports:
            if name not in names:
                message = f"the entry has no port {short(name)}"
                yield Mistake(f"{path}.ports", "PortNotFound", message, "Name a port of the entry")
        address = endpoint.address
        is_name = address and not address.startswith(UNIX) and not is_ip(address)
        if spec.resolution == "STATIC" and is_name:
            message = f"{short(address)} is not an IP address"
            hint = "Write resolution: DNS to have names resolved"
            yield Mistake(f"{path}.address", "InvalidAddress", message, hint)
        if spec.resolution in _DNS and address.startswith(UNIX):
            message = "a socket's path cannot be resolved by DNS"
            yield Mistake(f"{path}.address", "InvalidAddress", message, "Write resolution: STATIC")
        if address.startswith(UNIX) and len(spec.ports) > 1:
            message = "a socket has one port: an entry with several cannot be behind it"
            yield Mistake(f"{path}.address", "ConflictingFields", message)


def _selector(spec: ServiceEntrySpec) -> Iterator[Mistake]:
    selector = spec.workload_selector
    if selector is None:
        return
    path = "spec.workloadSelector"
    if spec.endpoints:
        message = "workloadSelector and endpoints exclude each other"
        yield Mistake(path, "ConflictingFields", message, "Keep one of them")
    if spec.resolution in ("DNS_ROUND_ROBIN", "DYNAMIC_DNS"):
        message = f"workloadSelector contradicts resolution {spec.resolution}"
        yield Mistake(path, "ConflictingFields", message, "Write resolution: STATIC")
    if not selector.labels:
        message = "a selector without labels selects nothing"
        yield warning(f"{path}.labels", "EmptySelector", message, "Write labels")
    yield from check_labels(selector.labels, f"{path}.labels")
