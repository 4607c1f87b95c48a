"""``argosy analyze`` of a running mesh, of files over it, and what ``apply`` tells of the same.

The mesh is started by a command whose reader leaves at once, and lives on.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mesh import ARGOSY, ISTIO_SAMPLES, SAMPLES, Json, Mesh, eventually

pytestmark = pytest.mark.e2e

WORKLOADS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web, version: v1}}
  template:
    metadata: {labels: {app: web, version: v1}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: web, image: mccutchen/go-httpbin, ports: [{containerPort: 8080}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  ports: [{name: http, port: 8000, targetPort: 8080}]
  selector: {app: web}
"""
V2 = (
    WORKLOADS.partition("---")[0]
    .replace("name: web}", "name: web-v2}", 1)
    .replace("version: v1", "version: v2")
)
SUBSETS = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec:
  host: web
  subsets:
  - {name: v1, labels: {version: v1}}
  - name: v2
    labels: {version: v2}
"""
ROUTE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  http:
  - route:
    - destination: {host: web, subset: v3}
"""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    directory = tmp_path_factory.mktemp("analyze")
    files = directory / "workloads.yaml"
    files.write_text(WORKLOADS)
    made = Mesh(directory / "state")
    command = [str(ARGOSY), "up", "-d", "--images", str(SAMPLES / "images.yaml"), "-f", str(files)]
    try:
        starting = subprocess.Popen(
            command,
            env=made.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert starting.stdout is not None
        starting.stdout.close()
        assert starting.wait(120) == 0, "it outlives its reader" + made.logs()
        yield made
    finally:
        made.down()


def messages(mesh: Mesh, *args: str, stdin: str | None = None) -> list[Json]:
    done = mesh.argosy("analyze", "-o", "json", *args, check=False, stdin=stdin)
    assert done.returncode in (0, 79), done.stderr
    found: list[Json] = json.loads(done.stdout)
    return found


def test_a_mesh_that_is_as_it_should_be(mesh: Mesh) -> None:
    done = mesh.argosy("analyze", "-A")
    assert (done.returncode, done.stdout) == (0, "")
    assert "No validation issues found when analyzing all namespaces." in done.stderr


def test_files_over_the_mesh_change_nothing(mesh: Mesh, tmp_path: Path) -> None:
    (tmp_path / "subsets.yaml").write_text(SUBSETS)
    (tmp_path / "route.yaml").write_text(ROUTE)
    done = mesh.argosy("analyze", str(tmp_path), check=False)
    assert done.returncode == 79
    errors = [line for line in done.stdout.splitlines() if line.startswith("Error ")]
    assert [line.partition(") ")[0] for line in errors] == [
        f"Error [IST0101] (VirtualService default/web {tmp_path}/route.yaml:8",
        f"Error [IST0173] (DestinationRule default/web {tmp_path}/subsets.yaml:9",
    ]
    assert "Analyzers found issues" in done.stderr
    assert mesh.get("vs,dr") == []
    both = f"{SUBSETS}---\n{V2}"
    assert messages(mesh, "-", stdin=both) == [], "a version that comes with the files is there"


def test_apply_tells_the_same_and_a_new_version_mends_it(mesh: Mesh) -> None:
    done = mesh.argosy("apply", "--wait", "-f", "-", stdin=SUBSETS, check=False)
    assert done.returncode == 0, done.stderr
    assert "destinationrule/web created" in done.stdout
    (warning,) = [line for line in done.stderr.splitlines() if line.startswith("Warning:")]
    assert warning.startswith("Warning: -:9: DestinationRule default/web: spec.subsets[1].labels: ")
    assert warning.endswith("[IST0173]")
    (live,) = messages(mesh)
    assert (live["code"], live["level"], live["reference"]) == ("IST0173", "Error", "-:9")
    shown = json.loads(mesh.argosy("get", "dr", "web", "-o", "json").stdout)
    (told,) = shown["status"]["validationMessages"]
    assert told["type"]["code"] == "IST0173"
    assert "[IST0173]" in mesh.argosy("describe", "dr", "web").stdout
    mesh.argosy("analyze", "-S", "IST0173=DestinationRule *.default")
    mesh.apply(V2)
    eventually(lambda: messages(mesh) == [], "no finding is left")
    mesh.delete(SUBSETS, V2)


def test_schema_errors_are_refused(mesh: Mesh) -> None:
    wrong = ROUTE.replace("hosts: [web]", "hostz: [web]")
    (schema,) = [m for m in messages(mesh, "-", stdin=wrong) if m["code"] == "IST0106"]
    assert (schema["reference"], schema["field"]) == ("-:5", "spec.hostz")
    done = mesh.argosy("apply", "-f", "-", stdin=wrong, check=False)
    assert (done.returncode, done.stdout) == (1, "virtualservice/web invalid, not created\n")


def test_a_pod_that_started_before_its_namespace_was_injected(mesh: Mesh) -> None:
    outside = """
apiVersion: v1
kind: Namespace
metadata: {name: late, labels: {istio-injection: disabled}}
"""
    mesh.apply(outside)
    mesh.apply(WORKLOADS, namespace="late")
    mesh.argosy("wait", "deploy/web", "-n", "late")
    assert messages(mesh, "-n", "late") == []
    mesh.apply(outside.replace("disabled", "enabled"))
    (found,) = messages(mesh, "-n", "late")
    assert (found["code"], found["level"]) == ("IST0103", "Warning")
    mesh.argosy("delete", "namespace", "late")


@pytest.mark.skipif(not ISTIO_SAMPLES.is_dir(), reason="Istio's samples are not here")
def test_a_sample_over_the_mesh(mesh: Mesh) -> None:
    files = [
        str(ISTIO_SAMPLES / "bookinfo" / name)
        for name in ("platform/kube/bookinfo.yaml", "networking/bookinfo-gateway.yaml")
    ]
    done = mesh.argosy("analyze", *files)
    assert (done.returncode, done.stdout) == (0, "")
