"""A source of resources in memory."""

from collections import defaultdict
from collections.abc import Iterable

from argosy.xds import Change, Group, Layer, Resource, resource


class MemorySource:
    """A source that tests write to. ``changes`` gives what was written since it was last called."""

    def __init__(self) -> None:
        self._layers: dict[Group, tuple[Layer, ...]] = {}
        self._content: dict[tuple[Layer, str], dict[str, Resource]] = defaultdict(dict)
        self._on_demand: set[tuple[Layer, str, str]] = set()
        self._touched: dict[tuple[Layer, str], dict[str, bool]] = defaultdict(dict)
        self.forgotten: list[Group] = []

    def scope(self, group: Group, *layers: Layer) -> None:
        """The group's layers from now on; tell the server with ``rescoped``."""
        self._layers[group] = layers

    def put(
        self, layer: Layer, type_url: str, name: str, body: bytes, *, on_demand: bool = False
    ) -> None:
        """Set a resource; ``on_demand`` keeps it out of the wildcard set."""
        self._touch(layer, type_url, name)
        self._content[layer, type_url][name] = resource(name, body)
        if on_demand:
            self._on_demand.add((layer, type_url, name))

    def remove(self, layer: Layer, type_url: str, name: str) -> None:
        """Take a resource away."""
        self._touch(layer, type_url, name)
        del self._content[layer, type_url][name]

    def _touch(self, layer: Layer, type_url: str, name: str) -> None:
        before = name in self._listed(layer, type_url)
        self._touched[layer, type_url].setdefault(name, before)

    def _listed(self, layer: Layer, type_url: str) -> dict[str, Resource]:
        return {
            name: one
            for name, one in self._content[layer, type_url].items()
            if (layer, type_url, name) not in self._on_demand
        }

    def changes(self) -> list[Change]:
        """What to publish: everything written since the last call."""
        changes = []
        for (layer, type_url), names in self._touched.items():
            listed = self._listed(layer, type_url)
            changes.append(
                Change(
                    layer,
                    type_url,
                    changed=frozenset(n for n, was in names.items() if was == (n in listed)),
                    appeared=frozenset(n for n, was in names.items() if n in listed and not was),
                    vanished=frozenset(n for n, was in names.items() if was and n not in listed),
                )
            )
        self._touched.clear()
        return changes

    def layers(self, group: Group, type_url: str) -> tuple[Layer, ...]:
        _ = type_url
        return self._layers[group]

    def names(self, layer: Layer, type_url: str) -> Iterable[str]:
        return tuple(self._listed(layer, type_url))

    def resource(self, group: Group, type_url: str, name: str) -> Resource | None:
        for layer in self._layers[group]:
            one = self._content[layer, type_url].get(name)
            if one is not None:
                return one
        return None

    def forget(self, group: Group) -> None:
        self.forgotten.append(group)

    def everything(self, group: Group, type_url: str) -> dict[str, bytes]:
        """The bodies of the group's wildcard set."""
        return {
            name: one.body
            for layer in reversed(self._layers[group])
            for name, one in self._listed(layer, type_url).items()
        }
