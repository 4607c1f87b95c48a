"""EnvoyFilters whose patches depend on the order in which others are applied."""

from types import MappingProxyType

from argosy.api.networking_envoy_filter import ConfigPatch, EnvoyFilter
from argosy.base.names import Namespace, ObjectKey
from argosy.base.problems import Problem, Severity
from argosy.derive import Reader, formula
from argosy.pilot.graph.world import keys, read

_RELATIVE = frozenset({"REMOVE", "REPLACE", "INSERT_BEFORE", "INSERT_AFTER"})
_INSERTS = frozenset({"INSERT_BEFORE", "INSERT_AFTER"})


@formula
def versioned_filters(get: Reader) -> MappingProxyType[str, tuple[ObjectKey, ...]]:
    """Names of filters that some patch concerns for some proxy versions only, and whose patch."""
    found: dict[str, dict[ObjectKey, None]] = {}
    for key in keys(get, "EnvoyFilter"):
        for name in get(versioned_names, key.namespace, key.name):
            found.setdefault(name, {})[key] = None
    return MappingProxyType({name: tuple(owners) for name, owners in found.items()})


@formula
def versioned_names(get: Reader, namespace: Namespace, name: str) -> tuple[str, ...]:
    written = read(get, ObjectKey("EnvoyFilter", namespace, name), EnvoyFilter)
    patches = written.spec.config_patches if written else ()
    return tuple(sorted({filter_name(patch) for patch in patches if _is_versioned(patch)} - {""}))


@formula
def relative_operations(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    """Told as Istio tells it; Argosy applies EnvoyFilters of equal priority by age, then by name."""
    written = read(get, key, EnvoyFilter)
    if written is None or written.spec.priority:
        return ()
    versioned = get(versioned_filters)
    found = []
    for index, patch in enumerate(written.spec.config_patches):
        operation = patch.patch.operation
        if operation not in _RELATIVE or (_is_versioned(patch) and operation in _INSERTS):
            continue  # the second is told of the object by itself
        others = versioned.get(filter_name(patch), ())
        code = "EnvoyFilterUsesRelativeOperation"
        message = f"{operation} meets what patches before it have left, and there is no priority"
        if others:
            code = "EnvoyFilterUsesRelativeOperationWithProxyVersion"
            message += f"; {others[0]} patches the same filter for some proxy versions only"
        found.append(
            Problem(
                key,
                f"spec.configPatches[{index}].patch.operation",
                code,
                message,
                "write spec.priority, or use INSERT_FIRST or ADD",
                Severity.WARNING,
            )
        )
    return tuple(found)


def filter_name(patch: ConfigPatch) -> str:
    """The filter that a patch brings, or else the one that it looks for."""
    value = patch.patch.value
    name = value.get("name") if isinstance(value, dict) else None
    if isinstance(name, str) and name:
        return name
    listener = patch.match.listener if patch.match else None
    chain = listener.filter_chain if listener else None
    return chain.filter.name if chain and chain.filter else ""


def _is_versioned(patch: ConfigPatch) -> bool:
    match = patch.match
    return bool(match and match.proxy and match.proxy.proxy_version)
