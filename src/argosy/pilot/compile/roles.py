"""Pods → roles: what the configuration of the pod's proxy depends on."""

from argosy.api.core_pod import Pod
from argosy.base.names import Namespace
from argosy.model.proxy import ProxyType, Role

TEMPLATES_ANNOTATION = "inject.istio.io/templates"
GATEWAY_TEMPLATE = "gateway"


def proxy_type(pod: Pod) -> ProxyType:
    """A gateway by its injection template, as Istio's injector has it; else a sidecar.

    https://istio.io/latest/docs/setup/additional-setup/gateway/
    """
    templates = pod.metadata.annotations.get(TEMPLATES_ANNOTATION, "").split(",")
    is_gateway = GATEWAY_TEMPLATE in [template.strip() for template in templates]
    return ProxyType.ROUTER if is_gateway else ProxyType.SIDECAR


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
        labels=tuple(sorted(pod.metadata.labels.items())),
        service_account=pod.spec.account,
        ports=tuple(sorted(ports.items())),
    )
