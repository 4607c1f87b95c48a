"""Formulas of what is wrong with a Telemetry, as only the whole mesh can tell."""

from argosy.api.telemetry import Telemetry
from argosy.base.names import Namespace, ObjectKey
from argosy.base.problems import Problem
from argosy.derive import Reader, formula
from argosy.model.policy_scope import EVERYONE
from argosy.model.proxy import Role, Sight
from argosy.pilot.compile import telemetry_checks
from argosy.pilot.compile.policy_targets import selects
from argosy.pilot.compile.telemetry import scope_of as selection_of
from argosy.pilot.graph.policy_problems import for_nobody, without_proxy
from argosy.pilot.graph.rules import EVERYBODY, provider_cluster
from argosy.pilot.graph.scopes import scope_of
from argosy.pilot.graph.telemetry import KIND, holding, telemetries
from argosy.pilot.graph.world import MESH_CONFIG, has_mixer, mesh_settings, proxy_roles, read


@formula
def telemetry_problems(get: Reader, namespace: Namespace, name: str) -> tuple[Problem, ...]:
    written = read(get, ObjectKey(KIND, namespace, name), Telemetry)
    if written is None:
        return ()
    held = get(held_for, namespace, name)
    sights = {get(scope_of, role).sight for role in held}

    def is_reachable(service: str, port: int) -> bool:
        return all(get(provider_cluster, sight, service, port) is not None for sight in sights)

    mesh = get(mesh_settings)
    root = mesh.traffic.root_namespace
    # The mesh's object is above a namespace's, and both above one that selects.
    level = root if selection_of(written) == EVERYONE else namespace
    others = (read(get, key, Telemetry) for key in get(holding, level, ()))
    wider = [one.spec for one in others if one is not None and one.key != written.key]
    return (
        *telemetry_checks.conflicts(get(telemetries, namespace)),
        *telemetry_checks.tag_problems(written),
        *telemetry_checks.provider_problems(
            written, wider, mesh.telemetry, is_reachable, mixer=get(has_mixer)
        ),
        *for_nobody(written.key, selection_of(written), held),
        *without_proxy(written.key, held if _is_narrow(written) else (), "is reported"),
    )


@formula
def default_problems(get: Reader) -> tuple[Problem, ...]:
    """What is wrong with the providers that MeshConfig names, for most proxies."""

    def is_reachable(service: str, port: int) -> bool:
        return get(provider_cluster, Sight(EVERYBODY), service, port) is not None

    return telemetry_checks.default_problems(
        MESH_CONFIG, get(mesh_settings).telemetry, is_reachable, mixer=get(has_mixer)
    )


@formula
def held_for(get: Reader, namespace: Namespace, name: str) -> tuple[Role, ...]:
    """The proxies that an object holds for, if no other one hides it."""
    written = read(get, ObjectKey(KIND, namespace, name), Telemetry)
    if written is None:
        return ()
    scope = selection_of(written)
    everywhere = scope == EVERYONE and namespace == get(mesh_settings).traffic.root_namespace
    return tuple(
        role
        for role in get(proxy_roles)
        if everywhere
        or (role.namespace == namespace and selects(scope, namespace, role.namespace, role.labels))
    )


def _is_narrow(written: Telemetry) -> bool:
    """Whether it selects workloads by name: of others that nothing is reported of is no news."""
    return selection_of(written) != EVERYONE
