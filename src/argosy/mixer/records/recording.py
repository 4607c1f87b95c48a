"""A recording: who called which workload how, summed up. Pure; bounded in every direction."""

import re
from dataclasses import dataclass, field

import msgspec

from argosy.mixer.records.record import Record
from argosy.model.records import Direction

MAX_PATHS = 100
"""Different paths of one caller to one workload and method; more of them become ``/{**}``."""

MAX_OBSERVED = 20_000
MAX_SECONDS = 24 * 3600
ANY_PATH = "/{**}"

_NUMBER = re.compile(r"\d+")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_HEX = re.compile(r"[0-9a-fA-F]{16,}")


class Recording(msgspec.Struct, frozen=True, rename="camel"):
    """Times are seconds since the epoch. ``namespace`` empty: the whole mesh.

    ``complete``: everything was counted; else a share only, or some were dropped.
    """

    namespace: str
    began: float
    ends: float
    active: bool
    records: int
    complete: bool


class Observed(msgspec.Struct, frozen=True, rename="camel"):
    """Calls that are equal but for their time; see the package for the fields."""

    source_principal: str
    namespace: str
    workload: str
    service_account: str
    labels: dict[str, str]
    port: int
    protocol: str
    method: str
    path: str
    count: int
    denied: int
    first: float
    last: float


def template(path: str) -> str:
    """``/reviews/17`` → ``/reviews/{*}``: segments that are numbers or ids stand for any.

    What a caller wrote must not pass for a template: segments with braces become ``{}``.
    """
    return "/".join(map(_in_template, path.split("/")))


def _in_template(segment: str) -> str:
    if _is_id(segment):
        return "{*}"
    return "{}" if "{" in segment or "}" in segment else segment


def _is_id(segment: str) -> bool:
    return any(one.fullmatch(segment) for one in (_NUMBER, _UUID, _HEX))


@dataclass(frozen=True, slots=True)
class _Edge:
    source: str
    namespace: str
    workload: str
    service_account: str
    labels: tuple[tuple[str, str], ...]
    port: int
    protocol: str
    method: str


@dataclass(slots=True)
class _Calls:
    first: float
    last: float
    count: int = 0
    denied: int = 0

    def add(self, other: "_Calls") -> None:
        self.count += other.count
        self.denied += other.denied
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)


@dataclass(slots=True)
class Recorder:
    """One recording. Times in ``now`` and ``began`` are seconds since the epoch."""

    namespace: str
    began: float
    ends: float
    complete: bool = True
    records: int = 0
    _edges: dict[_Edge, dict[str, _Calls]] = field(default_factory=dict)
    _size: int = 0

    def is_active(self, now: float) -> bool:
        return now < self.ends

    def take(self, record: Record) -> None:
        """What the server's side tells is counted; the client's is the same calls again."""
        reporter = record.reporter
        if record.direction is not Direction.INBOUND:
            return
        if self.namespace not in ("", reporter.namespace):
            return
        port = record.server_address.rpartition(":")[2]
        edge = _Edge(
            record.source_principal,
            reporter.namespace,
            reporter.workload,
            reporter.service_account,
            tuple(sorted(reporter.labels.items())),
            int(port) if port.isdecimal() else 0,
            "HTTP" if record.is_http else record.protocol,
            record.method,
        )
        calls = _Calls(record.time, record.time, 1, int(record.is_denied))
        self.records += 1
        self._count(edge, template(record.path) if record.is_http else "", calls)

    def recording(self, now: float) -> Recording:
        active = self.is_active(now)
        return Recording(self.namespace, self.began, self.ends, active, self.records, self.complete)

    def observed(self, namespace: str = "") -> list[Observed]:
        """Sorted by everything but the numbers. ``namespace`` empty: of all."""
        found = [
            Observed(
                edge.source,
                edge.namespace,
                edge.workload,
                edge.service_account,
                dict(edge.labels),
                edge.port,
                edge.protocol,
                edge.method,
                path,
                calls.count,
                calls.denied,
                calls.first,
                calls.last,
            )
            for edge, paths in self._edges.items()
            if namespace in ("", edge.namespace)
            for path, calls in paths.items()
        ]
        return sorted(
            found,
            key=lambda one: (
                one.namespace, one.workload, one.source_principal, one.port, one.method, one.path
            ),
        )  # fmt: skip

    def _count(self, edge: _Edge, path: str, calls: _Calls) -> None:
        paths = self._edges.get(edge)
        if paths is None:
            if self._size >= MAX_OBSERVED:
                self.complete = False
                return
            paths = self._edges[edge] = {}
        known = paths.get(path) or paths.get(ANY_PATH)
        if known is not None:
            known.add(calls)
            return
        if len(paths) < MAX_PATHS and self._size < MAX_OBSERVED:
            paths[path] = calls
            self._size += 1
            return
        for other in paths.values():
            calls.add(other)
        self._size -= len(paths) - 1
        paths.clear()
        paths[ANY_PATH] = calls
