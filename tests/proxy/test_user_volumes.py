"""Which volumes a proxy gets, and where its agent may write a certificate for the containers."""

import json
from pathlib import Path

import msgspec
import pytest

from argosy.api.core_pod import Pod
from argosy.platforms.local.environment import ConfigError, Sources
from argosy.proxy.user_volumes import output_directory, user_view

OUTPUT = "/etc/istio-output-certs"
MOUNT = {"name": "istio-certs", "mountPath": OUTPUT}
MEMORY = {"name": "istio-certs", "emptyDir": {"medium": "Memory"}}


def pod(mounts: object, *volumes: object, of_annotation: object = None) -> Pod:
    annotations = {"sidecar.istio.io/userVolumeMount": json.dumps(mounts)}
    if of_annotation is not None:
        annotations["sidecar.istio.io/userVolume"] = json.dumps(of_annotation)
    metadata = {"name": "web", "namespace": "default", "annotations": annotations}
    return msgspec.convert(
        {"kind": "Pod", "metadata": metadata, "spec": {"volumes": volumes}}, Pod, strict=False
    )


@pytest.mark.parametrize(
    "mounts", [[MOUNT], {"istio-certs": {"mountPath": OUTPUT}}], ids=["list", "map"]
)
def test_the_volume_is_the_one_of_the_containers(tmp_path: Path, mounts: object) -> None:
    directory = tmp_path / "pods" / "default" / "web"
    shared = pod(mounts, MEMORY)
    found = output_directory(shared, OUTPUT + "/", directory)
    assert found == directory / "volumes" / "istio-certs"
    sources = Sources({}, {})
    view = user_view(shared, "10.244.0.9", sources, directory / "proxy", ())
    assert view is not None
    assert [(mount.source, mount.target) for mount in view.mounts] == [(found, OUTPUT)]


def test_a_mount_of_no_volume_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "pods" / "default" / "web" / "proxy"
    with pytest.raises(ConfigError, match=r"'istio-certs': the pod has no volume"):
        user_view(pod([MOUNT]), "10.244.0.9", Sources({}, {}), directory, ())


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (pod([], MEMORY), "is not the mountPath of a volume"),
        (pod([MOUNT | {"mountPath": "/etc"}], MEMORY), "is not the mountPath of a volume"),
        (pod([MOUNT | {"readOnly": True}], MEMORY), "mounted whole and writable"),
        (pod([MOUNT | {"subPath": "../x"}], MEMORY), "mounted whole and writable"),
        (pod([MOUNT]), "no emptyDir"),
        (pod([MOUNT], {"name": "istio-certs", "hostPath": {"path": "/etc"}}), "no emptyDir"),
        (pod([MOUNT], MEMORY, of_annotation={"istio-certs": {"emptyDir": {}}}), "no emptyDir"),
        (pod([1], MEMORY), "userVolumeMount"),
    ],
)
def test_a_key_goes_nowhere_else(tmp_path: Path, wrong: Pod, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        output_directory(wrong, OUTPUT, tmp_path)
