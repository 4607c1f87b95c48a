"""A pod's volumes as directories of this machine, ready to be mounted into containers.

ConfigMaps, Secrets, projected and downward volumes are written out; an ``emptyDir`` is a directory
of the pod and ends with it; a claim is a directory that is kept as long as the mesh; a ``hostPath``
is that path. Others are an error that names the volume.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from argosy.api.core_container import Container
from argosy.api.core_pod import KeyToPath, Pod, Volume
from argosy.platforms.local.environment import (
    ConfigError,
    Sources,
    expand,
    field_value,
    mapped_values,
)
from argosy.platforms.local.mounts import Mount

_DEFAULT_MODE = 0o644


def write(
    pod: Pod, address: str, sources: Sources, directory: Path, claims: Path
) -> dict[str, Path]:
    """Write every volume of the pod below ``directory``; returns where each is.

    A claimed volume is a directory below ``claims``, whichever pod claims it.

    Raises ConfigError when something required is missing.
    """
    return {
        volume.name: _claimed(volume, claims)
        if volume.persistent_volume_claim is not None
        else _write_one(volume, pod, address, sources, directory / volume.name)
        for volume in pod.spec.volumes
    }


def mounts_of(
    container: Container, volumes: Mapping[str, Path], variables: Mapping[str, str]
) -> tuple[Mount, ...]:
    """The container's ``volumeMounts``. Raises ConfigError for a volume the pod does not have."""
    made = []
    for wanted in container.volume_mounts:
        source = volumes.get(wanted.name)
        if source is None:
            raise ConfigError(f"volumeMount {wanted.name!r}: the pod has no volume of this name")
        sub_path = wanted.sub_path or expand(wanted.sub_path_expr, variables)
        if sub_path:
            if sub_path.startswith("/") or ".." in Path(sub_path).parts:
                raise ConfigError(f"volumeMount {wanted.name!r}: bad subPath {sub_path!r}")
            source = source / sub_path
            if not source.exists():
                source.mkdir(parents=True)
        made.append(Mount(source, wanted.mount_path, wanted.read_only))
    return tuple(made)


def claims_of(pods: Path, namespace: str) -> Path:
    """Where a mesh that keeps its pods below ``pods`` keeps the claims of a namespace."""
    return pods.parent / "claims" / namespace


def _claimed(volume: Volume, claims: Path) -> Path:
    name = str((volume.persistent_volume_claim or {}).get("claimName", ""))
    if not name or "/" in name or name.startswith("."):
        raise ConfigError(f"volume {volume.name!r}: {name!r} cannot name a claim")
    path = claims / name
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o777)
    return path


def _write_one(volume: Volume, pod: Pod, address: str, sources: Sources, path: Path) -> Path:
    if volume.host_path is not None:
        return _host_path(volume.host_path.path, volume.host_path.type)
    path.mkdir(parents=True, exist_ok=True)
    if volume.config_map is not None:
        wanted = volume.config_map
        mode = _DEFAULT_MODE if wanted.default_mode is None else wanted.default_mode
        _write_keys(path, "ConfigMap", wanted.name, wanted.items, mode, wanted.optional, sources)
    elif volume.secret is not None:
        secret = volume.secret
        mode = _DEFAULT_MODE if secret.default_mode is None else secret.default_mode
        _write_keys(
            path, "Secret", secret.secret_name, secret.items, mode, secret.optional, sources
        )
    elif volume.projected is not None:
        _write_projected(path, volume.projected, pod, address, sources)
    elif volume.downward_api is not None:
        _write_downward(path, volume.downward_api, pod, address)
    elif volume.empty_dir is not None or not _has_source(volume):
        path.chmod(0o777)
    else:
        raise ConfigError(
            f"volume {volume.name!r}: only emptyDir, configMap, secret, projected, downwardAPI, "
            "hostPath and persistentVolumeClaim volumes work on one machine"
        )
    return path


def _has_source(volume: Volume) -> bool:
    others = (
        volume.csi,
        volume.ephemeral,
        volume.image,
        volume.nfs,
    )
    return any(source is not None for source in others)


def _host_path(path: str, kind: str) -> Path:
    there = Path(path)
    if kind == "DirectoryOrCreate":
        there.mkdir(parents=True, exist_ok=True)
    if not there.exists():
        raise ConfigError(f"hostPath {path} does not exist on this machine")
    return there


def _write_keys(
    path: Path,
    kind: str,
    name: str,
    items: tuple[KeyToPath, ...],
    mode: int,
    optional: bool,
    sources: Sources,
) -> None:
    values = mapped_values(kind, name, sources)
    if values is None:
        if optional:
            return
        raise ConfigError(f'{kind.lower()} "{name}" not found')
    if not items:
        for key, value in values.items():
            _write_file(path, key, value, mode)
        return
    for item in items:
        if item.key in values:
            _write_file(path, item.path, values[item.key], mode if item.mode is None else item.mode)
        elif not optional:
            raise ConfigError(f"{kind} {name} has no key {item.key!r}")


def _write_projected(path: Path, projected: Any, pod: Pod, address: str, sources: Sources) -> None:
    mode = projected.get("defaultMode") or _DEFAULT_MODE
    for source in projected.get("sources") or ():
        for kind, field in (("ConfigMap", "configMap"), ("Secret", "secret")):
            wanted = source.get(field)
            if wanted:
                items = tuple(
                    KeyToPath(key=i["key"], path=i["path"], mode=i.get("mode"))
                    for i in wanted.get("items") or ()
                )
                name, optional = wanted.get("name", ""), bool(wanted.get("optional"))
                _write_keys(path, kind, name, items, mode, optional, sources)
        if source.get("downwardAPI"):
            _write_downward(path, source["downwardAPI"], pod, address)


def _write_downward(path: Path, downward: Any, pod: Pod, address: str) -> None:
    for item in downward.get("items") or ():
        field = (item.get("fieldRef") or {}).get("fieldPath")
        if field:
            value = field_value(field, pod, address)
            _write_file(path, item["path"], value.encode(), item.get("mode") or _DEFAULT_MODE)


def _write_file(directory: Path, name: str, content: bytes, mode: int) -> None:
    if name.startswith("/") or ".." in Path(name).parts:
        raise ConfigError(f"bad path {name!r} in a volume")
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
    path.chmod(mode & 0o777 | 0o400)
