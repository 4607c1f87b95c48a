"""Formulas of what is wrong with an EnvoyFilter, as only the configuration of proxies can tell.

A patch for which there is nothing in any proxy is told with the names that are there; so is one
that was left out because Envoy would refuse what it makes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import assert_never

from argosy.api.typed import did_you_mean
from argosy.base.names import Namespace, ObjectKey
from argosy.base.problems import Problem, Severity
from argosy.derive import Reader, formula
from argosy.model.envoy_filter import ApplyTo, Context, EnvoyFilter, Operation, Patch
from argosy.model.policy_scope import Attached, Everyone, Selected
from argosy.model.proxy import Role
from argosy.pilot.compile import envoy_filters as compiling
from argosy.pilot.graph import envoy_filters, layers
from argosy.pilot.graph.envoy_filters import KIND
from argosy.pilot.graph.layers import Layer
from argosy.pilot.graph.world import mesh_settings, proxy_roles
from argosy.pilot.translate import nearest
from argosy.pilot.translate.patching import PatchRef, ValuedPatch
from argosy.xds import type_urls

_TYPES = (type_urls.LISTENER, type_urls.ROUTE, type_urls.CLUSTER)


@dataclass(frozen=True, slots=True)
class Reach:
    """What the patches of one EnvoyFilter did, over all proxies. ``chosen``: they are for some."""

    chosen: frozenset[int]
    matched: frozenset[int]
    refused: tuple[tuple[int, str, str], ...]


@formula
def reach(get: Reader, namespace: Namespace, name: str) -> Reach:
    """``refused`` are a patch's place, the resource and the reason."""
    key = ObjectKey(KIND, namespace, name)
    chosen: set[int] = set()
    matched: set[int] = set()
    refused: dict[int, tuple[str, str]] = {}
    for layer in get(layers_of, namespace, name):
        for type_url in _TYPES:
            places = _places(layer, type_url, key)
            chosen |= places
            if not places:
                continue
            for resource in get(resource_names, layer, type_url):
                found = get(layers.patched, layer, type_url, resource)
                matched |= {index for of, index in found.matched if of == key}
                for (of, index), why in found.refused:
                    if of == key:
                        refused.setdefault(index, (resource, why))
        chosen |= _places(layer, type_urls.EXTENSION, key)
    told = tuple((index, *why) for index, why in sorted(refused.items()))
    return Reach(frozenset(chosen), frozenset(matched), told)


def _places(layer: Layer, type_url: str, key: ObjectKey) -> set[int]:
    chosen = envoy_filters.of_type(layer.patching, type_url)
    return {index for one in chosen if one.object == key for index in one.patches}


@formula
def layers_of(get: Reader, namespace: Namespace, name: str) -> tuple[Layer, ...]:
    """The layers of configuration that an EnvoyFilter has patches for."""
    key = ObjectKey(KIND, namespace, name)
    root = get(mesh_settings).traffic.root_namespace
    found: dict[Layer, None] = {}
    for role in get(proxy_roles):
        if namespace in (root, role.namespace):
            for layer in get(layers.layers, role):
                urls = (*_TYPES, type_urls.EXTENSION)
                if any(_places(layer, type_url, key) for type_url in urls):
                    found[layer] = None
    return tuple(found)


@formula
def resource_names(get: Reader, layer: Layer, type_url: str) -> tuple[str, ...]:
    """Every name of a type in a layer, those that patches removed too."""
    if type_url != type_urls.ROUTE:
        return layers.unpatched_names(get, layer, type_url)
    found: dict[str, None] = {}
    for name in layers.unpatched_names(get, layer, type_urls.LISTENER):
        listener = layers.unpatched(get, layer, type_urls.LISTENER, name)
        if listener is not None:
            found.update(dict.fromkeys(nearest.route_tables(listener.body)))
    return tuple(found)


@formula
def envoy_filter_problems(get: Reader, namespace: Namespace, name: str) -> tuple[Problem, ...]:
    refused = envoy_filters.refused_version(get, ObjectKey(KIND, namespace, name))
    if refused is not None:
        return (refused.problem,)
    found = get(envoy_filters.compiled, namespace, name)
    if found is None:
        return ()
    values = get(envoy_filters.valued, namespace, name)
    selected = [role for role in _visible(get, found) if compiling.selects(found, role)]
    if not selected:
        return (_selects_nothing(found),)
    reached = get(reach, namespace, name)
    problems = [
        _problem(
            found,
            found.patches[index],
            "PatchRefused",
            f"it is left out: Envoy would refuse {resource}: {why}",
            "Change the patch; everything else stays in force",
            Severity.ERROR,
        )
        for index, resource, why in reached.refused
    ]
    for patch, value in zip(found.patches, values, strict=True):
        if value is None or patch.apply_to is ApplyTo.BOOTSTRAP or patch.index in reached.matched:
            continue
        if patch.context is Context.WAYPOINT or _is_added_whole(patch):
            continue
        problems += _unmatched(get, found, value, selected, patch.index in reached.chosen)
    problems += _clashes(get, found, values)
    return tuple(problems)


def _visible(get: Reader, found: EnvoyFilter) -> Iterator[Role]:
    root = get(mesh_settings).traffic.root_namespace
    for role in get(proxy_roles):
        if found.object.namespace in (root, role.namespace):
            yield role


def _is_added_whole(patch: Patch) -> bool:
    whole = (ApplyTo.LISTENER, ApplyTo.CLUSTER, ApplyTo.EXTENSION_CONFIG)
    return patch.operation is Operation.ADD and patch.apply_to in whole


def _selects_nothing(found: EnvoyFilter) -> Problem:
    match found.scope:
        case Everyone():
            field = ""
        case Selected():
            field = "spec.workloadSelector"
        case Attached():
            field = "spec.targetRefs"
        case _:
            assert_never(found.scope)
    message = "there is no proxy that it is for"
    hint = "Check the labels, and the namespace: only those in the root namespace are for all"
    return Problem(found.object, field, "SelectsNothing", message, hint, Severity.WARNING)


def _unmatched(
    get: Reader, found: EnvoyFilter, value: ValuedPatch, selected: Iterable[Role], chosen: bool
) -> Iterator[Problem]:
    patch = value.patch
    if not chosen:
        wanted = {c for role in selected for c in compiling.contexts(role.type)}
        if patch.context is not Context.ANY and patch.context not in wanted:
            shown = "gateways" if Context.GATEWAY in wanted else "sidecars"
            message = f"its context is {patch.context.value}, and it selects only {shown}"
            yield _problem(found, patch, "MatchesNothing", message, "", field="match.context")
            return
        message = "no proxy has the version or the metadata that it asks for"
        known = ", ".join(f"{k}: {v}" for k, v in _facts(selected).items())
        hint = f"Proxies here have {known}"
        yield _problem(found, patch, "MatchesNothing", message, hint, field="match.proxy")
        return
    miss = nearest.Miss("", "", ())
    for layer in get(layers_of, found.object.namespace, found.object.name):
        for type_url in _TYPES:
            if patch.index not in _places(layer, type_url, found.object):
                continue
            for name in get(resource_names, layer, type_url):
                base = layers.unpatched(get, layer, type_url, name)
                if base is not None:
                    miss = nearest.further(miss, nearest.miss(type_url, base.body, value))
    near = did_you_mean(miss.wanted, miss.present, 0.5) if miss.wanted else ""
    shown = ", ".join(sorted(set(miss.present))[:8])
    hint = " ".join(filter(None, (near, f"There are: {shown}" if shown else "")))
    what = f"there is no {miss.what} {miss.wanted}".rstrip() if miss.what else "there is nothing"
    message = f"it matches nothing in any proxy: {what}"
    yield _problem(found, patch, "MatchesNothing", message, hint, field=miss.field)


def _facts(selected: Iterable[Role]) -> dict[str, str]:
    for role in selected:
        return dict(compiling.metadata_of(role))
    return {}


def _clashes(
    get: Reader, found: EnvoyFilter, values: Iterable[ValuedPatch | None]
) -> Iterator[Problem]:
    """Whole resources that it adds under a name that is taken."""
    taken: dict[str, str] = {}
    for layer in get(layers_of, found.object.namespace, found.object.name):
        for type_url in (type_urls.LISTENER, type_urls.CLUSTER):
            for name in envoy_filters.added_names(layer.patching, type_url):
                if layers.unpatched(get, layer, type_url, name) is not None:
                    taken[name] = "the mesh has one of that name"
    for value in values:
        if value is None or not _is_added_whole(value.patch):
            continue
        name = value.value.name  # type: ignore[union-attr]  # what is added has a name
        if name in taken:
            message = f"{name} is not added: {taken[name]}"
            yield _problem(found, value.patch, "NameTaken", message, "Merge into it, or rename it")


def _problem(
    found: EnvoyFilter,
    patch: Patch,
    code: str,
    message: str,
    hint: str,
    severity: Severity = Severity.WARNING,
    field: str = "",
) -> Problem:
    path = f"spec.configPatches[{patch.index}]"
    return Problem(
        found.object, f"{path}.{field}" if field else path, code, message, hint, severity
    )


@formula
def blamed_patches(get: Reader, layer: Layer, type_url: str, name: str) -> tuple[PatchRef, ...]:
    """The patches that a resource was made with, or brought by; sorted."""
    chosen = envoy_filters.of_type(layer.patching, type_url)
    if not chosen:
        return ()
    found = get(layers.patched, layer, type_url, name)
    out = {ref for ref, _ in found.refused}
    matched = {ref for ref in found.matched if ref not in out}
    if found.resource is None:
        matched |= {
            patch.ref
            for patch in envoy_filters.patches_of(get, chosen)
            if patch.patch.operation is Operation.ADD and getattr(patch.value, "name", "") == name
        }
    return tuple(sorted(matched))
