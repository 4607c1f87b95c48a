"""What a workload answers on → the clusters by which its sidecar reaches the application."""

from collections.abc import Iterable

from argosy.model.listener import InboundListener
from argosy.model.service import Protocol, Service
from argosy.model.traffic import (
    ApplicationCluster,
    ConnectionPool,
    ServiceName,
    UpstreamProtocol,
)
from argosy.pilot.compile.endpoints import ContainerPorts, target_port


def application_clusters(
    listener: InboundListener,
    services: Iterable[Service],
    container_ports: ContainerPorts,
    pool: ConnectionPool,
    *,
    loopback: bool = False,
) -> tuple[ApplicationCluster, ...]:
    """One for each port of ``listener`` that a service names. ``services`` select the workload.

    ``loopback``: the mesh has its applications called at 127.0.0.1.
    """
    known = tuple(services)
    return tuple(
        ApplicationCluster(
            port=port.port,
            protocol=upstream_protocol(port.protocol),
            services=tuple(
                sorted(
                    ServiceName(service.hostname, service.name, service.namespace)
                    for service in known
                    if any(target_port(p, container_ports) == port.port for p in service.ports)
                )
            ),
            connection_pool=pool,
            loopback=loopback,
        )
        for port in listener.ports
    )


def upstream_protocol(declared: Protocol) -> UpstreamProtocol:
    """What the application speaks: as declared, whatever the peers' proxies speak between them."""
    if declared is Protocol.AUTO:
        return UpstreamProtocol.DOWNSTREAM
    if declared.is_http2:
        return UpstreamProtocol.HTTP2
    return UpstreamProtocol.HTTP1 if declared.is_http else UpstreamProtocol.TCP
