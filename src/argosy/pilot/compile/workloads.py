"""Pods → workloads: what answers, and whether it may be sent anything."""

from argosy.api import core_pod
from argosy.base.names import Namespace
from argosy.model.proxy import ProxyType
from argosy.model.workload import Health, Workload, sorted_labels
from argosy.pilot.compile.localities import locality_of
from argosy.pilot.compile.registrations import TLS_MODE, group_of
from argosy.pilot.compile.roles import proxy_type


def workload(pod: core_pod.Pod) -> Workload | None:
    """None while the pod has no address, and once its containers are gone.

    A pod that registers itself is a machine: what answers is its WorkloadEntry.
    """
    status = pod.status
    if status is None or not status.pod_ip or status.phase in ("Succeeded", "Failed"):
        return None
    if group_of(pod.metadata):
        return None
    labels = pod.metadata.labels
    return Workload(
        name=pod.metadata.name,
        namespace=Namespace(pod.metadata.namespace),
        address=status.pod_ip,
        labels=sorted_labels(labels),
        service_account=pod.spec.account,
        container_ports=_container_ports(pod.spec),
        health=_health(pod.metadata.deletion_timestamp, status),
        meshed=labels.get(TLS_MODE) == "istio",
        proxyless=proxy_type(pod) is ProxyType.GRPC,
        locality=locality_of(pod),
    )


def _health(deletion_timestamp: str, status: core_pod.PodStatus) -> Health:
    """A pod that is being deleted finishes what it has, whatever its probes say."""
    if deletion_timestamp:
        return Health.DRAINING
    return Health.HEALTHY if status.ready else Health.UNHEALTHY


def _container_ports(spec: core_pod.PodSpec) -> tuple[tuple[str, int], ...]:
    """Named TCP ports; of two with the same name the first counts, as in Kubernetes."""
    ports: dict[str, int] = {}
    for container in (*spec.containers, *spec.init_containers):
        for port in container.ports:
            if port.name and port.protocol == "TCP":
                ports.setdefault(port.name, port.container_port)
    return tuple(sorted(ports.items()))
