"""Numbers with their spread, and ratios of paired rounds."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of one thing, in any unit."""

    median: float
    minimum: float
    maximum: float
    count: int

    @property
    def json(self) -> dict[str, float]:
        return asdict(self)


def spread(values: Sequence[float]) -> Spread:
    """Raises ``ValueError`` without values."""
    if not values:
        raise ValueError("nothing was measured")
    return Spread(statistics.median(values), min(values), max(values), len(values))


def paired_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """The ratios of measurements that were taken side by side, round by round."""
    return spread([n / d for n, d in zip(numerators, denominators, strict=True)])


def percentile(ordered: Sequence[float], share: float) -> float:
    """Nearest rank, of values sorted in ascending order; ``share`` is 0 to 1."""
    if not ordered:
        raise ValueError("nothing was measured")
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]
