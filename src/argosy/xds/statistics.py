"""Counters of the server, plain numbers for whoever exports metrics."""

from collections import Counter
from dataclasses import dataclass, field

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the histogram's buckets, in seconds."""


@dataclass(slots=True)
class Histogram:
    """How many observations fell under each bound; ``counts`` has one more, for the rest."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0
    number: int = 0

    def observe(self, seconds: float) -> None:
        self.total += seconds
        self.number += 1
        for index, bound in enumerate(BUCKETS):
            if seconds <= bound:
                self.counts[index] += 1
                return
        self.counts[-1] += 1


@dataclass(slots=True)
class Statistics:
    """Since the server was made. Counters by type are keyed by type URL.

    ``acknowledgement``: from a response's sending to its answer. ``convergence``: from a
    publication to the last answer of the clients it concerned.
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
