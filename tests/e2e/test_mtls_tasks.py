"""Istio's authentication tasks: who may talk to whom, in plaintext and with mutual TLS.

https://istio.io/latest/docs/tasks/security/authentication/authn-policy/ and .../mtls-migration/
`foo` and `bar` have sidecars, `legacy` has none.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import pytest
from mesh import Mesh, eventually

pytestmark = pytest.mark.e2e

NAMESPACES = """
apiVersion: v1
kind: Namespace
metadata: {name: foo}
---
apiVersion: v1
kind: Namespace
metadata: {name: bar}
---
apiVersion: v1
kind: Namespace
metadata: {name: legacy, labels: {istio-injection: disabled}}
"""

PLACES = ("foo", "bar", "legacy")
EVERYBODY = dict.fromkeys(product(PLACES, PLACES), 200)
RESET = 0


@pytest.fixture(scope="module")
def mesh_of_three(
    mesh: Mesh, istio_samples: Path, tmp_path_factory: pytest.TempPathFactory
) -> Mesh:
    file = tmp_path_factory.mktemp("yaml") / "namespaces.yaml"
    file.write_text(NAMESPACES)
    mesh.up(file)
    samples = (istio_samples / "httpbin" / "httpbin.yaml", istio_samples / "curl" / "curl.yaml")
    for namespace in PLACES:
        mesh.apply(*samples, namespace=namespace)
    for namespace, name in product(PLACES, ("httpbin", "curl")):
        mesh.argosy("wait", f"deploy/{name}", "-n", namespace, "--for", "available")
    eventually(lambda: matrix(mesh) == EVERYBODY, "every pair talks", seconds=20)
    return mesh


def matrix(mesh: Mesh) -> dict[tuple[str, str], int]:
    """The status of a request from every namespace to every namespace; 0 is a reset."""

    def status(pair: tuple[str, str]) -> int:
        source, target = pair
        (call,) = mesh.call("deploy/curl", f"http://httpbin.{target}:8000/ip", namespace=source)
        if call.status == 0:
            assert "Reset" in call.error or "RemoteDisconnected" in call.error, call.error
        return call.status

    with ThreadPoolExecutor(4) as threads:
        return dict(zip(EVERYBODY, threads.map(status, EVERYBODY), strict=True))


def test_automatic_mutual_tls(mesh_of_three: Mesh) -> None:
    """Between sidecars the server sees the caller's identity; without one there is none."""

    def seen(source: str, target: str) -> str:
        (call,) = mesh_of_three.call(
            "deploy/curl", f"http://httpbin.{target}:8000/headers", namespace=source
        )
        assert call.status == 200
        return call.body

    assert "URI=spiffe://cluster.local/ns/foo/sa/curl" in seen("foo", "bar")
    assert "By=spiffe://cluster.local/ns/bar/sa/httpbin" in seen("foo", "bar")
    assert "X-Forwarded-Client-Cert" not in seen("foo", "legacy")
    assert "X-Forwarded-Client-Cert" not in seen("legacy", "foo")


def _policy(namespace: str, mode: str, name: str = "default") -> str:
    return f"""
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata:
  name: {name}
  namespace: {namespace}
spec:
  mtls:
    mode: {mode}
"""


def test_strict_for_the_whole_mesh(mesh_of_three: Mesh) -> None:
    policy = _policy("istio-system", "STRICT")
    mesh_of_three.apply(policy)
    refused = {("legacy", "foo"): RESET, ("legacy", "bar"): RESET}
    assert matrix(mesh_of_three) == {**EVERYBODY, **refused}
    mesh_of_three.delete(policy)
    assert matrix(mesh_of_three) == EVERYBODY


def test_strict_for_a_namespace(mesh_of_three: Mesh) -> None:
    policy = _policy("foo", "STRICT")
    mesh_of_three.apply(policy)
    assert matrix(mesh_of_three) == {**EVERYBODY, ("legacy", "foo"): RESET}
    mesh_of_three.delete(policy)
    assert matrix(mesh_of_three) == EVERYBODY


@pytest.mark.covers(
    "PeerAuthentication.selector", "PeerAuthentication.portLevelMtls", "PeerAuthentication.mtls"
)
def test_strict_for_a_workload_and_a_port_left_out(mesh_of_three: Mesh) -> None:
    workload = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata:
  name: httpbin
  namespace: bar
spec:
  selector:
    matchLabels:
      app: httpbin
  mtls:
    mode: STRICT
"""
    mesh_of_three.apply(workload)
    assert matrix(mesh_of_three) == {**EVERYBODY, ("legacy", "bar"): RESET}
    mesh_of_three.apply(workload + "  portLevelMtls:\n    8080:\n      mode: DISABLE\n")
    assert matrix(mesh_of_three) == EVERYBODY
    mesh_of_three.delete(workload)


def test_a_workloads_policy_goes_before_its_namespaces(mesh_of_three: Mesh) -> None:
    namespace = _policy("foo", "STRICT")
    workload = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata:
  name: overwrite-example
  namespace: foo
spec:
  selector:
    matchLabels:
      app: httpbin
  mtls:
    mode: DISABLE
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: overwrite-example
  namespace: foo
spec:
  host: httpbin.foo.svc.cluster.local
  trafficPolicy:
    tls:
      mode: DISABLE
"""
    mesh_of_three.apply(namespace)
    mesh_of_three.apply(workload)
    assert matrix(mesh_of_three) == EVERYBODY
    mesh_of_three.delete(workload)
    assert matrix(mesh_of_three) == {**EVERYBODY, ("legacy", "foo"): RESET}
    mesh_of_three.delete(namespace)


def test_migration_from_permissive_to_strict(mesh_of_three: Mesh) -> None:
    """Plaintext first taken everywhere, then refused in foo, then in the mesh."""
    assert matrix(mesh_of_three) == EVERYBODY
    mesh_of_three.apply(_policy("foo", "STRICT"))
    assert matrix(mesh_of_three) == {**EVERYBODY, ("legacy", "foo"): RESET}
    mesh_of_three.apply(_policy("istio-system", "STRICT"))
    refused = {("legacy", "foo"): RESET, ("legacy", "bar"): RESET}
    assert matrix(mesh_of_three) == {**EVERYBODY, **refused}
    mesh_of_three.delete(_policy("foo", "STRICT"))
    mesh_of_three.delete(_policy("istio-system", "STRICT"))
