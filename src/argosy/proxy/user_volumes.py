"""Volumes that a pod's annotations mount into its proxy: certificates of the user's own, mostly.

``sidecar.istio.io/userVolume`` and ``userVolumeMount`` are JSON: maps from a volume's name to the
volume and to where it is mounted, or lists of such with a ``name``. A mount may also name a volume of
the pod itself, which the proxy then shares with the containers.
https://istio.io/latest/docs/reference/config/annotations/
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from argosy.api.core_container import Container, VolumeMount
from argosy.api.core_pod import Pod, Volume
from argosy.platforms.local import volumes
from argosy.platforms.local.environment import ConfigError, Sources
from argosy.platforms.local.mounts import Mount, View

VOLUME = "sidecar.istio.io/userVolume"
MOUNT = "sidecar.istio.io/userVolumeMount"
OUTPUT_CERTS = "OUTPUT_CERTS"
"""What ``proxyMetadata`` names so: where, as the proxy sees it, the agent writes the certificate.

https://istio.io/latest/docs/ops/integrations/prometheus/#tls-settings
"""


def user_view(
    pod: Pod, address: str, sources: Sources, directory: Path, keep: tuple[Path, ...]
) -> View | None:
    """The proxy's view of the file system, with its volumes written out; None: the machine's own.

    ``directory`` is one of the pod's own, in its place. Raises ConfigError when an annotation is mistaken or something required is missing.
    """
    annotations = pod.metadata.annotations
    mounted = _decoded(annotations, MOUNT, VolumeMount)
    if not mounted:
        return None
    written = _decoded(annotations, VOLUME, Volume)
    wanted = {mount.name for mount in mounted} - {volume.name for volume in written}
    of_pod = [volume for volume in pod.spec.volumes if volume.name in wanted]
    shared = [volume for volume in of_pod if volume.empty_dir is not None]
    others = [volume for volume in of_pod if volume.empty_dir is None]
    claims = volumes.claims_of(directory.parents[2], pod.metadata.namespace)
    places: dict[str, Path] = {}
    for group, place in (((*written, *others), directory), (tuple(shared), directory.parent)):
        spec = msgspec.structs.replace(pod.spec, volumes=group)
        own = msgspec.structs.replace(pod, spec=spec)
        places |= volumes.write(own, address, sources, place / "volumes", claims)
    container = Container(name="istio-proxy", volume_mounts=mounted)
    scratch = directory / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    mounts: tuple[Mount, ...] = volumes.mounts_of(container, places, {})
    return View(mounts, keep=keep, scratch=scratch)


def output_directory(pod: Pod, path: str, directory: Path) -> Path:
    """Where the pod's proxy has ``path``, which OUTPUT_CERTS names; ``directory`` is the pod's own.

    Only a memory or other emptyDir volume of the pod's will do: a key shall end with its pod. Raises
    ConfigError for anything else.
    """
    mounts: tuple[VolumeMount, ...] = _decoded(pod.metadata.annotations, MOUNT, VolumeMount)
    mount = next(
        (m for m in mounts if os.path.normpath(m.mount_path) == os.path.normpath(path)), None
    )
    if mount is None:
        raise ConfigError(
            f"{OUTPUT_CERTS}: {path} is not the mountPath of a volume of the annotation {MOUNT}; "
            f'add {{"name": VOLUME, "mountPath": "{path}"}} to it'
        )
    if mount.read_only or mount.sub_path or mount.sub_path_expr:
        raise ConfigError(
            f"{OUTPUT_CERTS}: {path} must be mounted whole and writable; "
            f"leave readOnly, subPath and subPathExpr out of the annotation {MOUNT}"
        )
    by_annotation = {v.name for v in _decoded(pod.metadata.annotations, VOLUME, Volume)}
    volume = next((v for v in pod.spec.volumes if v.name == mount.name), None)
    if mount.name in by_annotation or volume is None or volume.empty_dir is None:
        raise ConfigError(
            f"{OUTPUT_CERTS}: volume {mount.name!r} is no emptyDir of spec.volumes; "
            "only there can the containers of the pod read the certificate"
        )
    return directory / "volumes" / mount.name


def _decoded(annotations: Mapping[str, str], name: str, kind: type[Any]) -> tuple[Any, ...]:
    text = annotations.get(name, "")
    if not text:
        return ()
    try:
        found = json.loads(text)
        named = isinstance(found, list)
        items = found if named else [{"name": key, **value} for key, value in found.items()]
        return tuple(msgspec.convert(items, list[kind]))  # type: ignore[valid-type]  # a Struct
    except (ValueError, TypeError, AttributeError, msgspec.ValidationError) as error:
        raise ConfigError(f"annotation {name}: {error}") from error
