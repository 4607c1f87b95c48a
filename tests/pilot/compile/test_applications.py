"""The clusters by which a sidecar reaches its application."""

import pytest

from argosy.base.names import Hostname, Namespace
from argosy.model.application import Loopback
from argosy.model.authn import MtlsMode
from argosy.model.listener import InboundListener, InboundPort, UnknownPort
from argosy.model.service import Protocol, Service, ServicePort
from argosy.model.traffic import ConnectionPool, UpstreamProtocol
from argosy.pilot.compile.applications import application_clusters, upstream_protocol


def a_service(name: str, port: int, target: int | str) -> Service:
    return Service(
        Hostname(f"{name}.default.svc.cluster.local"),
        name,
        Namespace("default"),
        (ServicePort(port, "http", Protocol.HTTP, target),),
    )


NEW, OLD = a_service("new", 80, "web"), a_service("old", 81, 8080)
LISTENER = InboundListener(
    (InboundPort(8080, 81, OLD.hostname, Protocol.HTTP, MtlsMode.STRICT),),
    (UnknownPort(None, MtlsMode.STRICT),),
)


def test_one_for_a_port_however_many_services_name_it() -> None:
    pool = ConnectionPool(max_connections=3)
    (found,) = application_clusters(
        LISTENER.ports,
        [OLD, NEW],
        (("web", 8080),),
        lambda port: pool,
        lambda port: Loopback("127.0.0.1", port.port),
    )
    assert found.port == 8080
    assert [service.name for service in found.services] == ["new", "old"]
    assert found.connection_pool == pool
    assert found.endpoint == Loopback("127.0.0.1", 8080)


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (Protocol.HTTP, UpstreamProtocol.HTTP1),
        (Protocol.GRPC, UpstreamProtocol.HTTP2),
        (Protocol.HTTP2, UpstreamProtocol.HTTP2),
        (Protocol.AUTO, UpstreamProtocol.DOWNSTREAM),
        (Protocol.TCP, UpstreamProtocol.TCP),
        (Protocol.HTTPS, UpstreamProtocol.TCP),
    ],
)
def test_the_application_is_spoken_to_as_declared(
    declared: Protocol, expected: UpstreamProtocol
) -> None:
    """HTTP/2 between sidecars stops at the server's: the application gets HTTP/1.1."""
    assert upstream_protocol(declared) is expected
