"""Counters of the server, plain numbers for whoever exports metrics."""

from collections import Counter
from dataclasses import dataclass, field

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 3.0, 5.0, 10.0, 20.0, 30.0)
"""Upper bounds of buckets for times."""

BYTES = (1.0, 10_000.0, 100_000.0, 1_000_000.0, 4_000_000.0, 10_000_000.0, 40_000_000.0)
"""Upper bounds of buckets for sizes."""


@dataclass(slots=True)
class Histogram:
    """How many observations fell under each bound; ``counts`` has one more, for the rest."""

    bounds: tuple[float, ...] = SECONDS
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    @property
    def number(self) -> int:
        return sum(self.counts)

    def observe(self, value: float) -> None:
        self.total += value
        for index, bound in enumerate(self.bounds):
            if value <= bound:
                self.counts[index] += 1
                return
        self.counts[-1] += 1


@dataclass(slots=True)
class Statistics:
    """Since the server was made. Counters by type are keyed by type URL.

    ``acknowledgement``: from a response's sending to its answer. ``convergence``: from a
    publication to the last answer of the clients it concerned; ``client_convergence``: to the last
    answer of each of them. ``queue``: from the moment that there is something for a client until a
    writer turns to it. ``write``: of one response. ``sizes``: of responses, in bytes. ``push_times``:
    from turning to a client, or from the response before, until one is written.
    """

    connected: int = 0
    streams: int = 0
    refused: int = 0
    publications: int = 0
    pushes: Counter[str] = field(default_factory=Counter)
    pushed_bytes: int = 0
    acknowledged: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    slow_writes: int = 0
    acknowledgement: Histogram = field(default_factory=Histogram)
    convergence: Histogram = field(default_factory=Histogram)
    client_convergence: Histogram = field(default_factory=Histogram)
    queue: Histogram = field(default_factory=Histogram)
    write: Histogram = field(default_factory=Histogram)
    sizes: dict[str, Histogram] = field(default_factory=dict)
    push_times: dict[str, Histogram] = field(default_factory=dict)

    def pushed(self, type_url: str, size: int) -> None:
        """A response of so many bytes is about to be written."""
        self.pushes[type_url] += 1
        self.pushed_bytes += size
        self.sizes.setdefault(type_url, Histogram(BYTES)).observe(size)

    def written(self, type_url: str, seconds: float) -> None:
        """A response is written, or given up, so long after it was turned to."""
        self.push_times.setdefault(type_url, Histogram()).observe(seconds)
