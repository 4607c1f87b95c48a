"""How far a publication has come: who it concerns, who has it, who refused, who is awaited."""

from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from argosy.xds.rejection import Rejection


@dataclass(frozen=True, slots=True)
class Distribution:
    """The state of one revision's distribution.

    ``touched`` counts the clients it concerns that are still connected; ``acknowledged`` took
    all of it. ``pending`` are the ids of clients that have not answered everything. ``seconds``
    is the time from publication to the last answer so far, or to now while any is pending.
    """

    touched: int
    acknowledged: int
    rejected: tuple[Rejection, ...]
    pending: tuple[str, ...]
    seconds: float

    @property
    def complete(self) -> bool:
        """Whether every client that it concerns has answered."""
        return not self.pending


@dataclass(slots=True)
class Traffic:
    """What was sent of one type to clients that a publication waited for, and how they answered.

    ``began`` and ``ended`` are the monotonic seconds of the first response and the last answer;
    ``ended`` is 0 before there is one. ``slowest_seconds`` is from a response to its answer.
    """

    began: float
    ended: float = 0.0
    responses: int = 0
    bytes: int = 0
    answers: int = 0
    refused: int = 0
    slowest: str = ""
    slowest_seconds: float = 0.0


@dataclass(slots=True, eq=False)
class Publication:
    """One publication under way. Clients are keyed by stream, named by client id.

    ``traffic`` is by type URL. ``settled`` is in the order of the answers.
    """

    revision: int
    generation: int
    at: float
    waiting: dict[Hashable, str]
    settled: dict[Hashable, str] = field(default_factory=dict)
    rejections: dict[Hashable, list[Rejection]] = field(default_factory=dict)
    traffic: dict[str, Traffic] = field(default_factory=dict)
    last: float = 0.0

    def distribution(self, now: float) -> Distribution:
        rejected = tuple(one for several in self.rejections.values() for one in several)
        end = now if self.waiting else (self.last or self.at)
        return Distribution(
            touched=len(self.waiting) + len(self.settled),
            acknowledged=sum(key not in self.rejections for key in self.settled),
            rejected=rejected,
            pending=tuple(sorted(self.waiting.values())),
            seconds=end - self.at,
        )


class Publications:
    """The latest publications, oldest first."""

    def __init__(self, keep: int = 256) -> None:
        self._keep = keep
        self._all: deque[Publication] = deque()
        self._waiting: dict[int, Publication] = {}
        """Those that wait for anybody, oldest first; by identity, for generations may be equal."""
        self.revision = 0

    def begin(
        self, revision: int, generation: int, at: float, waiting: Iterable[tuple[Hashable, str]]
    ) -> Publication:
        """A new publication that concerns the given clients."""
        publication = Publication(revision, generation, at, dict(waiting))
        self._all.append(publication)
        if publication.waiting:
            self._waiting[id(publication)] = publication
        if len(self._all) > self._keep:
            self._waiting.pop(id(self._all.popleft()), None)
        self.revision = max(self.revision, revision)
        return publication

    def find(self, revision: int) -> Publication | None:
        """The publication that carried the revision: the first that reached it."""
        return next((one for one in self._all if one.revision >= revision), None)

    def progress(self, key: Hashable, generation: int, now: float) -> list[Publication]:
        """The client has answered everything up to the generation.

        Returns the publications that it has answered now; those that no other client is awaited
        for have nobody in ``waiting``.
        """
        answered = []
        for publication in tuple(self._waiting.values()):
            if publication.generation > generation:
                break
            if key not in publication.waiting:
                continue
            publication.settled[key] = publication.waiting.pop(key)
            publication.last = now
            answered.append(publication)
            self._settle(publication)
        return answered

    def sent(self, key: Hashable, type_url: str, size: int, now: float) -> None:
        """A response of so many bytes is about to be written to the client."""
        for publication in self._waiting.values():
            if key in publication.waiting:
                traffic = publication.traffic.setdefault(type_url, Traffic(now))
                traffic.responses += 1
                traffic.bytes += size

    def answered(
        self, key: Hashable, type_url: str, now: float, seconds: float, *, refused: bool = False
    ) -> None:
        """The client took a response, or refused it, ``seconds`` after it was sent."""
        for publication in self._waiting.values():
            traffic = publication.traffic.get(type_url)
            if traffic is None or key not in publication.waiting:
                continue
            traffic.ended = now
            traffic.answers += 1
            traffic.refused += refused
            if seconds >= traffic.slowest_seconds:
                traffic.slowest, traffic.slowest_seconds = publication.waiting[key], seconds

    def reject(self, key: Hashable, rejection: Rejection) -> None:
        """The client refused something that was sent for these publications."""
        for publication in self._waiting.values():
            if publication.generation <= rejection.generation and key in publication.waiting:
                publication.rejections.setdefault(key, []).append(rejection)

    def leave(self, key: Hashable, now: float) -> list[Publication]:
        """The client is gone; returns the publications that waited for it alone."""
        done = []
        for publication in self._all:
            publication.settled.pop(key, None)
            publication.rejections.pop(key, None)
            if publication.waiting.pop(key, None) is not None and not publication.waiting:
                publication.last = now
                done.append(publication)
                self._settle(publication)
        return done

    def _settle(self, publication: Publication) -> None:
        if not publication.waiting:
            del self._waiting[id(publication)]
