"""Pods → roles: what the configuration of the pod's proxy depends on."""

from argosy.api.core_pod import TEMPLATES_ANNOTATION, Pod
from argosy.api.meta import Metadata
from argosy.api.proxy_config import ANNOTATION
from argosy.base.names import Namespace
from argosy.model.proxy import ProxyType, Role
from argosy.model.workload import sorted_labels
from argosy.pilot.compile.capture_ports import ports_of
from argosy.pilot.compile.localities import locality_of

GATEWAY_TEMPLATE = "gateway"
GRPC_TEMPLATE = "grpc-agent"


def proxy_type(pod: Pod) -> ProxyType:
    """A gateway or proxyless gRPC by its injection template, as in Istio; else a sidecar.

    https://istio.io/latest/docs/setup/additional-setup/gateway/
    """
    return template_type(pod.metadata)


def template_type(metadata: Metadata) -> ProxyType:
    """As ``proxy_type``, of a pod's metadata or of its template's."""
    written = metadata.annotations.get(TEMPLATES_ANNOTATION)
    if not written:
        return ProxyType.SIDECAR
    templates = [template.strip() for template in written.split(",")]
    if GATEWAY_TEMPLATE in templates:
        return ProxyType.ROUTER
    return ProxyType.GRPC if GRPC_TEMPLATE in templates else ProxyType.SIDECAR


def role_of(pod: Pod) -> Role:
    """Equal for all replicas of a workload: labels, account and ports come from its template."""
    ports: dict[str, int] = {}
    for container in pod.spec.containers:
        for port in container.ports:
            if port.name:
                ports.setdefault(port.name, port.container_port)
    return Role(
        type=proxy_type(pod),
        namespace=Namespace(pod.metadata.namespace),
        labels=sorted_labels(pod.metadata.labels),
        service_account=pod.spec.account,
        ports=tuple(sorted(ports.items())),
        locality=locality_of(pod),
        config=pod.metadata.annotations.get(ANNOTATION, ""),
        capture=ports_of(pod.metadata.annotations),
    )
