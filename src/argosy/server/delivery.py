"""From the engine to the proxies: observes what somebody asks for, publishes what changed.

The only place where the engine's observations and the xDS library's layers meet. It lives on the
event loop's thread; nothing here waits.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import cast

import structlog

from argosy import derive, xds
from argosy.api import registry
from argosy.base.names import ObjectKey
from argosy.model.proxy import Role
from argosy.pilot.graph import layers as graph
from argosy.pilot.graph.encode import Encoded
from argosy.pilot.graph.envoy_filter_problems import blamed_patches
from argosy.pilot.graph.hosts import HostSet
from argosy.pilot.graph.views import apart
from argosy.pilot.translate.patching import PatchRef
from argosy.server.metrics.objects import reason
from argosy.server.tracing.changes import ChangeTraces, about_cells, about_events
from argosy.store.cells import CellFeed
from argosy.store.transaction import Event

log = structlog.get_logger()


_Key = tuple[graph.Layer, str]
"""A layer and a type."""


class Delivery:
    """The xDS library's source: each resource that somebody has asked for is observed once.

    What proxies of several scopes share is observed, and kept, in the layer that it is shared in;
    towards the xDS library it belongs to the layer of each scope. The last good value stays when
    a formula fails: our own mistake takes nothing away from the proxies.
    """

    def __init__(self, engine: derive.Engine) -> None:
        self._engine = engine
        self._layers: dict[Role, tuple[graph.Layer, ...]] = {}
        self._held: dict[Role, set[_Key]] = {}
        self._members: dict[_Key, set[Role]] = {}
        self._names: dict[_Key, tuple[str, ...]] = {}
        self._resources: dict[_Key, dict[str, xds.Resource | None]] = {}
        self._sharing: dict[_Key, set[graph.Layer]] = {}
        self._particular: dict[graph.Layer, HostSet] = {}
        self._shared: dict[graph.Layer, graph.Layer] = {}
        self.failed = 0
        """Formulas that failed: mistakes of our own."""

    # What the xDS library asks (``xds.Source``).

    def layers(self, group: Hashable, type_url: str) -> tuple[Hashable, ...]:
        role = cast("Role", group)
        if role not in self._layers:
            found = self._engine.observe(graph.layers, role)
            if isinstance(found, derive.Failed):
                self._engine.release(graph.layers, role)
                raise AssertionError(str(found))
            self._layers[role] = found
            self._held[role] = set()
        wanted = {(layer, type_url) for layer in self._layers[role]}
        held = {key for key in self._held[role] if key[1] == type_url}
        for key in wanted - held:
            self._join(role, key)
        for key in held - wanted:
            self._held[role].discard(key)
            self._leave(role, key)
        return self._layers[role]

    def names(self, layer: Hashable, type_url: str) -> Iterable[str]:
        key = (cast("graph.Layer", layer), type_url)
        known = self._names.get(key)
        if known is None:  # a layer that nobody has any more
            found = self._engine.value(graph.layer_names, *key)
            return () if isinstance(found, derive.Failed) else found
        return known

    def resource(self, group: Hashable, type_url: str, name: str) -> xds.Resource | None:
        layer = self._deciding(self._layers[cast("Role", group)], type_url, name)
        known = self._resources[layer, type_url]
        if name not in known:
            found = self._engine.observe(graph.layer_resource, layer, type_url, name)
            if not isinstance(found, derive.Failed):
                known[name] = _resource(found)
            elif graph.shares(layer, type_url):  # what it was before it was set apart
                known[name] = self._resources[graph.shared(layer), type_url].get(name)
            else:
                known[name] = None
        return known[name]

    def forget(self, group: Hashable) -> None:
        role = cast("Role", group)
        if role not in self._layers:
            return  # its client left before it asked for anything
        for key in self._held.pop(role):
            self._leave(role, key)
        del self._layers[role]
        self._engine.release(graph.layers, role)

    # What the control plane tells.

    def changes(self, changed: Iterable[derive.Change]) -> tuple[list[xds.Change], list[Role]]:
        """The engine's report in the xDS library's words, and the roles whose layers changed."""
        merged: dict[_Key, tuple[set[str], set[str], set[str]]] = {}
        rescoped: list[Role] = []

        def sets(key: _Key) -> tuple[set[str], set[str], set[str]]:
            return merged.setdefault(key, (set(), set(), set()))

        resources: list[tuple[_Key, str]] = []
        for change in changed:
            if isinstance(change.new, derive.Failed):
                self.failed += 1
                log.error("formula.failed", where=str(change.new.where), error=str(change.new))
            elif change.formula is graph.layers:
                role = cast("Role", change.args[0])
                self._layers[role] = cast("tuple[graph.Layer, ...]", change.new)
                rescoped.append(role)
            elif change.formula is graph.layer_names:
                key = cast("_Key", change.args)
                before, after = set(self._names[key]), cast("tuple[str, ...]", change.new)
                self._names[key] = after
                _, appeared, vanished = sets(key)
                appeared |= set(after) - before
                vanished |= before - set(after)
            elif change.formula is graph.layer_resource:
                *of, name = change.args
                key = cast("_Key", tuple(of))
                known = self._resources[key]
                if name in known:  # else it was let go by a change before this one
                    known[name] = _resource(cast("Encoded | None", change.new))
                    resources.append((key, name))
            elif change.formula is apart:
                for key, names in self._set_apart(change.args[0], cast("HostSet", change.new)):
                    sets(key)[0].update(names)
        for key, name in resources:
            for layer in self._concerned(key, name):
                sets((layer, key[1]))[0].add(name)
        published = [
            xds.Change(layer, type_url, *(frozenset(names) for names in found))
            for (layer, type_url), found in merged.items()
        ]
        return published, rescoped

    def suspects(self, role: Role, type_url: str, name: str) -> tuple[ObjectKey, ...]:
        """The objects that a resource was made from, those that steer traffic only."""
        layers = self._layers.get(role)
        if layers is None:
            return ()
        layer = self._deciding(layers, type_url, name)
        cells = self._engine.sources(graph.layer_resource, layer, type_url, name)
        found = {
            cell for cell in cells if isinstance(cell, ObjectKey) and cell.kind in registry.STEERING
        }
        return tuple(sorted(found))

    def blamed(self, role: Role, rejection: xds.Rejection) -> tuple[PatchRef, ...]:
        """The patches of EnvoyFilters in what a proxy refused, if that is what there is now."""
        layers = self._layers.get(role)
        if layers is None:
            return ()
        found: set[PatchRef] = set()
        for refused in rejection.resources:
            layer = self._deciding(layers, rejection.type_url, refused.name)
            known = self._resources.get((layer, rejection.type_url), {}).get(refused.name)
            if known is None or known.version != refused.version:
                continue
            refs = self._engine.value(blamed_patches, layer, rejection.type_url, refused.name)
            if not isinstance(refs, derive.Failed):
                found.update(refs)
        return tuple(sorted(found))

    # Who observes what.

    def _deciding(self, layers: tuple[graph.Layer, ...], type_url: str, name: str) -> graph.Layer:
        """The layer that a resource is computed and kept in."""
        layer = graph.owner(layers, type_url, name)
        if not graph.shares(layer, type_url):
            return layer
        particular = self._particular.get(layer)
        if particular is None or graph.is_particular(particular, type_url, name):
            return layer
        return self._shared[layer]

    def _concerned(self, key: _Key, name: str) -> list[graph.Layer]:
        """The layers, as the xDS library knows them, that have this resource."""
        layer, type_url = key
        sharing = self._sharing.get(key)
        if sharing is None:
            return [layer]
        return [
            one for one in sharing if not graph.is_particular(self._particular[one], type_url, name)
        ]

    def _set_apart(self, scope: Hashable, particular: HostSet) -> Iterator[tuple[_Key, set[str]]]:
        """Hosts that proxies of a scope share no more, or share again: their resources."""
        for layer, before in list(self._particular.items()):
            if graph.scope_of_layer(layer) != scope:
                continue
            self._particular[layer] = particular
            for type_url in graph.SHARED_TYPES:
                own = self._resources.get((layer, type_url))
                if own is None or not graph.shares(layer, type_url):
                    continue
                names = {*own, *self._resources[graph.shared(layer), type_url]}
                for name in list(own):
                    if not graph.is_particular(particular, type_url, name):
                        del own[name]
                        self._engine.release(graph.layer_resource, layer, type_url, name)
                yield (
                    (layer, type_url),
                    {
                        name
                        for name in names
                        if graph.is_particular(before, type_url, name)
                        != graph.is_particular(particular, type_url, name)
                    },
                )

    def _join(self, role: Role, key: _Key) -> None:
        self._held[role].add(key)
        if key not in self._members:
            self._members[key] = set()
            self._resources[key] = {}
            names = self._engine.observe(graph.layer_names, *key)
            self._names[key] = () if isinstance(names, derive.Failed) else names
            if graph.shares(*key):
                self._share(key)
        self._members[key].add(role)

    def _leave(self, role: Role, key: _Key) -> None:
        members = self._members[key]
        members.discard(role)
        if members:
            return
        del self._members[key]
        del self._names[key]
        self._engine.release(graph.layer_names, *key)
        self._drop(key)
        if graph.shares(*key):
            self._unshare(key)

    def _share(self, key: _Key) -> None:
        layer, type_url = key
        found = self._engine.observe(apart, graph.scope_of_layer(layer))
        if not isinstance(found, derive.Failed):
            self._particular.setdefault(layer, found)
        self._shared[layer] = graph.shared(layer)
        common = (self._shared[layer], type_url)
        self._resources.setdefault(common, {})
        self._sharing.setdefault(common, set()).add(layer)

    def _unshare(self, key: _Key) -> None:
        layer, type_url = key
        self._engine.release(apart, graph.scope_of_layer(layer))
        shared_types = [one for one in graph.SHARED_TYPES if graph.shares(layer, one)]
        if all((layer, other) not in self._members for other in shared_types):
            self._particular.pop(layer, None)
            del self._shared[layer]
        common = (graph.shared(layer), type_url)
        self._sharing[common].discard(layer)
        if not self._sharing[common]:
            del self._sharing[common]
            self._drop(common)

    def _drop(self, key: _Key) -> None:
        for name in self._resources.pop(key):
            self._engine.release(graph.layer_resource, *key, name)


class Publisher:
    """Each transaction of the store becomes one of the engine and one publication to proxies.

    Without ``traces`` nothing is told of it.
    """

    def __init__(
        self,
        engine: derive.Engine,
        delivery: Delivery,
        server: xds.Server,
        traces: ChangeTraces | None = None,
    ) -> None:
        self._engine = engine
        self._delivery = delivery
        self._server = server
        self._traces = traces
        self._feed = CellFeed(derive.ABSENT)
        self._revision = 0
        self.triggers: Counter[str] = Counter()
        """How many publications had something to tell, by the reason."""

    def receive(self, events: Sequence[Event], revision: int) -> None:
        """A subscriber of the store."""
        self._revision = revision
        reasons = {reason(event.key.kind) for event in events}
        self._set(self._feed.cells(events), reasons, lambda: about_events(events))

    def set(self, cells: Mapping[Hashable, object]) -> None:
        """Cells that are not the store's."""
        self._set(cells, ("global",), lambda: about_cells(cells))

    def _set(
        self,
        cells: Mapping[Hashable, object],
        reasons: Iterable[str],
        about: Callable[[], str],
    ) -> None:
        traces = self._traces
        change = None if traces is None else traces.begin(about())
        changed = self._engine.set(cells, None if change is None else change.refreshed)
        changes, rescoped = self._delivery.changes(changed)
        if change is not None:
            change.computed_all()
        if changes or rescoped:
            self.triggers.update(reasons)
        publication = self._server.publish(changes, self._revision, rescoped)
        if traces is not None and change is not None:
            traces.published(change, publication)


def _resource(value: Encoded | None) -> xds.Resource | None:
    return None if value is None else xds.Resource(value.name, value.version, value.parts)
