"""Whatever the API admits, Pilot makes something of it, and Envoy takes what it makes."""

from pathlib import Path

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from hypothesis import HealthCheck, Phase, event, given, settings
from tests.features.random_objects import objects

from argosy.api.decode import decode_yaml
from argosy.api.encode import encode
from argosy.api.meta import Object
from argosy.model.proxy import Role
from argosy.pilot.graph.problems import problems_of
from argosy.testing.certificates import ScratchAuthority
from argosy.testing.graph import Graph, a_pod, gateway, sidecar
from argosy.testing.running_envoy import EnvoyError, validate, with_routes

MESH = decode_yaml((Path(__file__).parents[1] / "golden/mesh.yml").read_text(), "mesh.yml").objects
ROLES = (
    sidecar(app="reviews", version="v1"),
    sidecar(app="curl"),
    sidecar("data", app="mysql"),
    gateway(istio="ingressgateway"),
)
GATEWAY_POD = a_pod("gateway", "10.244.0.40", "istio-system", istio="ingressgateway")
EDGE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 8080, name: http, protocol: HTTP}
    hosts: ["*"]
"""


def mesh_with(found: tuple[Object, ...]) -> Graph:
    mesh = Graph(GATEWAY_POD, EDGE)
    mesh.put((*MESH, *found))
    return mesh


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(objects())
def test_nothing_the_api_admits_breaks_pilot(found: tuple[Object, ...]) -> None:
    mesh = mesh_with(found)
    for role in ROLES:
        mesh.resources(role)
    for one in found:
        for problem in mesh.engine.value(problems_of, one.key):
            event(problem.code)
            assert problem.message


@pytest.mark.envoy
@settings(
    max_examples=20,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
@given(found=objects(most=8))
def test_envoy_takes_what_pilot_makes(
    tmp_path_factory: pytest.TempPathFactory, found: tuple[Object, ...]
) -> None:
    mesh = mesh_with(found)
    for role in ROLES:
        directory = tmp_path_factory.mktemp("envoy")
        authority = ScratchAuthority()
        credential = authority.credential("spiffe://cluster.local/ns/default/sa/client")
        (directory / "certs").mkdir()
        (directory / "certs/client.pem").write_text(credential.certificate)
        (directory / "certs/client.key").write_text(credential.key)
        (directory / "certs/ca.pem").write_text(credential.roots)
        (directory / "certs/ca.crl").write_text(authority.revocations())
        try:
            check(mesh, role, directory)
        except EnvoyError as error:
            written = "\n".join(str(encode(one)) for one in found)
            raise AssertionError(f"{error}\n{role}\n{written}") from error


def check(mesh: Graph, role: Role, directory: Path) -> None:
    resources = mesh.resources(role)

    def bodies(kind: str) -> list[bytes]:
        return [encoded.body for (of, _), encoded in resources.items() if of == kind]

    tables = [route_pb2.RouteConfiguration.FromString(body) for body in bodies("RDS")]
    listeners = [listener_pb2.Listener.FromString(body) for body in bodies("LDS")]
    clusters = [cluster_pb2.Cluster.FromString(body) for body in bodies("CDS")]
    validate(
        directory, listeners=[with_routes(one, tables) for one in listeners], clusters=clusters
    )
