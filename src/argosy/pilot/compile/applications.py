"""What a workload answers on → the clusters by which its sidecar reaches the application."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from argosy.model.application import ApplicationEndpoint
from argosy.model.listener import InboundPort
from argosy.model.service import Protocol, Service
from argosy.model.traffic import (
    ApplicationCluster,
    ConnectionPool,
    ServiceName,
    UpstreamProtocol,
)
from argosy.pilot.compile.endpoints import ContainerPorts, target_port
from argosy.pilot.compile.stat_names import stat_name


def application_clusters(
    ports: Iterable[InboundPort],
    services: Iterable[Service],
    container_ports: ContainerPorts,
    pool: Callable[[InboundPort], ConnectionPool],
    endpoint: Callable[[InboundPort], ApplicationEndpoint],
    stat_pattern: str = "",
) -> tuple[ApplicationCluster, ...]:
    """One for each port. ``services`` select the workload.

    ``stat_pattern`` is what they are called in statistics; empty: by their names.
    """
    known = tuple(services)
    return tuple(
        ApplicationCluster(
            port=port.port,
            protocol=upstream_protocol(
                port.protocol if port.tls is None else terminated_protocol(port.protocol)
            ),
            services=tuple(
                sorted(
                    ServiceName(service.hostname, service.name, service.namespace)
                    for service in known
                    if any(target_port(p, container_ports) == port.port for p in service.ports)
                )
            ),
            connection_pool=pool(port),
            endpoint=endpoint(port),
            stat_name=_stat_name(port, known, stat_pattern),
        )
        for port in ports
    )


def _stat_name(port: InboundPort, services: tuple[Service, ...], pattern: str) -> str:
    """Of a Sidecar's listener the port is the listener's, as in Istio."""
    service = next((one for one in services if one.hostname == port.host), None)
    named = None if service is None else service.get_port(port.service_port)
    if service is None or named is None:
        return ""
    if port.name is not None:
        named = replace(named, name=port.name, number=port.port)
    return stat_name(pattern, service, replace(named, target=port.port))


def terminated_protocol(declared: Protocol) -> Protocol:
    """What is inside TLS that is ended at the sidecar: HTTPS becomes HTTP, TLS becomes TCP."""
    return {Protocol.HTTPS: Protocol.HTTP, Protocol.TLS: Protocol.TCP}.get(declared, declared)


def upstream_protocol(declared: Protocol) -> UpstreamProtocol:
    """What the application speaks: as declared, whatever the peers' proxies speak between them."""
    if declared is Protocol.AUTO:
        return UpstreamProtocol.DOWNSTREAM
    if declared.is_http2:
        return UpstreamProtocol.HTTP2
    return UpstreamProtocol.HTTP1 if declared.is_http else UpstreamProtocol.TCP
