"""Formulas of request authentication: whose tokens a workload checks, with which keys.

Keys that have to be fetched are cells: the control plane fetches what ``wanted_keys`` names, and
sets ``FetchedKeys`` and ``FetchFailure`` of each place.
"""

from dataclasses import dataclass
from datetime import timedelta

from argosy.api.security_request_authentication import RequestAuthentication
from argosy.base.names import Namespace, ObjectKey
from argosy.base.problems import Compiled, Problem
from argosy.derive import ABSENT, Reader, formula
from argosy.model.proxy import ProxyType, Role
from argosy.model.request_authn import KEY_FETCH_TIMEOUT, KeySource, RequestAuthn
from argosy.model.workload import Health, Labels
from argosy.pilot.compile import request_authn as compiling
from argosy.pilot.compile.request_authn import KeysFailure, RequestPolicy
from argosy.pilot.graph.world import (
    keys,
    mesh_settings,
    names_of,
    read,
    service,
    service_endpoints,
)

KIND = "RequestAuthentication"


@dataclass(frozen=True, slots=True)
class FetchedKeys:
    """The cell of the last good keys of a place: a key set as JSON."""

    source: KeySource


@dataclass(frozen=True, slots=True)
class FetchFailure:
    """The cell of why the last fetch failed: a ``KeysFailure``."""

    source: KeySource


@dataclass(frozen=True, slots=True)
class UnverifiableKeys:
    """The cell of a key set whose private key nobody has: JSON, made anew in each process.

    A key set that is the same everywhere would be one whose private key somebody may have
    (CVE-2026-31837). Without any key Envoy would refuse the listener.
    """


@formula
def written_policy(get: Reader, namespace: Namespace, name: str) -> RequestAuthentication | None:
    return read(get, ObjectKey(KIND, namespace, name), RequestAuthentication)


@formula
def compiled_policy(get: Reader, namespace: Namespace, name: str) -> Compiled[RequestPolicy] | None:
    found = get(written_policy, namespace, name)
    return None if found is None else compiling.request_policy(found)


@formula
def policies_in(get: Reader, namespace: Namespace) -> tuple[RequestPolicy, ...]:
    """By name."""
    found = (get(compiled_policy, namespace, name) for name in names_of(get, KIND, namespace))
    return tuple(compiled.value for compiled in found if compiled is not None)


@formula
def policies_for(get: Reader, namespace: Namespace, labels: Labels) -> tuple[RequestPolicy, ...]:
    """Those that hold for a workload with these labels: the root namespace's first, then by name."""
    root = get(mesh_settings).traffic.root_namespace
    where = dict.fromkeys((root, namespace))
    policies = (policy for place in where for policy in get(policies_in, place))
    return compiling.policies_for(policies, root, namespace, labels)


@formula
def request_authn(get: Reader, role: Role) -> RequestAuthn | None:
    """What the proxies of a role demand of tokens. Routes by claims are for gateways only."""
    rules = compiling.rules_of(get(policies_for, role.namespace, role.labels))
    if not rules:
        return None

    def fetched(source: KeySource) -> str | None:
        found = get.cell(FetchedKeys(source))
        return None if found is ABSENT else str(found)

    def unverifiable() -> str:
        found = get.cell(UnverifiableKeys())
        assert found is not ABSENT, "the key set that nothing can be valid for is not set"
        return str(found)

    return compiling.request_authn(
        rules,
        fetched,
        unverifiable,
        choose_route_again=role.type is ProxyType.ROUTER,
    )


@formula
def wanted_keys(get: Reader) -> tuple[tuple[KeySource, timedelta], ...]:
    """The places that keys must come from, with the longest wait that an object grants each.

    MeshConfig's bundles are among them.
    """
    found = {
        anchor.bundle: KEY_FETCH_TIMEOUT
        for anchor in get(mesh_settings).anchors
        if anchor.bundle is not None
    }
    for key in keys(get, KIND):
        compiled = get(compiled_policy, key.namespace, key.name)
        for source, wait in compiled.value.fetches if compiled is not None else ():
            found[source] = max(wait, found.get(source, wait))
    return tuple(sorted(found.items()))


@formula
def key_servers(get: Reader, host: str, port: int) -> tuple[tuple[str, int], ...] | None:
    """The ready pods behind a Service, named with its namespace; None: it names none.

    Address and port of each. The control plane has no sidecar that would know the Service.
    """
    domain = get(mesh_settings).domain
    name, _, rest = host.rstrip(".").lower().removesuffix(f".{domain}").partition(".")
    namespace, _, kind = rest.partition(".")
    found = get(service, Namespace(namespace), name) if namespace and kind in ("", "svc") else None
    if found is None or found.external_name:
        return None
    endpoints = get(service_endpoints, found.namespace, found.hostname, port)
    return tuple((one.address, one.port) for one in endpoints if one.health is Health.HEALTHY)


@formula
def request_authentication_problems(
    get: Reader, namespace: Namespace, name: str
) -> tuple[Problem, ...]:
    written, compiled = get(written_policy, namespace, name), get(compiled_policy, namespace, name)
    if written is None or compiled is None:
        return ()

    def failure(source: KeySource) -> KeysFailure | None:
        found = get.cell(FetchFailure(source))
        return found if isinstance(found, KeysFailure) else None

    return (*compiled.problems, *compiling.fetch_problems(written, compiled.value, failure))
