"""Which names of which layer changed when: one log per layer, shared by all streams.

Every publication has a *generation*, a counter. A stream remembers, per type, the
one generation up to which it has looked; what it still has to send is read from the
logs of its group's layers. So a stream of ten thousand resources costs no dictionary
of ten thousand versions.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from argosy.xds.source import Change, Group, Layer, Resource, Source


@dataclass(slots=True, eq=False)
class LayerLog:
    """One layer's names of one type, and the generation at which each was last touched.

    ``touched`` is ordered by generation, oldest first. ``members`` is the layer's part of
    the wildcard set, read from the source when first needed. ``gone`` are the touched names
    that left it.
    """

    layer: Layer
    type_url: str
    touched: dict[str, int] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    members: set[str] | None = None
    groups: set[Group] = field(default_factory=set)

    def record(self, change: Change, generation: int) -> bool:
        """Note a change; says whether it concerns clients that are subscribed to everything."""
        if self.members is not None:
            self.members |= change.appeared
            self.members -= change.vanished
        self.gone |= change.vanished
        self.gone -= change.appeared
        names = change.changed | change.appeared | change.vanished
        for name in names:
            self.touched.pop(name, None)
            self.touched[name] = generation
        if change.appeared or change.vanished or self.members is None:
            return True
        return not self.members.isdisjoint(names)

    def since(self, generation: int) -> Iterator[tuple[str, int]]:
        """Names touched after the generation, latest first, each with its generation."""
        for name in reversed(self.touched):
            when = self.touched[name]
            if when <= generation:
                return
            yield name, when

    def trim(self, generation: int) -> None:
        """Forget what every stream has already looked at."""
        old = []
        for name, when in self.touched.items():
            if when > generation:
                break
            old.append(name)
        for name in old:
            del self.touched[name]
            self.gone.discard(name)


@dataclass(frozen=True, slots=True)
class Rescope:
    """One type's layers of a group changed: names that may have come, gone or become others.

    They are those that layers list; names that a client asked for one by one may be others too.
    """

    type_url: str
    names: frozenset[str]


class Catalog:
    """The source together with the logs of its changes."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._logs: dict[tuple[Layer, str], LayerLog] = {}
        self._layers: dict[Group, dict[str, tuple[LayerLog, ...]]] = {}
        self.generation = 1

    def logs(self, group: Group, type_url: str) -> tuple[LayerLog, ...]:
        """The logs of the group's layers; creates them on first use."""
        by_type = self._layers.setdefault(group, {})
        logs = by_type.get(type_url)
        if logs is None:
            logs = by_type[type_url] = self._open(group, type_url)
        return logs

    def _open(self, group: Group, type_url: str) -> tuple[LayerLog, ...]:
        logs = []
        for layer in self._source.layers(group, type_url):
            log = self._logs.get((layer, type_url))
            if log is None:
                log = self._logs[layer, type_url] = LayerLog(layer, type_url)
            log.groups.add(group)
            logs.append(log)
        return tuple(logs)

    def members(self, log: LayerLog) -> set[str]:
        """The layer's part of the wildcard set."""
        if log.members is None:
            log.members = set(self._source.names(log.layer, log.type_url))
        return log.members

    def wildcard(self, group: Group, type_url: str) -> frozenset[str]:
        """The group's whole wildcard set."""
        return frozenset().union(*(self.members(log) for log in self.logs(group, type_url)))

    def in_wildcard(self, group: Group, type_url: str, name: str) -> bool:
        """Whether the name is in the group's wildcard set."""
        return any(name in self.members(log) for log in self.logs(group, type_url))

    def resource(self, group: Group, type_url: str, name: str) -> Resource | None:
        """The resource as the group gets it now."""
        return self._source.resource(group, type_url, name)

    def publish(self, changes: Iterable[Change]) -> dict[Group, list[tuple[Change, bool]]]:
        """Begin a generation. Says which groups have which changes before them.

        The flag beside a change tells whether it concerns wildcard subscriptions.
        """
        self.generation += 1
        concerned: dict[Group, list[tuple[Change, bool]]] = {}
        for change in changes:
            log = self._logs.get((change.layer, change.type_url))
            if log is None:
                continue
            wild = log.record(change, self.generation)
            for group in log.groups:
                concerned.setdefault(group, []).append((change, wild))
        return concerned

    def rescope(self, group: Group) -> tuple[Rescope, ...]:
        """Read the group's layers anew; says which names may mean something else to it now."""
        rescopes = []
        for type_url, old in list(self._layers.get(group, {}).items()):
            new = self._layers[group][type_url] = self._open(group, type_url)
            if old == new:
                continue
            names = self._affected(old, new)
            for log in old:
                if log not in new:
                    self._leave(log, group)
            rescopes.append(Rescope(type_url, frozenset(names)))
        return tuple(rescopes)

    def _affected(self, old: tuple[LayerLog, ...], new: tuple[LayerLog, ...]) -> set[str]:
        """Names of layers that came or went, and names whose layers' order may matter."""
        names: set[str] = set()
        met: set[str] = set()
        for log in dict.fromkeys((*old, *new)):
            every = self.members(log) | set(log.touched)
            names |= every & met if log in old and log in new else every
            met |= every
        return names

    def forget(self, group: Group) -> None:
        """The group has no clients any more."""
        for logs in self._layers.pop(group, {}).values():
            for log in logs:
                self._leave(log, group)
        self._source.forget(group)

    def _leave(self, log: LayerLog, group: Group) -> None:
        log.groups.discard(group)
        if not log.groups:
            self._logs.pop((log.layer, log.type_url), None)

    def trim(self, generation: int) -> None:
        """Forget changes up to the generation; every stream must have looked past it."""
        for log in self._logs.values():
            log.trim(generation)

    def sizes(self) -> Mapping[str, int]:
        """Counts for statistics: layers and remembered changes."""
        return {
            "layers": len(self._logs),
            "changes": sum(len(log.touched) for log in self._logs.values()),
        }
