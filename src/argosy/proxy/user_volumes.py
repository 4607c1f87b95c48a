"""Volumes that a pod's annotations mount into its proxy: certificates of the user's own, mostly.

``sidecar.istio.io/userVolume`` and ``userVolumeMount`` are JSON: maps from a volume's name to the
volume and to where it is mounted. https://istio.io/latest/docs/reference/config/annotations/
"""

import json
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
    spec = msgspec.structs.replace(pod.spec, volumes=written)
    own = msgspec.structs.replace(pod, spec=spec)
    claims = volumes.claims_of(directory.parents[2], pod.metadata.namespace)
    places = volumes.write(own, address, sources, directory / "volumes", claims)
    container = Container(name="istio-proxy", volume_mounts=mounted)
    scratch = directory / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    mounts: tuple[Mount, ...] = volumes.mounts_of(container, places, {})
    return View(mounts, keep=keep, scratch=scratch)


def _decoded(annotations: Mapping[str, str], name: str, kind: type[Any]) -> tuple[Any, ...]:
    text = annotations.get(name, "")
    if not text:
        return ()
    try:
        found = json.loads(text)
        items = [{"name": key, **value} for key, value in found.items()]
        return tuple(msgspec.convert(items, list[kind]))  # type: ignore[valid-type]  # a Struct
    except (ValueError, TypeError, AttributeError, msgspec.ValidationError) as error:
        raise ConfigError(f"annotation {name}: {error}") from error
