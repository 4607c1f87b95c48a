"""Fixtures: a mesh per test module, in a directory of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mesh import ISTIO_SAMPLES, Mesh


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh that is not yet up; whatever runs at the end is ended."""
    mesh = Mesh(tmp_path_factory.mktemp("meshes"))
    try:
        yield mesh
    finally:
        mesh.down()


@pytest.fixture(scope="session")
def istio_samples() -> Path:
    """Istio's own manifests, unchanged."""
    if not ISTIO_SAMPLES.is_dir():
        pytest.skip(f"Istio's samples are not at {ISTIO_SAMPLES} (set ARGOSY_ISTIO_SAMPLES)")
    return ISTIO_SAMPLES
