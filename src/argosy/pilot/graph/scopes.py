"""Formulas from a proxy's role to the scope that decides its outbound configuration."""

from argosy.derive import Reader, formula
from argosy.model.proxy import Role, Scope
from argosy.pilot.graph import (
    destinations,
    localities,
    proxy_configs,
    rate_limits,
    rules,
    sidecars,
    telemetry,
)


@formula
def scope_of(get: Reader, role: Role) -> Scope:
    """The role reduced to its namespace, its Sidecar and those selectors that it satisfies."""
    selectors = {*get(rules.source_selectors), *get(destinations.client_selectors)}
    labels = set(role.labels)
    classes = tuple(sorted(s for s in selectors if set(s) <= labels))
    sidecar, place = get(sidecars.ruling_egress, role), get(localities.place_of, role)
    proxy = get(proxy_configs.traffic_of, role)
    own = get(telemetry.own_telemetries, role)
    limits = get(rate_limits.counted_by_caller, role)
    return Scope(role.type, role.namespace, classes, sidecar, place, proxy, own, limits)
