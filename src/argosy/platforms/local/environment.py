"""The environment of a container, as a kubelet makes it. Pure.

https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from argosy.api.core import ConfigMap, Secret
from argosy.api.core_container import Container, EnvVarSource
from argosy.api.core_pod import Pod

HOST_ADDRESS = "127.0.0.1"
_ESCAPED_OR_REFERENCE = re.compile(r"\$(\$|\(([^()\s]+)\))")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
_QUANTITY = re.compile(r"([0-9.]+)([a-zA-Z]*)")
_UNITS = {
    "": 1.0,
    "m": 0.001,
    **{unit: 1000.0**i for i, unit in enumerate(("k", "M", "G", "T", "P"), 1)},
    **{unit: 1024.0**i for i, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi"), 1)},
}


class ConfigError(Exception):
    """The container cannot be configured as written: Kubernetes' CreateContainerConfigError."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What a pod's containers may read: the ConfigMaps and Secrets of its namespace, by name."""

    config_maps: Mapping[str, ConfigMap]
    secrets: Mapping[str, Secret]


def environment(
    container: Container,
    pod: Pod,
    address: str,
    sources: Sources,
    base: Mapping[str, str],
) -> dict[str, str]:
    """All variables: ``base`` (the image's), then ``envFrom``, then ``env`` in order.

    Raises ConfigError when a required ConfigMap, Secret, key or field is missing.
    """
    variables = dict(base)
    for source in container.env_from:
        for name, value in _all_of(source.config_map_ref, source.secret_ref, sources).items():
            variables[f"{source.prefix}{name}"] = value
    for variable in container.env:
        if variable.value_from is None:
            variables[variable.name] = expand(variable.value, variables)
            continue
        found = _value_from(variable.value_from, variable.name, container, pod, address, sources)
        if found is not None:
            variables[variable.name] = found
    return variables


def expand(text: str, variables: Mapping[str, str]) -> str:
    """``$(NAME)`` replaced; ``$$(NAME)`` is ``$(NAME)``, and unknown names stay as written."""

    def value(match: re.Match[str]) -> str:
        if match[2] is None:
            return "$"
        return variables.get(match[2], match[0])

    return _ESCAPED_OR_REFERENCE.sub(value, text)


def field_value(path: str, pod: Pod, address: str) -> str:
    """The downward API's ``fieldRef``. Raises ConfigError for a field it does not have."""
    subscript = _SUBSCRIPT.fullmatch(path)
    if subscript:
        mapping = pod.metadata.labels if subscript[1] == "labels" else pod.metadata.annotations
        return mapping.get(subscript[2], "")
    match path:
        case "metadata.name":
            return pod.metadata.name
        case "metadata.namespace":
            return pod.metadata.namespace
        case "metadata.uid":
            return pod.metadata.uid
        case "metadata.labels":
            return _pairs(pod.metadata.labels)
        case "metadata.annotations":
            return _pairs(pod.metadata.annotations)
        case "spec.nodeName":
            return pod.spec.node_name or "local"
        case "spec.serviceAccountName":
            return pod.spec.account
        case "status.hostIP" | "status.hostIPs":
            return HOST_ADDRESS
        case "status.podIP" | "status.podIPs":
            return address
    raise ConfigError(f"fieldRef: no field {path!r}")


def _pairs(mapping: Mapping[str, str]) -> str:
    return "\n".join(f'{key}="{value}"' for key, value in sorted(mapping.items()))


def _all_of(config_map_ref: object, secret_ref: object, sources: Sources) -> dict[str, str]:
    for reference, kind in ((config_map_ref, "ConfigMap"), (secret_ref, "Secret")):
        if reference is None:
            continue
        name = getattr(reference, "name", "")
        values = _values(kind, name, sources)
        if values is None:
            if getattr(reference, "optional", False):
                continue
            raise ConfigError(f'{kind.lower()} "{name}" not found')
        return {key: value.decode(errors="replace") for key, value in values.items()}
    return {}


def _values(kind: str, name: str, sources: Sources) -> Mapping[str, bytes] | None:
    """The keys of a ConfigMap or Secret; None when there is no such object."""
    if kind == "Secret":
        secret = sources.secrets.get(name)
        return None if secret is None else secret.values
    config_map = sources.config_maps.get(name)
    if config_map is None:
        return None
    return {**{k: v.encode() for k, v in config_map.data.items()}, **config_map.binary_data}


def _value_from(
    source: EnvVarSource,
    variable: str,
    container: Container,
    pod: Pod,
    address: str,
    sources: Sources,
) -> str | None:
    if source.field_ref is not None:
        return field_value(source.field_ref.field_path, pod, address)
    if source.resource_field_ref is not None:
        reference = source.resource_field_ref
        return _resource(reference.resource, reference.divisor, container)
    for kind, selector in (
        ("ConfigMap", source.config_map_key_ref),
        ("Secret", source.secret_key_ref),
    ):
        if selector is None:
            continue
        values = _values(kind, selector.name, sources)
        if values is not None and selector.key in values:
            return values[selector.key].decode(errors="replace")
        if selector.optional:
            return None
        if values is None:
            raise ConfigError(f'{kind.lower()} "{selector.name}" not found')
        raise ConfigError(f"couldn't find key {selector.key} in {kind} {selector.name}")
    raise ConfigError(f"env {variable}: valueFrom has no source that Argosy knows")


def _resource(resource: str, divisor: int | float | str | None, container: Container) -> str:
    """``limits.cpu`` and the like, in units of the divisor, rounded up; 0 when not declared."""
    kind, _, name = resource.partition(".")
    declared: Mapping[str, int | float | str] = {}
    if container.resources is not None:
        wanted = container.resources.limits if kind == "limits" else container.resources.requests
        declared = wanted or container.resources.limits
    unit = _quantity(divisor) if divisor else 1.0
    return str(math.ceil(_quantity(declared.get(name, 0)) / (unit or 1.0) - 1e-9))


def _quantity(value: int | float | str) -> float:
    found = _QUANTITY.fullmatch(str(value))
    if found is None or found[2] not in _UNITS:
        raise ConfigError(f"{value!r} is not a quantity")
    return float(found[1]) * _UNITS[found[2]]


def mapped_values(kind: str, name: str, sources: Sources) -> Mapping[str, bytes] | None:
    """All keys of a ConfigMap or Secret; None when there is no such object."""
    return _values(kind, name, sources)
