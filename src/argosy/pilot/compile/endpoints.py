"""Endpoints: where the workloads of a service answer, for all clients and for one subset.

``endpoints`` keeps unready workloads, marked; ``serving`` is what clients are sent, ``summary``
what their clusters depend on. A workload that comes or goes changes the first two; the third
changes only when an identity or the ability to speak mTLS does.
"""

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from sys import intern

from argosy.base.names import Namespace
from argosy.model.authn import MtlsMode
from argosy.model.service import Resolution, Service, ServicePort
from argosy.model.standard_metrics import workload_facts
from argosy.model.workload import Endpoint, Health, Labels, Workload

ContainerPorts = tuple[tuple[str, int], ...]
"""Pairs of a port's name and number, as the workload declares them."""

UNIX = "unix://"
"""Begins the address of an endpoint that is a socket's path on the client's machine."""

CLUSTER_ID = "Kubernetes"
"""Istio's name of the cluster when there is only one."""


@dataclass(frozen=True, slots=True)
class EndpointSummary:
    """What a cluster must know of its endpoints, ready or not.

    ``identities`` are sorted SPIFFE ids; ``all_mtls`` and ``all_strict`` (nothing but mTLS is
    taken) hold also when there is none.
    """

    identities: tuple[str, ...] = ()
    all_mtls: bool = True
    all_strict: bool = True


def selects(selector: Labels, labels: Labels) -> bool:
    """Every pair of ``selector`` is among ``labels``; an empty selector selects all."""
    return set(selector) <= set(labels)


def endpoints(
    service: Service,
    port: ServicePort,
    workloads: Iterable[Workload],
    mtls_of: Callable[[Workload, int], MtlsMode],
    trust_domain: str,
) -> tuple[Endpoint, ...]:
    """The endpoints of one port among ``workloads``, those not ready too; sorted, no address twice.

    ``mtls_of`` says what a workload demands on one of its own ports. A workload that lacks the
    named target port has no endpoint. A service without selector has none.
    """
    chosen = (
        workload
        for workload in workloads
        if service.selector
        and workload.namespace == service.namespace
        and selects(service.selector, workload.labels)
    )
    return endpoints_at(service, port, chosen, mtls_of, trust_domain)


def endpoints_at(
    service: Service,
    port: ServicePort,
    workloads: Iterable[Workload],
    mtls_of: Callable[[Workload, int], MtlsMode],
    trust_domain: str,
) -> tuple[Endpoint, ...]:
    """As ``endpoints``, of workloads that are known to be the service's."""
    found: dict[tuple[str, int], Endpoint] = {}
    for workload in sorted(workloads, key=lambda w: (w.address, w.namespace, w.name)):
        target = _target_port(service, port, workload)
        if target is None or not _is_reachable(workload.address, service.resolution):
            continue
        mode = mtls_of(workload, target) if workload.meshed else MtlsMode.DISABLE
        if workload.proxyless and not (port.protocol.is_http2 and mode is MtlsMode.STRICT):
            # A gRPC server takes mTLS alone or plaintext alone; other servers there have no TLS.
            mode = MtlsMode.DISABLE
        health = workload.health
        if service.publish_not_ready and health is Health.UNHEALTHY:
            health = Health.HEALTHY
        account = workload.service_account
        found.setdefault(
            (workload.address, target),
            Endpoint(
                address=workload.address,
                port=target,
                labels=workload.labels,
                identity=identity(trust_domain, workload.namespace, account) if account else "",
                mtls=mode is not MtlsMode.DISABLE,
                health=health,
                locality=workload.locality,
                weight=workload.weight,
                workload=telemetry_name(workload),
                strict=mode is MtlsMode.STRICT,
            ),
        )
    return tuple(found.values())


def of_host(service: Service, port: ServicePort) -> Endpoint:
    """A service that DNS resolves and that lists no endpoints is where its name leads."""
    return Endpoint(
        address=service.external_name or service.hostname,
        port=port.target if isinstance(port.target, int) else port.number,
        labels=(),
        identity="",
        mtls=False,
        health=Health.HEALTHY,
    )


def _target_port(service: Service, port: ServicePort, workload: Workload) -> int | None:
    """0 for a socket's path, which has none.

    A WorkloadEntry's own word counts first: by the name of the service's port, or of its target.
    """
    if workload.entry_ports is None:
        return target_port(port, workload.container_ports)
    if workload.address.startswith(UNIX):
        return 0
    return _entry_port(service, port, dict(workload.entry_ports))


def as_entry_has_it(service: Service, entry_ports: ContainerPorts) -> Service:
    """The service with the port numbers of a WorkloadEntry as targets, and those ports alone."""
    own = dict(entry_ports)
    numbers = ((port, _entry_port(service, port, own)) for port in service.ports)
    ports = tuple(replace(port, target=n) for port, n in numbers if n is not None)
    return replace(service, ports=ports)


def _entry_port(service: Service, port: ServicePort, own: Mapping[str, int]) -> int | None:
    if port.name in own:
        return own[port.name]
    if isinstance(port.target, int):
        return port.target
    return own.get(port.target, port.number if service.entry is None else None)


def _is_reachable(address: str, resolution: Resolution) -> bool:
    """Only DNS makes something of a name."""
    if resolution.is_dns or address.startswith(UNIX):
        return True
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def serving(candidates: Iterable[Endpoint], subset: Labels = ()) -> tuple[Endpoint, ...]:
    """Those that clients are sent: ready ones, and draining ones so that pools drain."""
    return tuple(
        e for e in candidates if e.health is not Health.UNHEALTHY and selects(subset, e.labels)
    )


def summary(candidates: Iterable[Endpoint], subset: Labels = ()) -> EndpointSummary:
    chosen = [e for e in candidates if selects(subset, e.labels)]
    return EndpointSummary(
        identities=tuple(sorted({e.identity for e in chosen if e.mtls and e.identity})),
        all_mtls=all(e.mtls for e in chosen),
        all_strict=all(e.strict for e in chosen),
    )


def target_port(port: ServicePort, container_ports: ContainerPorts) -> int | None:
    """The workload's port behind a service's; None when it declares no port of that name.

    https://kubernetes.io/docs/concepts/services-networking/service/#field-spec-ports
    """
    if isinstance(port.target, int):
        return port.target
    return dict(container_ports).get(port.target)


def identity(trust_domain: str, namespace: Namespace, service_account: str) -> str:
    """The SPIFFE id that a workload's certificate carries."""
    # One string for all replicas, of which the control plane keeps many.
    return intern(f"spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}")


def telemetry_name(workload: Workload) -> str:
    """What metrics tell of it, as ``workload_facts`` has it."""
    return intern(facts_of(workload.name, workload.namespace, dict(workload.labels)))


def facts_of(pod: str, namespace: str, labels: Mapping[str, str]) -> str:
    """What metrics tell of a pod's workload."""
    name = workload_name(pod, labels)
    canonical = (
        labels.get("service.istio.io/canonical-name")
        or labels.get("app.kubernetes.io/name")
        or labels.get("app")
        or name
    )
    revision = (
        labels.get("service.istio.io/canonical-revision")
        or labels.get("app.kubernetes.io/version")
        or labels.get("version")
        or "latest"
    )
    return workload_facts(name, namespace, (canonical, revision), CLUSTER_ID, labels)


def workload_name(pod: str, labels: Mapping[str, str]) -> str:
    """What made the pod: ``reviews-v1`` for ``reviews-v1-5d8f9c7b6-x2x9z``.

    Of a long name the pod's has a part of the hash only, or none.
    """
    named = labels.get("service.istio.io/workload-name")
    if named:
        return named
    if labels.get("statefulset.kubernetes.io/pod-name") == pod:
        return pod.rpartition("-")[0]
    template = labels.get("pod-template-hash")
    if template:
        made, hashed = pod.rpartition("-")[0], f"-{template}"
        for length in range(len(hashed), 0, -1):
            if made.endswith(hashed[:length]):
                return made[:-length]
    return pod
