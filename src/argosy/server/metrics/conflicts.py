"""What the connected proxies' listeners lose to others, and which are no service's: asked of the engine.

Every formula is one that the proxies' own configuration reads anyway, so nothing is computed twice.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from argosy import derive, xds
from argosy.base.problems import Problem
from argosy.model.proxy import ProxyType, Role
from argosy.pilot.graph import inbound, outbound
from argosy.pilot.graph.scopes import scope_of

LISTENER_CONFLICT = "ListenerConflict"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Conflicts:
    """``outbound``: ports of services that lose an address and port to another service's; ``inbound``:
    ports of services that lose a workload's port. ``unselected``: sidecars that no service selects.
    """

    outbound: int = 0
    inbound: int = 0
    unselected: int = 0


def conflicts(engine: derive.Engine, clients: Iterable[xds.ClientStatus]) -> Conflicts:
    """Each port counts once, however many proxies are concerned."""
    outside: set[tuple[object, str]] = set()
    inside: set[tuple[object, str]] = set()
    roles = [client.group for client in clients]
    sidecars = [r for r in roles if isinstance(r, Role) and r.type is ProxyType.SIDECAR]
    services = {role: engine.value(inbound.own_services, role) for role in set(sidecars)}
    scopes = {_known(engine.value(scope_of, role)) for role in services}
    for scope in scopes:
        if scope is not None:
            found = _known(engine.value(outbound.listener_conflicts, scope.routing)) or ()
            outside.update(_ports(one for one in found if one.code == LISTENER_CONFLICT))
    for role in services:
        compiled = _known(engine.value(inbound.compiled_listener, role))
        inside.update(_ports(() if compiled is None else compiled.problems))
    unselected = sum(services[role] == () for role in sidecars)
    return Conflicts(len(outside), len(inside), unselected)


def _known(found: T | derive.Failed) -> T | None:
    """A formula that fails is our own mistake, and counted elsewhere."""
    return None if isinstance(found, derive.Failed) else found


def _ports(found: Iterable[Problem]) -> Iterable[tuple[object, str]]:
    return ((one.object, one.field) for one in found)
