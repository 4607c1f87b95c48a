"""What must hold for one WorkloadEntry or WorkloadGroup alone.

Rules as in Istio's validation (``pkg/config/validation/validation.go``).
"""

from collections.abc import Iterator

from argosy.api.located import child
from argosy.api.networking_workload_entry import (
    ReadinessProbe,
    WorkloadEntry,
    WorkloadEntrySpec,
    WorkloadGroup,
)
from argosy.api.typed import Mistake, short
from argosy.api.validate_metadata import check_labels, is_dns_label
from argosy.api.validate_values import (
    check_header_name,
    check_not_negative,
    check_one_of,
    check_port,
    is_host,
    is_ip,
    warning,
)

UNIX = "unix://"
_MAX_SOCKET_PATH = 107
_MAX_WEIGHT = 2**31 - 1


def validate_workload_entry(entry: WorkloadEntry) -> Iterator[Mistake]:
    yield from check_workload_entry(entry.spec, "spec")
    address = entry.spec.address
    if address and not address.startswith(UNIX) and not is_ip(address):
        message = (
            f"{short(address)} is a name: it is resolved where a ServiceEntry of resolution DNS "
            "selects it, and is no endpoint of others"
        )
        yield warning("spec.address", "NoEffect", message, "Write an IP address")


def check_workload_entry(spec: WorkloadEntrySpec, path: str) -> Iterator[Mistake]:
    """An endpoint, alone or inline."""
    where = f"{path}.address"
    if not spec.address:
        yield Mistake(where, "MissingField", "the endpoint has no address")
    elif spec.address.startswith(UNIX):
        socket = spec.address.removeprefix(UNIX)
        if not socket.startswith(("/", "@")) or len(socket) > _MAX_SOCKET_PATH:
            message = f"{short(spec.address)} is not the path of a socket"
            yield Mistake(where, "InvalidAddress", message, "Write unix:///path or unix://@name")
        if spec.ports:
            message = "a socket has no ports"
            yield Mistake(f"{path}.ports", "ConflictingFields", message, "Remove them")
    elif not is_ip(spec.address) and not is_host(spec.address):
        message = f"{short(spec.address)} is neither an IP address nor a host name"
        yield Mistake(where, "InvalidAddress", message, "Write 192.0.2.7 or db.example.com")
    yield from _template(spec, path)


def _template(spec: WorkloadEntrySpec, path: str) -> Iterator[Mistake]:
    for name, number in spec.ports.items():
        if not name:
            yield Mistake(f"{path}.ports", "MissingField", "a port has no name")
        yield from check_port(number, child(f"{path}.ports", name))
    yield from check_labels(spec.labels, f"{path}.labels")
    if spec.weight > _MAX_WEIGHT:
        message = f"the greatest weight is {_MAX_WEIGHT}"
        yield Mistake(f"{path}.weight", "OutOfRange", message)
    if len(spec.locality.split("/")) > 3:
        message = f"{short(spec.locality)} is not region/zone/subzone"
        yield Mistake(f"{path}.locality", "InvalidValue", message)
    if spec.service_account and not is_dns_label(spec.service_account.replace(".", "-")):
        message = f"{short(spec.service_account)} is not the name of a service account"
        yield Mistake(f"{path}.serviceAccount", "InvalidValue", message)
    if spec.network:
        message = "there is one network only, so all endpoints are reached by their addresses"
        yield warning(f"{path}.network", "NoEffect", message, "Remove it")


def validate_workload_group(group: WorkloadGroup) -> Iterator[Mistake]:
    spec = group.spec
    if spec.template is None:
        yield Mistake("spec.template", "MissingField", "the group has no template")
    else:
        if spec.template.address:
            message = "the address is the workload's that registers"
            yield Mistake("spec.template.address", "NotAllowed", message, "Remove it")
        yield from _template(spec.template, "spec.template")
    if spec.metadata is not None:
        yield from check_labels(spec.metadata.labels, "spec.metadata.labels")
    if spec.probe is not None:
        yield from _probe(spec.probe, "spec.probe")


def _probe(probe: ReadinessProbe, path: str) -> Iterator[Mistake]:
    seconds = {
        "initialDelaySeconds": probe.initial_delay_seconds,
        "timeoutSeconds": probe.timeout_seconds,
        "periodSeconds": probe.period_seconds,
        "successThreshold": probe.success_threshold,
        "failureThreshold": probe.failure_threshold,
    }
    for name, value in seconds.items():
        yield from check_not_negative(value, f"{path}.{name}")
    ways = {
        "httpGet": probe.http_get,
        "tcpSocket": probe.tcp_socket,
        "exec": probe.exec,
        "grpc": probe.grpc,
    }
    yield from check_one_of(ways, path, required=True)
    if (http := probe.http_get) is not None:
        yield from check_port(http.port, f"{path}.httpGet.port")
        if http.path and not http.path.startswith("/"):
            message = f"{short(http.path)} does not begin with /"
            yield Mistake(f"{path}.httpGet.path", "InvalidValue", message)
        for i, header in enumerate(http.http_headers):
            yield from check_header_name(header.name, f"{path}.httpGet.httpHeaders[{i}].name")
    if probe.tcp_socket is not None:
        yield from check_port(probe.tcp_socket.port, f"{path}.tcpSocket.port")
    if probe.exec is not None and not probe.exec.command:
        yield Mistake(f"{path}.exec.command", "MissingField", "there is no command to run")
    if probe.grpc is not None:
        yield from check_port(probe.grpc.port, f"{path}.grpc.port")
