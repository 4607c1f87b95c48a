"""Formulas of what is wrong with a Telemetry, as only the whole mesh can tell."""

from collections.abc import Iterator

from argosy.api.telemetry import Telemetry
from argosy.base.names import Namespace, ObjectKey
from argosy.base.problems import Problem, Severity
from argosy.derive import Reader, formula
from argosy.model.policy_scope import EVERYONE, Attached
from argosy.model.proxy import ProxyType, Role, Sight
from argosy.pilot.compile import telemetry_checks
from argosy.pilot.compile.policy_targets import selects
from argosy.pilot.compile.telemetry import scope_of as selection_of
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
        *_nobody(written, held),
        *_without_proxy(written, held),
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


def _nobody(written: Telemetry, held: tuple[Role, ...]) -> Iterator[Problem]:
    """Of targets; selectors that match no workload are told by the analyzers."""
    scope = selection_of(written)
    if isinstance(scope, Attached) and scope.gateways and not held:
        message = "no proxy of the Gateways that it targets runs here, so it holds for nobody"
        hint = "Use a selector for gateways of networking.istio.io"
        yield Problem(
            written.key, "spec.targetRefs", "SelectsNothing", message, hint, Severity.WARNING
        )


def _without_proxy(written: Telemetry, held: tuple[Role, ...]) -> Iterator[Problem]:
    """Of workloads that an object selects by name; of others it is no news."""
    for role in held if selection_of(written) != EVERYONE else ():
        if role.type is ProxyType.GRPC:
            called = dict(role.labels).get("app", role.service_account)
            message = f"{called} in {role.namespace} has no proxy, so nothing is reported there"
            hint = "Give it a sidecar instead of the template grpc-agent"
            yield Problem(written.key, "", "NotEnforced", message, hint, Severity.WARNING)
            return
