"""From the engine to the proxies: observes what somebody asks for, publishes what changed.

The only place where the engine's observations and the xDS library's layers meet. It lives on the
event loop's thread; nothing here waits.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import cast

import structlog

from argosy import derive, xds
from argosy.base.names import ObjectKey
from argosy.model.proxy import Role
from argosy.pilot.graph import layers as graph
from argosy.pilot.graph.encode import Encoded
from argosy.store.cells import CellFeed
from argosy.store.transaction import Event

log = structlog.get_logger()

POLICY_KINDS = frozenset({"VirtualService", "DestinationRule", "Gateway", "PeerAuthentication"})
"""What people write to steer traffic: the first suspects when a proxy refuses a resource."""


class Delivery:
    """The xDS library's source: each (layer, type, name) is a node of the engine."""

    def __init__(self, engine: derive.Engine) -> None:
        self._engine = engine
        self._roles: dict[Role, set[tuple[graph.Layer, str]]] = {}
        self._members: dict[tuple[graph.Layer, str], set[Role]] = {}
        self._resources: dict[tuple[graph.Layer, str], set[str]] = {}
        self._last_good: dict[tuple[Hashable, ...], object] = {}

    # What the xDS library asks (``xds.Source``).

    def layers(self, group: Hashable, type_url: str) -> tuple[Hashable, ...]:
        role = cast("Role", group)
        if role not in self._roles:
            self._roles[role] = set()
            self._engine.observe(graph.layers, role)
        found = self._layers(role)
        wanted = {(layer, type_url) for layer in found}
        held = {key for key in self._roles[role] if key[1] == type_url}
        for key in wanted - held:
            self._join(role, key)
        for key in held - wanted:
            self._leave(role, key)
        return found

    def names(self, layer: Hashable, type_url: str) -> Iterable[str]:
        found = self._engine.value(graph.layer_names, cast("graph.Layer", layer), type_url)
        if isinstance(found, derive.Failed):
            return cast("tuple[str, ...]", self._last_good.get((layer, type_url), ()))
        return found

    def resource(self, group: Hashable, type_url: str, name: str) -> xds.Resource | None:
        layer = graph.owner(self._layers(cast("Role", group)), type_url, name)
        known = self._resources.get((layer, type_url))
        if known is not None and name not in known:
            known.add(name)
            self._engine.observe(graph.layer_resource, layer, type_url, name)
        found = self._engine.value(graph.layer_resource, layer, type_url, name)
        if isinstance(found, derive.Failed):
            # Our own mistake takes nothing away from the proxies.
            found = cast("Encoded | None", self._last_good.get((layer, type_url, name)))
        return None if found is None else xds.Resource(found.name, found.version, found.body)

    def forget(self, group: Hashable) -> None:
        role = cast("Role", group)
        for key in self._roles.pop(role, set()):
            self._leave(role, key, forgotten=True)
        self._engine.release(graph.layers, role)

    # What the control plane tells.

    def changes(self, changed: Iterable[derive.Change]) -> tuple[list[xds.Change], list[Role]]:
        """The engine's report in the xDS library's words, and the roles whose layers changed."""
        merged: dict[tuple[graph.Layer, str], list[set[str]]] = {}
        rescoped: list[Role] = []
        for change in changed:
            if isinstance(change.new, derive.Failed):
                log.error("formula.failed", where=str(change.new.where), error=str(change.new))
                if not isinstance(change.old, derive.Failed):
                    self._last_good[change.args] = change.old
                continue
            self._last_good.pop(change.args, None)
            if change.formula is graph.layers:
                rescoped.append(cast("Role", change.args[0]))
            elif change.formula is graph.layer_names:
                layer, type_url = cast("tuple[graph.Layer, str]", change.args)
                before, after = _names(change.old), _names(change.new)
                sets = merged.setdefault((layer, type_url), [set(), set(), set()])
                sets[1] |= after - before
                sets[2] |= before - after
            elif change.formula is graph.layer_resource:
                layer, type_url, name = cast("tuple[graph.Layer, str, str]", change.args)
                merged.setdefault((layer, type_url), [set(), set(), set()])[0].add(name)
        published = [
            xds.Change(layer, type_url, *(frozenset(names) for names in sets))
            for (layer, type_url), sets in merged.items()
        ]
        return published, rescoped

    def suspects(self, role: Role, type_url: str, name: str) -> tuple[ObjectKey, ...]:
        """The objects that a resource was made from, those that steer traffic only."""
        layer = graph.owner(self._layers(role), type_url, name)
        cells = self._engine.sources(graph.layer_resource, layer, type_url, name)
        found = {
            cell for cell in cells if isinstance(cell, ObjectKey) and cell.kind in POLICY_KINDS
        }
        return tuple(sorted(found))

    def _layers(self, role: Role) -> tuple[graph.Layer, ...]:
        found = self._engine.value(graph.layers, role)
        if isinstance(found, derive.Failed):
            raise AssertionError(str(found))
        return found

    def _join(self, role: Role, key: tuple[graph.Layer, str]) -> None:
        self._roles[role].add(key)
        if key not in self._members:
            self._members[key] = set()
            self._resources[key] = set()
            self._engine.observe(graph.layer_names, *key)
        self._members[key].add(role)

    def _leave(self, role: Role, key: tuple[graph.Layer, str], *, forgotten: bool = False) -> None:
        if not forgotten:
            self._roles[role].discard(key)
        members = self._members[key]
        members.discard(role)
        if members:
            return
        del self._members[key]
        self._engine.release(graph.layer_names, *key)
        for name in self._resources.pop(key):
            self._engine.release(graph.layer_resource, *key, name)


class Publisher:
    """Each transaction of the store becomes one of the engine and one publication to proxies."""

    def __init__(self, engine: derive.Engine, delivery: Delivery, server: xds.Server) -> None:
        self._engine = engine
        self._delivery = delivery
        self._server = server
        self._feed = CellFeed(derive.ABSENT)

    def receive(self, events: Sequence[Event], revision: int) -> None:
        """A subscriber of the store."""
        changed = self._engine.set(self._feed.cells(events))
        changes, rescoped = self._delivery.changes(changed)
        self._server.publish(changes, revision, rescoped)


def _names(value: object) -> frozenset[str]:
    return frozenset() if isinstance(value, derive.Failed) else frozenset(cast("tuple[str]", value))
