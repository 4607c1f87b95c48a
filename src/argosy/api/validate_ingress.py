"""What must hold for one Ingress or IngressClass alone.

Rules as in Kubernetes' validation (``pkg/apis/networking/validation``).
"""

from collections.abc import Iterator

from argosy.api.networking_ingress import (
    ISTIO_CONTROLLER,
    HTTPIngressPath,
    Ingress,
    IngressBackend,
    IngressClass,
)
from argosy.api.typed import Mistake, short
from argosy.api.validate_metadata import is_dns_label
from argosy.api.validate_values import check_port, is_host, is_ip, is_wildcard_host, warning


def validate_ingress(ingress: Ingress) -> Iterator[Mistake]:
    spec = ingress.spec
    if not spec.rules and spec.default_backend is None:
        message = "there is nothing to route"
        yield Mistake("spec", "MissingField", message, "Write rules or defaultBackend")
    yield from _backend(spec.default_backend, "spec.defaultBackend")
    for i, rule in enumerate(spec.rules):
        where = f"spec.rules[{i}]"
        if rule.host:
            yield from _host(rule.host, f"{where}.host")
        if rule.http is None:
            continue
        if not rule.http.paths:
            yield Mistake(f"{where}.http.paths", "MissingField", "the rule has no paths")
        for j, path in enumerate(rule.http.paths):
            yield from _path(path, f"{where}.http.paths[{j}]")
    for i, tls in enumerate(spec.tls):
        for j, host in enumerate(tls.hosts):
            yield from _host(host, f"spec.tls[{i}].hosts[{j}]")


def validate_ingress_class(ingress_class: IngressClass) -> Iterator[Mistake]:
    if not ingress_class.spec.controller:
        hint = f"Istio's is {ISTIO_CONTROLLER}"
        yield Mistake("spec.controller", "MissingField", "the class has no controller", hint)
    if ingress_class.spec.controller == ISTIO_CONTROLLER and ingress_class.spec.parameters:
        message = "parameters has no effect, as in Istio"
        yield warning("spec.parameters", "NoEffect", message, "Remove it; MeshConfig has settings")


def _host(host: str, path: str) -> Iterator[Mistake]:
    if is_ip(host) or not (is_host(host) or is_wildcard_host(host)) or host == "*":
        message = f"{short(host)} is not a host name"
        yield Mistake(path, "InvalidHost", message, "Only the first label may be *")


def _path(path: HTTPIngressPath, where: str) -> Iterator[Mistake]:
    if path.path_type != "ImplementationSpecific":
        if not path.path.startswith("/"):
            message = f"{short(path.path)} is not an absolute path"
            yield Mistake(f"{where}.path", "InvalidValue", message, "Begin with /")
        elif any(part in path.path for part in ("//", "/./", "/../", "%2f", "%2F")):
            message = f"{short(path.path)} would never match: paths are normalized before"
            yield Mistake(f"{where}.path", "InvalidValue", message)
    yield from _backend(path.backend, f"{where}.backend")


def _backend(backend: IngressBackend | None, path: str) -> Iterator[Mistake]:
    if backend is None:
        return
    if (backend.service is None) == (backend.resource is None):
        message = "a backend is either a service or a resource"
        yield Mistake(path, "MissingField", message, "Write service")
    if (service := backend.service) is None:
        return
    if not is_dns_label(service.name):
        message = f"{short(service.name)} is not the name of a service"
        yield Mistake(f"{path}.service.name", "InvalidName", message)
    if bool(service.port.name) == bool(service.port.number):
        message = "a port has a name or a number"
        yield Mistake(f"{path}.service.port", "MissingField", message, "Write one of them")
    elif service.port.number:
        yield from check_port(service.port.number, f"{path}.service.port.number")
