"""One type on one stream: what the client wants, what it was sent, what it refused.

Sans-io and without a clock of its own. ``AdsStream`` drives it and decides when
something may be sent; this file decides what.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from argosy.xds.catalog import Catalog, Rescope
from argosy.xds.rejection import RejectedResource, Rejection, mentioned, split
from argosy.xds.source import Change, Group, Resource
from argosy.xds.type_urls import FULL_SET, empty_means_wildcard
from argosy.xds.wire import EMPTY, Protocol, Request, Response, Snapshot

WILDCARD = "*"
_NOTHING: frozenset[str] = frozenset()


class _Names:
    """Subscriptions with equal names share one set: a scope's clients mostly want the same."""

    def __init__(self) -> None:
        self._sets: WeakValueDictionary[frozenset[str], _Shared] = WeakValueDictionary()

    def share(self, names: frozenset[str]) -> "_Shared":
        known = self._sets.get(names)
        if known is None:
            known = self._sets[names] = _Shared(names)
        return known


class _Shared:
    """Holds a shared set; weakly referenced by the table of sets."""

    __slots__ = ("__weakref__", "names")

    def __init__(self, names: frozenset[str]) -> None:
        self.names = names


_names = _Names()


@dataclass(frozen=True, slots=True)
class Outstanding:
    """A response that the client has not answered yet, and the generation it is about."""

    response: Response
    generation: int
    oldest: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What to send next. ``oldest`` is the first generation that it brings to the client."""

    resources: tuple[Resource, ...] = ()
    removed: tuple[str, ...] = ()
    oldest: int = 0


@dataclass(slots=True, eq=False)
class Subscription:
    """The state. Dictionaries map a name to the generation at which it was touched.

    ``dirty``: to be looked up and sent. ``asked``: of these, requested by name and unanswered,
    so that a missing one is answered at once. ``held``: to be removed when nothing refers to
    them any more. ``retry``: parts of a refused response.
    ``inherited``: a state-of-the-world client that had resources before this stream; what it
    has is unknown, so nothing may be left out of a full response to find a culprit.
    """

    type_url: str
    protocol: Protocol
    group: Group
    seen: int
    requested: bool = False
    wildcard: bool = False
    explicit: bool = False
    inherited: bool = False
    answered: bool = False
    last_nonce: int = 0
    acknowledged_nonce: int = 0
    dirty: dict[str, int] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    held: dict[str, int] = field(default_factory=dict)
    retry: list[tuple[tuple[str, ...], int]] = field(default_factory=list)
    removed_again: tuple[str, ...] = ()
    outstanding: Outstanding | None = None
    rejected: dict[str, Rejection] = field(default_factory=dict)
    snapshot: Snapshot | None = None
    waiting_since: float | None = None
    holding_since: float | None = None
    sent_at: float = 0.0
    answered_at: float = 0.0
    _subscribed: _Shared = field(default_factory=lambda: _names.share(_NOTHING))

    def __post_init__(self) -> None:
        if self.protocol is Protocol.SOTW and self.type_url in FULL_SET:
            self.snapshot = EMPTY

    @property
    def names(self) -> frozenset[str]:
        """Names the client asked for one by one."""
        return self._subscribed.names

    @property
    def unsent(self) -> bool:
        """Whether something is known that the client was not sent, removals aside."""
        return bool(self.dirty or self.retry or self.removed_again or not self.answered)

    @property
    def settled(self) -> bool:
        """Whether the client has answered everything, removals that are held aside."""
        return self.outstanding is None and not self.unsent

    def pending_generation(self) -> int | None:
        """The first generation of which the client has not acknowledged everything."""
        candidates = [*self.dirty.values(), *self.held.values()]
        candidates.extend(oldest for _, oldest in self.retry)
        if self.outstanding is not None:
            candidates.append(self.outstanding.oldest)
        return min(candidates, default=None)

    # What the client says

    def request(self, request: Request, catalog: Catalog, warming: frozenset[str]) -> None:
        """Take the names of a request that is not stale; the caller has handled its nonce."""
        first, self.requested = not self.requested, True
        if self.protocol is Protocol.DELTA:
            self._delta(request, catalog, warming, first)
        else:
            self._sotw(request, catalog, first)

    def _delta(
        self, request: Request, catalog: Catalog, warming: frozenset[str], first: bool
    ) -> None:
        subscribe = frozenset(request.subscribe)
        unsubscribe = frozenset(request.unsubscribe) - subscribe
        wildcard = WILDCARD in subscribe or (
            first and not subscribe and empty_means_wildcard(self.type_url)
        )
        subscribe -= {WILDCARD}
        have = request.initial_versions if first else {}
        if unsubscribe:
            self._unsubscribe(unsubscribe, catalog)
        if subscribe:
            self._subscribed = _names.share(self.names | subscribe)
        wanted = set(subscribe)
        if wildcard:
            self.wildcard = True
            wanted |= catalog.wildcard(self.group, self.type_url)
        now = catalog.generation
        for name in wanted:
            known = have.get(name)
            if known is not None and name not in warming:
                resource = catalog.resource(self.group, self.type_url, name)
                if resource is not None and resource.version == known:
                    continue
            self._ask(name, now, by_name=name in subscribe)
        for name in have:
            if name not in wanted:
                self.held[name] = now

    def _sotw(self, request: Request, catalog: Catalog, first: bool) -> None:
        if first:
            self.inherited = bool(request.version)
        names = frozenset(request.subscribe)
        wildcard = WILDCARD in names or (
            not names
            and empty_means_wildcard(self.type_url)
            and not self.explicit
            and (first or self.wildcard)
        )
        self.explicit = self.explicit or bool(names) or not wildcard
        names -= {WILDCARD}
        gone = self.names - names
        came = names - self.names
        now = catalog.generation
        self._subscribed = _names.share(names)
        if wildcard and not self.wildcard:
            for name in catalog.wildcard(self.group, self.type_url):
                self._ask(name, now, by_name=False)
        elif self.wildcard and not wildcard:
            gone |= catalog.wildcard(self.group, self.type_url) - names
        self.wildcard = wildcard
        self._drop([name for name in gone if not self.wants(name, catalog)])
        for name in came:
            self._ask(name, now, by_name=True)

    def _ask(self, name: str, generation: int, by_name: bool) -> None:
        self.held.pop(name, None)
        self.dirty[name] = generation
        if by_name:
            self.asked.add(name)

    def _unsubscribe(self, names: frozenset[str], catalog: Catalog) -> None:
        if WILDCARD in names and self.wildcard:
            self.wildcard = False
            self._drop({*self.dirty, *self.held, *self.rejected} - self.names)
        before = self.names
        self._subscribed = _names.share(before - names)
        self._drop(names & before)
        if self.wildcard:
            for name in names & before:
                # The client cannot know whether "*" still gives it the name: tell it.
                self._ask(name, catalog.generation, by_name=True)

    def _drop(self, names: Collection[str]) -> None:
        for name in names:
            self.dirty.pop(name, None)
            self.held.pop(name, None)
            self.rejected.pop(name, None)
            self.asked.discard(name)
        if self.snapshot is not None and not self.snapshot.resources.keys().isdisjoint(names):
            gone = frozenset(names)
            self.snapshot = Snapshot(
                {name: one for name, one in self.snapshot.resources.items() if name not in gone}
            )

    def wants(self, name: str, catalog: Catalog) -> bool:
        """Whether the client is to have the name, if it exists."""
        return name in self.names or (
            self.wildcard and catalog.in_wildcard(self.group, self.type_url, name)
        )

    # What the source says

    def concerned(self, change: Change, wild: bool) -> bool:
        """Whether a change may alter what this client has."""
        if wild and self.wildcard:
            return True
        names = self.names
        return bool(names) and not (
            names.isdisjoint(change.changed)
            and names.isdisjoint(change.appeared)
            and names.isdisjoint(change.vanished)
        )

    def collect(self, catalog: Catalog) -> None:
        """Take over from the logs what was touched since the last look."""
        if self.seen == catalog.generation:
            return
        for log in catalog.logs(self.group, self.type_url):
            members = catalog.members(log) if self.wildcard else _NOTHING
            for name, generation in log.since(self.seen):
                if name in self.names or (self.wildcard and (name in members or name in log.gone)):
                    self.dirty.setdefault(name, generation)
        self.seen = catalog.generation

    def rescope(self, rescope: Rescope, catalog: Catalog) -> None:
        """The group has other layers now: look at every name that may be affected.

        Layers do not list the names that are served to who asks for them: all of these may be.
        """
        names = rescope.names | self.names if self.wildcard else self.names
        for name in names:
            self.dirty.setdefault(name, catalog.generation)

    def force(self, name: str, generation: int) -> None:
        """Send the name again although it did not change."""
        self.dirty.setdefault(name, generation)

    # What to send

    def next_retry(self, catalog: Catalog) -> Batch | None:
        """The next part of a refused response, with what the names are now."""
        if self.removed_again:
            removed, self.removed_again = self.removed_again, ()
            removed = tuple(name for name in removed if not self._exists(name, catalog))
            if removed:
                return Batch((), removed, catalog.generation)
        while self.retry:
            names, oldest = self.retry.pop(0)
            resources = []
            for name in names:
                resource = self._sendable(name, catalog)
                if resource is not None:
                    resources.append(resource)
                    self.dirty.pop(name, None)
                    self.asked.discard(name)
            if resources:
                return Batch(tuple(resources), (), oldest)
        return None

    def next_updates(self, catalog: Catalog, limit: int, hold_removals: bool) -> Batch | None:
        """What is dirty, up to ``limit`` bytes; None when that comes to nothing.

        With ``hold_removals``, names that are gone move to ``held`` unless just asked for.
        """
        resources: list[Resource] = []
        removed: list[str] = []
        size = 0
        oldest = catalog.generation
        unanswerable = False
        while self.dirty and size < limit:
            name, generation = self.dirty.popitem()
            asked = name in self.asked
            self.asked.discard(name)
            resource = self._wanted(name, catalog)
            if resource is not None:
                self.held.pop(name, None)
                if self._is_refused(resource):
                    continue
                resources.append(resource)
                size += resource.size
            elif asked and self.protocol is Protocol.SOTW and self.snapshot is None:
                continue
            elif asked or not hold_removals:
                removed.append(name)
                unanswerable = True
                self.rejected.pop(name, None)
            else:
                self.held.setdefault(name, generation)
                self.rejected.pop(name, None)
                continue
            oldest = min(oldest, generation)
        if not self.dirty:
            # An emptied table keeps its size, a cleared one does not: streams are many.
            self.dirty.clear()
            self.asked.clear()
        if not hold_removals:
            removed.extend(self.held)
            oldest = min([oldest, *self.held.values()])
            self.held.clear()
        if not resources and not removed:
            return None
        mute = self.protocol is Protocol.SOTW and not resources and not unanswerable
        if mute and not self._expressible(removed):
            return None
        resources.sort(key=lambda resource: resource.name)
        return Batch(tuple(resources), tuple(sorted(removed)), oldest)

    def next_removals(self, catalog: Catalog) -> Batch | None:
        """Everything that was held; the caller has decided that it may go."""
        names = [name for name in self.held if not self._exists(name, catalog)]
        oldest = min(self.held.values(), default=0)
        self.held.clear()
        if not names or (self.protocol is Protocol.SOTW and not self._expressible(names)):
            return None
        return Batch((), tuple(sorted(names)), oldest)

    def _expressible(self, removed: Iterable[str]) -> bool:
        """Whether a state-of-the-world response can say that these are gone."""
        return self.snapshot is not None and not self.snapshot.resources.keys().isdisjoint(removed)

    def _wanted(self, name: str, catalog: Catalog) -> Resource | None:
        """The resource as the client is to have it; None when it is to have none."""
        if not self.wants(name, catalog):
            return None
        return catalog.resource(self.group, self.type_url, name)

    def _exists(self, name: str, catalog: Catalog) -> bool:
        return self._wanted(name, catalog) is not None

    def _sendable(self, name: str, catalog: Catalog) -> Resource | None:
        """The resource, unless gone or refused by this client in this very version."""
        resource = self._wanted(name, catalog)
        return None if resource is None or self._is_refused(resource) else resource

    def _is_refused(self, resource: Resource) -> bool:
        refused = self.rejected.get(resource.name)
        if refused is None:
            return False
        return RejectedResource(resource.name, resource.version) in refused.resources

    def sent(self, response: Response, batch: Batch, generation: int, now: float) -> None:
        """The response is on its way."""
        self.outstanding = Outstanding(response, generation, min(batch.oldest, generation))
        self.last_nonce = int(response.nonce)
        self.answered = True
        self.sent_at = now

    # The verdict

    def acknowledge(self, now: float) -> Response:
        """The client took the outstanding response."""
        assert self.outstanding is not None
        response = self.outstanding.response
        self.outstanding = None
        self.acknowledged_nonce = int(response.nonce)
        self.answered_at = now
        if response.snapshot is not None:
            self.snapshot = response.snapshot
            if self.inherited:
                # It took everything there is, what it refused before too.
                self.inherited = False
                self.rejected.clear()
        for resource in response.resources:
            self.rejected.pop(resource.name, None)
        return response

    def reject(self, client_id: str, error: str, now: float) -> Rejection | None:
        """The client refused the outstanding response.

        Returns the verdict when the culprit is known; None when the response is first to be
        tried again in parts.
        """
        assert self.outstanding is not None
        response, generation = self.outstanding.response, self.outstanding.generation
        oldest = self.outstanding.oldest
        self.outstanding = None
        self.answered_at = now
        resources = response.resources
        if self.inherited and response.snapshot is not None:
            # The client keeps its old version of the culprit only while it is not left out.
            self.snapshot = response.snapshot
            named = mentioned(error, resources)
            resources = tuple(one for one in resources if one.name in named) or resources
        elif len(resources) > 1:
            self.retry.extend((part, oldest) for part in split(error, resources))
            self.removed_again = response.removed
            return None
        elif resources and response.removed:
            self.removed_again = response.removed
        rejection = Rejection(
            client_id,
            self.type_url,
            error,
            tuple(RejectedResource(one.name, one.version) for one in resources),
            generation,
            now,
        )
        for one in resources:
            self.rejected[one.name] = rejection
        return rejection
