"""Kubernetes Ingress at the ingress gateway: Istio's task, with what must not get in.

https://istio.io/latest/docs/tasks/traffic-management/ingress/kubernetes-ingress/
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from inside import Inside, inside, outside
from manifests import deployment, mesh_config, server, service
from mesh import SAMPLES, Mesh, eventually
from rules import Rules

from argosy.testing.certificates import ScratchAuthority

pytestmark = pytest.mark.e2e

HOST = "httpbin.example.com"
CLASS = """
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: istio}
spec: {controller: istio.io/ingress-controller}
"""
NO_SIDECAR = {"sidecar.istio.io/inject": "false"}
HTTPBIN = {"service": {"name": "httpbin", "port": {"number": 8000}}}
ECHO = deployment("echo", *server("any", 7000), port=7000, annotations=NO_SIDECAR) + service(
    "echo", "echo", {"name": "http", "port": 80, "targetPort": 7000}
)


@pytest.fixture(scope="module")
def meshed(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    echo = tmp_path_factory.mktemp("yaml") / "echo.yaml"
    echo.write_text(ECHO)
    mesh.up(SAMPLES / "httpbin" / "httpbin.yaml", SAMPLES / "curl" / "curl.yaml", echo)
    return mesh


@pytest.fixture(scope="module")
def url(meshed: Mesh) -> str:
    return meshed.url


@pytest.fixture(scope="module")
def browser(meshed: Mesh) -> Iterator[Inside]:
    with outside() as clients:
        yield clients


@pytest.fixture
def rules(meshed: Mesh) -> Iterator[Rules]:
    with Rules(meshed) as rules:
        rules.apply("class", CLASS)
        yield rules


def ingress(spec: dict[str, Any], annotations: dict[str, str] | None = None) -> str:
    metadata = {"name": "ingress", "namespace": "default", "annotations": annotations or {}}
    kind = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress"}
    return json.dumps({**kind, "metadata": metadata, "spec": spec})


def path(text: str, kind: str = "Prefix", backend: Any = HTTPBIN) -> dict[str, Any]:
    return {"path": text, "pathType": kind, "backend": backend}


def status(browser: Inside, url: str, host: str = HOST) -> int:
    found = browser.get(url, headers={"host": host})
    assert found.error == "" or found.status == 0
    return found.status


@pytest.mark.covers(
    "Ingress.ingressClassName",
    "Ingress.rules[].host",
    "Ingress.rules[].http.paths[].path",
    "IngressClass.controller",
)
def test_the_task(rules: Rules, browser: Inside, url: str) -> None:
    spec = {
        "ingressClassName": "istio",
        "rules": [{"host": HOST, "http": {"paths": [path("/status")]}}],
    }
    rules.apply("ingress", ingress(spec))
    assert status(browser, f"{url}/status/200") == 200
    assert status(browser, f"{url}/headers") == 404
    assert status(browser, f"{url}/status/200", "other.example.com") == 404
    rules.delete("ingress")
    assert status(browser, f"{url}/status/200") in (0, 404)


@pytest.mark.covers(
    "Ingress.rules[].http.paths[].backend",
    "Ingress.rules[].http.paths[].backend.service.port.number",
    "Ingress.rules[].http.paths[].backend.resource",
)
def test_each_path_has_its_backend(
    meshed: Mesh, rules: Rules, browser: Inside, url: str, tmp_path: Path
) -> None:
    """A path to what is no service is an error, and not served; the others are."""
    bucket = {"resource": {"apiGroup": "example.com", "kind": "Bucket", "name": "pictures"}}
    echo = {"service": {"name": "echo", "port": {"number": 80}}}
    paths = [path("/echo", backend=echo), path("/status"), path("/pictures", backend=bucket)]
    spec = {"ingressClassName": "istio", "rules": [{"host": HOST, "http": {"paths": paths}}]}
    file = tmp_path / "ingress.json"
    file.write_text(ingress(spec))
    rules.apply("ingress", ingress(spec), quietly=False)
    said = meshed.argosy("apply", "-f", str(file), check=False).stderr
    field = "spec.rules[0].http.paths[2].backend.resource"
    assert f"Error: {file}:1: Ingress default/ingress: {field}: only services can be" in said

    def echoed() -> bool:
        answer = browser.get(f"{url}/echo/here", headers={"host": HOST})
        return answer.status == 200 and answer.json["path"] == "/echo/here"

    eventually(echoed, "the service echo answers")
    assert status(browser, f"{url}/status/201") == 201, "the service httpbin"
    assert status(browser, f"{url}/pictures") == 404


@pytest.mark.covers("Ingress.rules[].http.paths[].pathType")
def test_paths_match_whole_elements(rules: Rules, browser: Inside, url: str) -> None:
    paths = [path("/status/200"), path("/headers", "Exact")]
    rules.apply(
        "ingress", ingress({"ingressClassName": "istio", "rules": [{"http": {"paths": paths}}]})
    )
    assert status(browser, f"{url}/status/200") == 200
    assert status(browser, f"{url}/status/2001") == 404
    assert status(browser, f"{url}/status") == 404
    assert status(browser, f"{url}/headers") == 200
    assert status(browser, f"{url}/headers/") == 404


@pytest.mark.covers(
    "Ingress.defaultBackend.service.name", "Ingress.defaultBackend.service.port.name"
)
def test_what_no_rule_takes_goes_to_the_default_backend(
    rules: Rules, browser: Inside, url: str
) -> None:
    by_name = {"service": {"name": "httpbin", "port": {"name": "http"}}}
    spec = {
        "ingressClassName": "istio",
        "defaultBackend": by_name,
        "rules": [{"host": HOST, "http": {"paths": [path("/headers")]}}],
    }
    rules.apply("ingress", ingress(spec))
    assert status(browser, f"{url}/status/202") == 202
    assert status(browser, f"{url}/status/203", "other.example.com") == 203


def test_ingresses_of_other_classes_are_not_served(rules: Rules, browser: Inside, url: str) -> None:
    spec: dict[str, Any] = {"rules": [{"http": {"paths": [path("/status")]}}]}
    rules.apply("ingress", ingress(spec, {"kubernetes.io/ingress.class": "nginx"}))
    assert status(browser, f"{url}/status/200") in (0, 404)
    rules.apply("ingress", ingress(spec, {"kubernetes.io/ingress.class": "istio"}))
    assert status(browser, f"{url}/status/200") == 200
    rules.apply("ingress", ingress(spec))
    assert status(browser, f"{url}/status/200") in (0, 404)


def test_an_ingress_shows_its_gateways_address(meshed: Mesh, rules: Rules) -> None:
    rules.apply("ingress", ingress({"ingressClassName": "istio", "defaultBackend": HTTPBIN}))
    (found,) = meshed.get("ingress", "ingress")
    (service,) = meshed.get("svc", "-n", "istio-system", "istio-ingressgateway")
    assert found["status"]["loadBalancer"]["ingress"] == [{"ip": service["spec"]["clusterIP"]}]


@pytest.mark.covers("MeshConfig.ingressControllerMode", "MeshConfig.ingressClass")
def test_which_ingresses_the_mesh_serves(rules: Rules, browser: Inside, url: str) -> None:
    spec: dict[str, Any] = {"rules": [{"http": {"paths": [path("/status")]}}]}

    def is_served(annotations: dict[str, str], settings: str) -> bool:
        rules.apply("mesh", mesh_config(settings))
        rules.apply("ingress", ingress(spec, annotations))
        return status(browser, f"{url}/status/200") == 200

    mine, istios = ({"kubernetes.io/ingress.class": name} for name in ("mine", "istio"))
    for mode, classless, of_class in (
        ("STRICT", False, True),
        ("DEFAULT", True, True),
        ("OFF", False, False),
    ):
        settings = f"ingressControllerMode: '{mode}'\ningressClass: mine"
        assert is_served({}, settings) is classless, mode
        assert is_served(mine, settings) is of_class, mode
        assert not is_served(istios, settings), mode
    assert is_served(istios, "{}")


@pytest.mark.covers("MeshConfig.ingressService", "MeshConfig.ingressSelector")
def test_the_gateway_of_ingresses(meshed: Mesh, rules: Rules, browser: Inside, url: str) -> None:
    """Without a selector it is the one that is called as its service."""
    front = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "front", "namespace": "istio-system"},
        "spec": {"selector": {"istio": "ingressgateway"}, "ports": [{"name": "h", "port": 80}]},
    }
    rules.apply("front", json.dumps(front))
    rules.apply("ingress", ingress({"ingressClassName": "istio", "defaultBackend": HTTPBIN}))
    assert status(browser, f"{url}/status/200") == 200
    rules.apply("mesh", mesh_config("ingressService: front"))
    assert status(browser, f"{url}/status/200") in (0, 404)
    rules.apply("mesh", mesh_config("ingressService: front\ningressSelector: ingressgateway"))
    assert status(browser, f"{url}/status/200") == 200
    (service,) = meshed.get("svc", "-n", "istio-system", "front")
    (found,) = meshed.get("ingress", "ingress")
    assert found["status"]["loadBalancer"]["ingress"] == [{"ip": service["spec"]["clusterIP"]}]


@pytest.mark.covers("Ingress.tls[].hosts", "Ingress.tls[].secretName")
def test_tls_by_a_secret_of_the_gateways_namespace(
    meshed: Mesh, rules: Rules, tmp_path: Path
) -> None:
    gateway = "istio-ingressgateway.istio-system.svc.cluster.local"
    authority = ScratchAuthority()
    pair = authority.credential(gateway)
    roots = tmp_path / "ca.pem"
    roots.write_text(pair.roots)
    tmp_path.chmod(0o755)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": "ingress-cert", "namespace": "istio-system"},
        "stringData": {"tls.crt": pair.certificate, "tls.key": pair.key},
    }
    rules.apply("secret", json.dumps(secret))
    spec = {
        "ingressClassName": "istio",
        "tls": [{"hosts": [gateway], "secretName": "ingress-cert"}],
        "rules": [{"host": gateway, "http": {"paths": [path("/status")]}}],
    }
    rules.apply("ingress", ingress(spec))
    with inside(meshed, "deploy/curl") as curl:
        url = f"https://{gateway}"
        assert curl.get(f"{url}/status/201", ca=str(roots)).status == 201
        assert curl.get(f"{url}/headers", ca=str(roots)).status == 404
        assert curl.get(f"{url}/status/201").status == 0  # nobody else vouches for it
