"""The graph in memory: the last minute in slots, the present minute, and which edges there are.

``now`` is seconds since the epoch. Bounded: edges by number, slots by time; older minutes are the
journal's. Nothing here waits or writes.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from argosy.mixer.graph.edges import OTHER, EdgeFacts, EdgeKey, Flow, Reporter, Tally

MAX_EDGES = 10_000
"""Edges of a day; what comes beyond is counted as OTHER."""

MAX_EDGES_OF_TELLER = 2_000
"""Of those, what the proxies of one workload may be the first to tell of: peers can be invented.

After a restart nobody knows any more who told of what there is already.
"""

SLOT_SECONDS = 5.0
SLOTS = 12
"""So the last minute can be told more finely than the day."""

_TOLD = 15
MINUTE = 60
DAY_MINUTES = 24 * 60

Moment = dict[int, Flow]
"""What happened in some time: flows by the edges' numbers."""

_moment = msgspec.msgpack.Decoder(Moment)


@dataclass(frozen=True, slots=True)
class Frozen:
    """Moments as they were at one time, for any thread to add up.

    ``still`` change no more; of those that do, ``packed`` is a copy, which is made quickest so.
    """

    still: tuple[Moment, ...]
    packed: tuple[bytes, ...]

    def merged(self) -> Moment:
        return merged((*self.still, *map(_moment.decode, self.packed)))


def frozen(still: Iterable[Moment], moving: Iterable[Moment]) -> Frozen:
    return Frozen(tuple(still), tuple(map(msgspec.msgpack.encode, moving)))


@dataclass(slots=True)
class KnownEdge:
    """``seen`` is the last minute in which something was counted, ``teller`` whose proxy told of it
    first; empty: nobody knows any more.

    ``told`` are the last facts of each side: to see that they are the same is quicker than to
    compare them.
    """

    key: EdgeKey
    facts: EdgeFacts
    seen: int
    teller: str = field(default="", compare=False)
    told: list[EdgeFacts] = field(default_factory=list, compare=False)

    def learn(self, facts: EdgeFacts) -> bool:
        """Whether something is new."""
        if any(facts is known for known in self.told):
            return False
        self.told = [*self.told[-_TOLD:], facts]
        completed = self.facts.completed(facts)
        changed = completed != self.facts
        self.facts = completed
        return changed


@dataclass(slots=True)
class EdgeTable:
    """The edges' numbers. Number 0 is OTHER. ``changed`` are those that the journal does not know."""

    edges: dict[int, KnownEdge] = field(default_factory=dict)
    numbers: dict[EdgeKey, int] = field(default_factory=dict)
    changed: set[int] = field(default_factory=set)
    overflowed: int = 0
    limit: int = MAX_EDGES
    share: int = MAX_EDGES_OF_TELLER
    _told: Counter[str] = field(default_factory=Counter)
    _next: int = 1
    _swept: int = -1

    def load(self, edges: Iterable[tuple[int, KnownEdge]], last: int = 0) -> None:
        """As the journal has them. Numbers up to ``last`` stand for others in its minutes."""
        for number, edge in edges:
            self._put(number, edge)
        self._next = max(self._next, last + 1)

    def _put(self, number: int, edge: KnownEdge) -> None:
        self.edges[number] = edge
        self.numbers[edge.key] = number
        self._next = max(self._next, number + 1)
        self._told[edge.teller] += 1

    def number(self, key: EdgeKey, facts: EdgeFacts, minute: int, teller: str = "") -> int:
        """Of this edge; 0 when there is no more room, or none for this teller."""
        found = self.numbers.get(key)
        if found is None:
            if self._is_full(teller) and self._swept != minute:
                self._swept = minute  # all of them are looked at: once for all that find no room
                self.forget(minute - DAY_MINUTES)
            if self._is_full(teller):
                self.overflowed += 1
                return 0
            found = self._next
            self._put(found, KnownEdge(key, facts, minute, teller))
            self.changed.add(found)
            return found
        edge = self.edges[found]
        if edge.learn(facts):
            self.changed.add(found)
        if edge.seen != minute:
            edge.seen = minute
            self.changed.add(found)
        return found

    def forget(self, before: int) -> None:
        """Edges on which nothing was counted since this minute."""
        old = [number for number, edge in self.edges.items() if edge.seen < before]
        for number in old:
            edge = self.edges.pop(number)
            del self.numbers[edge.key]
            self._told[edge.teller] -= 1
            self.changed.discard(number)
        self._told += Counter()  # without those of whom nothing is left

    def _is_full(self, teller: str) -> bool:
        if len(self.edges) >= self.limit:
            return True
        return bool(teller) and self._told[teller] >= self.share

    def __getitem__(self, number: int) -> KnownEdge:
        return self.edges.get(number) or KnownEdge(OTHER, EdgeFacts(), 0)


@dataclass(slots=True)
class _Slot:
    began: float
    flows: Moment = field(default_factory=dict)


class Graph:
    """``minutes`` are those that are not in the journal yet, as far as they are known here."""

    def __init__(self, began: float, table: EdgeTable | None = None) -> None:
        """``began``: nothing before that is known here."""
        self._began = began
        self.table = table or EdgeTable()
        self.minutes: dict[int, Moment] = {}
        self.dirty: set[int] = set()
        self._slots: deque[_Slot] = deque(maxlen=SLOTS + 1)

    def add(
        self,
        key: EdgeKey,
        facts: EdgeFacts,
        reporter: Reporter,
        tally: Tally,
        now: float,
        teller: str = "",
    ) -> None:
        minute = int(now // MINUTE)
        number = self.table.number(key, facts, minute, teller)
        moment = self.minutes.setdefault(minute, {})
        self.dirty.add(minute)
        for flows in (moment, self._slot(now).flows):
            flow = flows.get(number)
            if flow is None:
                flow = flows[number] = Flow()
            flow.side(reporter).add(tally)

    def recent(self, seconds: float, now: float) -> tuple[float, Frozen]:
        """The last seconds, at most a minute, in whole slots, and how many seconds they are."""
        began = now - seconds
        began -= began % SLOT_SECONDS
        slots = [slot.flows for slot in self._slots if slot.began >= began]
        found = frozen(slots[:-1], slots[-1:])
        return max(now - max(began, self._began), 1.0), found

    def _slot(self, now: float) -> _Slot:
        began = now - now % SLOT_SECONDS
        if self._slots and self._slots[-1].began > began + SLOT_SECONDS:
            # The clock was set back: what seems to be in the future would not become old.
            self._slots.clear()
            self._began = now
        if not self._slots or self._slots[-1].began < began:
            self._slots.append(_Slot(began))
        return self._slots[-1]


def merged(moments: Iterable[Mapping[int, Flow]]) -> Moment:
    """A sum that shares nothing with its parts."""
    found: Moment = {}
    for moment in moments:
        for number, flow in moment.items():
            known = found.get(number)
            if known is None:
                known = found[number] = Flow()
            known.add(flow)
    return found


def edges_of(moment: Mapping[int, Flow], table: EdgeTable) -> Iterator[tuple[KnownEdge, Flow]]:
    """By name."""
    pairs = [(table[number], flow) for number, flow in moment.items()]
    return iter(sorted(pairs, key=lambda pair: pair[0].key))
