"""Fixtures: a mesh per test module, in a directory of its own; what most modules start in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from inside import Inside, inside
from mesh import ISTIO_SAMPLES, Mesh
from rules import Rules


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh that is not yet up; whatever runs at the end is ended."""
    mesh = Mesh(tmp_path_factory.mktemp("meshes"))
    try:
        yield mesh
    finally:
        mesh.down()


@pytest.fixture(scope="module")
def meshed(
    mesh: Mesh, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Mesh:
    """With the WORKLOADS of the module, unless it has a fixture of this name itself."""
    file = tmp_path_factory.mktemp("yaml") / "workloads.yaml"
    file.write_text(request.module.WORKLOADS)
    mesh.up(file)
    return mesh


@pytest.fixture(scope="module")
def curl(meshed: Mesh) -> Iterator[Inside]:
    with inside(meshed, "deploy/curl") as client:
        yield client


@pytest.fixture
def rules(meshed: Mesh) -> Iterator[Rules]:
    with Rules(meshed) as rules:
        yield rules


@pytest.fixture(scope="session")
def istio_samples() -> Path:
    """Istio's own manifests, unchanged."""
    if not ISTIO_SAMPLES.is_dir():
        pytest.skip(f"Istio's samples are not at {ISTIO_SAMPLES} (set ARGOSY_ISTIO_SAMPLES)")
    return ISTIO_SAMPLES
