"""Services: protocol selection as Istio documents it, addresses, visibility."""

from typing import Any

import msgspec
import pytest

from argosy.api.core import Service as Written
from argosy.model.service import Protocol, Resolution, Service
from argosy.pilot.compile.mesh import DEFAULT_MESH, Mesh
from argosy.pilot.compile.services import protocol_of, service


def compiled(
    spec: dict[str, Any], annotations: dict[str, str] | None = None, mesh: Mesh = DEFAULT_MESH
) -> Service:
    metadata = {"name": "reviews", "namespace": "default", "annotations": annotations or {}}
    written = msgspec.convert({"metadata": metadata, "spec": spec}, Written)
    result = service(written, mesh)
    assert not result.problems
    assert result.value is not None
    return result.value


@pytest.mark.parametrize(
    ("number", "name", "app_protocol", "expected"),
    [
        (80, "http", "", Protocol.HTTP),
        (80, "http-web", "", Protocol.HTTP),
        (80, "HTTP", "", Protocol.HTTP),
        (80, "http2", "", Protocol.HTTP2),
        (80, "grpc-api", "", Protocol.GRPC),
        (80, "grpc-web", "", Protocol.GRPC_WEB),
        (80, "grpc-web-ui", "", Protocol.GRPC_WEB),
        (443, "https", "", Protocol.HTTPS),
        (443, "tls-x", "", Protocol.TLS),
        (1, "tcp", "", Protocol.TCP),
        (1, "mongo", "", Protocol.MONGO),
        (1, "redis", "", Protocol.REDIS),
        (1, "mysql", "", Protocol.MYSQL),
        (80, "web", "", Protocol.AUTO),
        (80, "", "", Protocol.AUTO),
        (80, "httpfoo", "", Protocol.AUTO),
        (3306, "", "", Protocol.TCP),
        (3306, "db", "", Protocol.TCP),
        (27017, "", "", Protocol.TCP),
        (25, "", "", Protocol.TCP),
        (53, "", "", Protocol.TCP),
        (5432, "", "", Protocol.AUTO),
        (3306, "http", "", Protocol.HTTP),
        (80, "tcp", "http", Protocol.HTTP),
        (80, "http", "tcp", Protocol.TCP),
        (80, "http", "unheard-of", Protocol.AUTO),
        (80, "", "kubernetes.io/h2c", Protocol.HTTP2),
        (80, "", "kubernetes.io/ws", Protocol.HTTP),
        (80, "", "kubernetes.io/wss", Protocol.HTTPS),
    ],
)
def test_protocol(number: int, name: str, app_protocol: str, expected: Protocol) -> None:
    assert protocol_of(number, name, app_protocol) is expected


def test_a_service() -> None:
    found = compiled(
        {
            "clusterIP": "10.96.0.7",
            "selector": {"b": "2", "a": "1"},
            "ports": [{"port": 80, "name": "http", "targetPort": "web"}, {"port": 81}],
        }
    )
    assert found.hostname == "reviews.default.svc.cluster.local"
    assert found.addresses == ("10.96.0.7",)
    assert found.selector == (("a", "1"), ("b", "2"))
    assert [(p.number, p.target) for p in found.ports] == [(80, "web"), (81, 81)]
    assert not found.headless
    assert found.export_to == {"*"}


def test_udp_is_left_out_even_when_it_shares_a_number() -> None:
    found = compiled({"ports": [{"port": 53, "protocol": "UDP", "name": "dns"}, {"port": 53}]})
    assert [(p.number, p.protocol) for p in found.ports] == [(53, Protocol.TCP)]


def test_headless() -> None:
    found = compiled({"clusterIP": "None", "publishNotReadyAddresses": True})
    assert found.headless
    assert found.addresses == ()
    assert found.publish_not_ready


def test_external_names_are_resolved_by_dns_unless_they_are_the_meshs_own() -> None:
    outside = compiled({"type": "ExternalName", "externalName": "DB.example."})
    assert (outside.external_name, outside.resolution) == ("db.example", Resolution.DNS)
    assert (outside.external, outside.selector, outside.addresses) == (True, (), ())
    inside = compiled({"type": "ExternalName", "externalName": "db.other.svc.cluster.local"})
    assert (inside.external, inside.resolution) == (False, Resolution.ENDPOINTS)


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("*", {"*"}),
        (".", {"default"}),
        ("~", set()),
        ("a, .", {"a", "default"}),
    ],
)
def test_export_to(annotation: str, expected: set[str]) -> None:
    assert compiled({}, {"networking.istio.io/exportTo": annotation}).export_to == expected


def test_the_mesh_decides_what_the_service_does_not_say() -> None:
    mesh = Mesh(domain="mesh.test", service_export_to=(".",))
    found = compiled({}, mesh=mesh)
    assert found.hostname == "reviews.default.svc.mesh.test"
    assert found.export_to == {"default"}
