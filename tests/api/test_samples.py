"""Istio's own samples, which users have and expect to work as they are."""

import os
from pathlib import Path

import pytest

from argosy.api.decode import decode_yaml
from argosy.api.encode import encode
from argosy.api.validate import validate
from argosy.base.problems import Severity

SAMPLES = Path(os.environ.get("ARGOSY_ISTIO_SAMPLES", "../shared/istio-samples"))
FILES = sorted(SAMPLES.rglob("*.yaml")) if SAMPLES.is_dir() else []

BROKEN_IN_ISTIO = {
    # It mounts the volume "ca-certs" and declares "ca": Kubernetes refuses it too.
    ("mtls-echo.yaml", "UnknownVolume"),
}

if not FILES:
    pytest.skip("Istio's samples are not here (ARGOSY_ISTIO_SAMPLES)", allow_module_level=True)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SAMPLES)))
def test_samples_decode_and_are_valid(file: Path) -> None:
    text = file.read_bytes()
    decoded = decode_yaml(text, str(file))
    unsupported = [p for p in decoded.problems if p.code == "UnsupportedKind"]
    assert [str(p) for p in decoded.problems if p.code != "UnsupportedKind"] == []
    written = sum(line.startswith(b"kind:") for line in text.splitlines())
    assert len(decoded.objects) + len(unsupported) == written
    for problem in unsupported:
        assert problem.line is not None
        assert text.splitlines()[problem.line - 1].startswith(b"kind:")
        assert "supported" in problem.message
    for obj in decoded.objects:
        assert encode(obj)["kind"] == obj.kind
        errors = [p for p in validate(obj) if p.severity is Severity.ERROR]
        assert [str(p) for p in errors if (file.name, p.code) not in BROKEN_IN_ISTIO] == []


def test_all_supported_kinds_of_the_samples_are_seen() -> None:
    kinds = {
        obj.kind for file in FILES for obj in decode_yaml(file.read_bytes(), str(file)).objects
    }
    assert kinds >= {"Deployment", "DestinationRule", "Gateway", "Service", "ServiceAccount", "VirtualService"}  # fmt: skip
