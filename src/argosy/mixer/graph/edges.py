"""An edge of the graph and what was counted on it. Values and sums; no clock, no files."""

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import NamedTuple

import msgspec

BOUNDS = (
    *(0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0),
    *(30000.0, 60000.0, 300000.0, 600000.0, 1800000.0, 3600000.0),
)
"""Upper bounds of latency buckets in milliseconds: Envoy's own. One more bucket has what is above.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/metrics/v3/stats.proto
"""

MAX_RESPONSES = 64
"""Sets of code, flags and gRPC status on one side of an edge; others are counted as OTHER."""

UNKNOWN = "unknown"
OTHER_RESPONSE = "other;-;"

_GRPC_FAILURES = frozenset({"2", "4", "12", "13", "14", "15"})
"""Of the server: https://opentelemetry.io/docs/specs/semconv/rpc/grpc/"""


class Reporter(Enum):
    """Whose proxy has counted."""

    SOURCE = "source"
    DESTINATION = "destination"


class EdgeKey(NamedTuple):
    """``service`` is a host; ``protocol`` is http, grpc or tcp. What nobody knows is UNKNOWN."""

    source_namespace: str
    source: str
    destination_namespace: str
    destination: str
    service: str
    protocol: str


OTHER = EdgeKey("", "other", "", "other", "other", "other")
"""What is counted when there are too many edges."""


class EdgeFacts(msgspec.Struct, frozen=True, array_like=True):
    """What else is known of both ends, as it was last told; UNKNOWN where it never was."""

    source_app: str = UNKNOWN
    source_version: str = UNKNOWN
    source_principal: str = UNKNOWN
    destination_app: str = UNKNOWN
    destination_version: str = UNKNOWN
    destination_principal: str = UNKNOWN
    service_name: str = UNKNOWN
    service_namespace: str = UNKNOWN

    def completed(self, other: "EdgeFacts") -> "EdgeFacts":
        """With what ``other`` knows."""
        pairs = zip(self.__struct_fields__, self, other, strict=True)
        return EdgeFacts(**{name: old if new == UNKNOWN else new for name, old, new in pairs})

    def __iter__(self) -> Iterator[str]:
        return (getattr(self, name) for name in self.__struct_fields__)


class Tally(msgspec.Struct, array_like=True, gc=False):
    """What one side's proxies have counted. ``responses``: by ``code;flags;grpc status``.

    ``buckets`` are counts of requests by their duration. Bytes are of TCP connections.
    """

    responses: dict[str, int] = {}
    buckets: list[int] = []
    milliseconds: float = 0.0
    mutual_tls: int = 0
    plaintext: int = 0
    opened: int = 0
    closed: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0

    def answered(self, response: str, count: int) -> None:
        if response not in self.responses and len(self.responses) >= MAX_RESPONSES:
            response = OTHER_RESPONSE
        self.responses[response] = self.responses.get(response, 0) + count

    def timed(self, buckets: Iterable[int], milliseconds: float) -> None:
        """``buckets`` are in the order of BOUNDS, and one more."""
        if not self.buckets:
            self.buckets = [0] * (len(BOUNDS) + 1)
        for place, count in enumerate(buckets):
            if count:
                self.buckets[place] += count
        self.milliseconds += milliseconds

    def add(self, other: "Tally") -> None:
        for response, count in other.responses.items():
            self.answered(response, count)
        if other.buckets:
            self.timed(other.buckets, other.milliseconds)
        self.mutual_tls += other.mutual_tls
        self.plaintext += other.plaintext
        self.opened += other.opened
        self.closed += other.closed
        self.sent_bytes += other.sent_bytes
        self.received_bytes += other.received_bytes

    @property
    def requests(self) -> int:
        return sum(self.responses.values())

    @property
    def errors(self) -> int:
        return sum(count for key, count in self.responses.items() if is_error(key))


class Flow(msgspec.Struct, array_like=True, gc=False):
    """Both sides' tallies of one edge."""

    source: Tally | None = None
    destination: Tally | None = None

    def side(self, reporter: Reporter) -> Tally:
        """The tally to add to."""
        if reporter is Reporter.SOURCE:
            if self.source is None:
                self.source = Tally()
            return self.source
        if self.destination is None:
            self.destination = Tally()
        return self.destination

    def add(self, other: "Flow") -> None:
        if other.source is not None:
            self.side(Reporter.SOURCE).add(other.source)
        if other.destination is not None:
            self.side(Reporter.DESTINATION).add(other.destination)

    @property
    def told(self) -> Tally:
        """The side that people are shown: the client's, who sees failures of the way as well.

        Where the client has no proxy, the server's.
        """
        return self.source or self.destination or Tally()


def response_key(code: str, flags: str, grpc_status: str) -> str:
    return ";".join(part.replace(";", ",") for part in (code, flags, grpc_status))


def is_error(response: str) -> bool:
    """No answer at all, a 5xx, or a gRPC status that is the server's failure."""
    code, _, status = response.split(";")
    return code == "0" or code.startswith("5") or status in _GRPC_FAILURES


def percentile(buckets: list[int], share: float) -> float | None:
    """The duration in milliseconds that ``share`` of the requests do not exceed, by linear
    interpolation within its bucket. None without requests."""
    total = sum(buckets)
    if not total:
        return None
    rank, below = share * total, 0
    for place, count in enumerate(buckets):
        if count and below + count >= rank:
            if place == len(BOUNDS):
                return BOUNDS[-1]
            low = BOUNDS[place - 1] if place else 0.0
            return low + (BOUNDS[place] - low) * (rank - below) / count
        below += count
    return BOUNDS[-1]
