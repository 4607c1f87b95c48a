"""What must hold for one Service, ConfigMap or Secret alone.

Rules as in Kubernetes' validation (``pkg/apis/core/validation``).
"""

import re
from collections.abc import Iterator, Mapping

from argosy.api.core import ConfigMap, Secret, Service, ServicePort
from argosy.api.located import child
from argosy.api.meshconfig import argosy_config, is_mesh_config, mesh_config
from argosy.api.typed import Mistake, short
from argosy.api.validate_metadata import check_labels, is_dns_label
from argosy.api.validate_values import check_port, check_unique, is_host, is_ip, warning

_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*\Z", re.ASCII)
_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}\Z", re.ASCII)
_MAX_DATA = 2**20


def validate_service(service: Service) -> Iterator[Mistake]:
    spec = service.spec
    headless = spec.cluster_ip == "None"
    if spec.type == "ExternalName":
        if not is_host(spec.external_name.removesuffix(".")):
            message = f"{short(spec.external_name)} is not a host name"
            yield Mistake("spec.externalName", "InvalidHost", message)
        return
    if not spec.ports and not headless:
        yield Mistake("spec.ports", "MissingField", "the service has no ports")
    if spec.cluster_ip and not headless and not is_ip(spec.cluster_ip):
        message = f"{short(spec.cluster_ip)} is not an IP address"
        yield Mistake("spec.clusterIP", "InvalidAddress", message, "Remove it, or write None")
    yield from check_labels(spec.selector, "spec.selector")
    yield from check_unique((port.name for port in spec.ports), "spec.ports", "name", "ports")
    seen: dict[tuple[int, str], int] = {}
    for i, port in enumerate(spec.ports):
        where = f"spec.ports[{i}]"
        yield from _service_port(port, where, named=len(spec.ports) > 1)
        if seen.setdefault((port.port, port.protocol), i) != i:
            message = f"port {port.port} is written twice for {port.protocol}"
            yield Mistake(f"{where}.port", "DuplicateValue", message)


def _service_port(port: ServicePort, path: str, *, named: bool) -> Iterator[Mistake]:
    yield from check_port(port.port, f"{path}.port")
    if not port.name and named:
        message = "a port of several needs a name"
        yield Mistake(f"{path}.name", "MissingField", message, "Write a name such as http")
    elif port.name and not is_dns_label(port.name):
        message = f"{short(port.name)} is not a port's name"
        yield Mistake(f"{path}.name", "InvalidName", message, "Write a name such as http-web")
    if port.target_port is not None:
        yield from check_port_reference(port.target_port, f"{path}.targetPort")
    if port.node_port:
        yield from check_port(port.node_port, f"{path}.nodePort")
    if port.protocol == "SCTP":
        message = "SCTP is not carried by the mesh"
        yield warning(f"{path}.protocol", "NoEffect", message)


def check_port_reference(port: int | str, path: str) -> Iterator[Mistake]:
    """A port's number or name, at most 15 characters (RFC 6335)."""
    if isinstance(port, int):
        yield from check_port(port, path)
    elif not is_port_name(port):
        message = f"{short(port)} is not a port's name"
        yield Mistake(path, "InvalidName", message, "Write a number, or a container port's name")


def is_port_name(name: str) -> bool:
    return len(name) <= 15 and _PORT_NAME.match(name) is not None


def validate_config_map(config_map: ConfigMap) -> Iterator[Mistake]:
    yield from _data({"data": config_map.data, "binaryData": config_map.binary_data})
    if is_mesh_config(config_map):
        for problem in (*mesh_config(config_map).problems, *argosy_config(config_map).problems):
            yield Mistake(
                problem.field, problem.code, problem.message, problem.hint, problem.severity
            )


def validate_secret(secret: Secret) -> Iterator[Mistake]:
    yield from _data({"data": secret.data, "stringData": secret.string_data}, overlap=True)
    if secret.type == "kubernetes.io/tls":
        for key in ("tls.crt", "tls.key"):
            if key not in secret.values:
                message = f"a secret of type {secret.type} needs the key {key}"
                yield Mistake("data", "MissingField", message)


def _data(
    fields: Mapping[str, Mapping[str, str | bytes]], *, overlap: bool = False
) -> Iterator[Mistake]:
    seen: dict[str, str] = {}
    size = 0
    for field, values in fields.items():
        for key, value in values.items():
            size += len(value)
            if not _DATA_KEY.match(key) or key in (".", ".."):
                message = f"{short(key)} is not a key: letters, digits, '-', '_' and '.' are"
                yield Mistake(child(field, key), "InvalidName", message)
            if seen.setdefault(key, field) != field and not overlap:
                message = f"{short(key)} is in {seen[key]} already"
                yield Mistake(child(field, key), "DuplicateValue", message)
    if size > _MAX_DATA:
        message = f"it holds {size} bytes; Kubernetes' limit is 1 MB"
        yield Mistake("data", "TooLong", message)
