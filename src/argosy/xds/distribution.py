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


@dataclass(slots=True, eq=False)
class Publication:
    """One publication under way. Clients are keyed by stream, named by client id."""

    revision: int
    generation: int
    at: float
    waiting: dict[Hashable, str]
    settled: dict[Hashable, str] = field(default_factory=dict)
    rejections: dict[Hashable, list[Rejection]] = field(default_factory=dict)
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
        self._all: deque[Publication] = deque(maxlen=keep)
        self.revision = 0

    def begin(
        self, revision: int, generation: int, at: float, waiting: Iterable[tuple[Hashable, str]]
    ) -> Publication:
        """A new publication that concerns the given clients."""
        publication = Publication(revision, generation, at, dict(waiting))
        self._all.append(publication)
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
        for publication in self._all:
            if publication.generation > generation:
                break
            if key not in publication.waiting:
                continue
            publication.settled[key] = publication.waiting.pop(key)
            publication.last = now
            answered.append(publication)
        return answered

    def reject(self, key: Hashable, rejection: Rejection) -> None:
        """The client refused something that was sent for these publications."""
        for publication in self._all:
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
        return done
