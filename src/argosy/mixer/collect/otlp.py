"""One export of a proxy's metrics (OTLP) as additions to edges and to its limits. Bytes in, values out; no I/O.

Envoy sends what changed since it sent last (delta temporality), with Istio's labels packed as in
``standard_metrics``. The messages are those of xds-protos, where scopes have their older name of
the same number. https://opentelemetry.io/docs/specs/otel/metrics/data-model/
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2

from argosy.mixer.collect.meanings import Meanings
from argosy.mixer.collect.sender import Sender, proven
from argosy.mixer.graph.edges import (
    BOUNDS,
    UNKNOWN,
    EdgeFacts,
    EdgeKey,
    Reporter,
    Tally,
    response_key,
)
from argosy.mixer.text import short
from argosy.model.rate_limit import LIMIT_STATS
from argosy.model.standard_metrics import labels, metric_name

MAX_LABEL = 512
"""Characters of one label; what is longer is cut."""

_DELTA = metrics_pb2.AGGREGATION_TEMPORALITY_DELTA
_FIELDS = {
    "istio_tcp_connections_opened_total": "opened",
    "istio_tcp_connections_closed_total": "closed",
    "istio_tcp_sent_bytes_total": "sent_bytes",
    "istio_tcp_received_bytes_total": "received_bytes",
}
_REQUESTS = "istio_requests_total"
_DURATION = "istio_request_duration_milliseconds"
_ALLOWED = f"{LIMIT_STATS}.http_local_rate_limit.ok"
_REFUSED = f"{LIMIT_STATS}.http_local_rate_limit.rate_limited"


class MalformedError(Exception):
    """It is no OTLP."""


@dataclass(frozen=True, slots=True)
class Series:
    """What a set of labels means."""

    edge: EdgeKey
    facts: EdgeFacts
    reporter: Reporter
    response: str
    security: str


@dataclass(frozen=True, slots=True)
class Addition:
    """``tally`` is to be added to one side of an edge."""

    series: Series
    tally: Tally


@dataclass(frozen=True, slots=True)
class LimitCount:
    """What a filter has let through and refused since it was told last; perhaps nothing.

    ``filter`` is the id of a limit, or of several that are counted together.
    """

    filter: str
    allowed: int = 0
    refused: int = 0


class Collector:
    """Remembers what sets of labels mean; the same set comes again and again."""

    def __init__(self) -> None:
        self._series = Meanings(_series)

    def take(self, body: bytes, sender: Sender) -> Iterator[Addition | LimitCount | None]:
        """Of an ExportMetricsServiceRequest, worked out one by one as they are asked for, so that
        others may run in between. None for each data point that the sender may not send, or that
        nobody understands; one count for each filter. Raises MalformedError, before the first.
        """
        try:
            request = metrics_service_pb2.ExportMetricsServiceRequest.FromString(body)
        except DecodeError as error:
            raise MalformedError(str(error)) from error
        return self._additions(request, sender)

    def _additions(self, request: Any, sender: Sender) -> Iterator[Addition | LimitCount | None]:
        limits: dict[str, LimitCount] = {}
        for resource in request.resource_metrics:
            for scope in resource.instrumentation_library_metrics:
                for metric in scope.metrics:
                    name = metric_name(metric.name)
                    if name is None:
                        _count_limits(metric, limits)
                        continue
                    for point, tally in _points(name, metric):
                        series = self._series.of(_texts(point), sender)
                        if series is None or tally is None:
                            yield None
                            continue
                        if name == _REQUESTS:
                            _count_requests(series, tally, point.as_int)
                        yield Addition(series, tally)
        yield from limits.values()


def _texts(point: Any) -> tuple[str, ...]:
    """Its labels, each before its value."""
    return tuple(text for a in point.attributes for text in (a.key, a.value.string_value))


def _points(name: str, metric: Any) -> Iterable[tuple[Any, Tally | None]]:
    """The data points of one metric that say something; without a tally what cannot be added."""
    if metric.HasField("sum"):
        added = metric.sum.aggregation_temporality == _DELTA
        field = _FIELDS.get(name)
        for point in metric.sum.data_points:
            if point.as_int == 0:
                continue
            if not added or point.as_int < 0:
                yield point, None
            elif field is not None:
                yield point, Tally(**{field: point.as_int})
            elif name == _REQUESTS:
                yield point, Tally()
    elif metric.HasField("histogram") and name == _DURATION:
        added = metric.histogram.aggregation_temporality == _DELTA
        for point in metric.histogram.data_points:
            if point.count == 0:
                continue
            yield point, _timed(point) if added else None


def _count_limits(metric: Any, limits: dict[str, LimitCount]) -> None:
    """Both numbers of a filter come to one count, whichever is told first."""
    if metric.name not in (_ALLOWED, _REFUSED) or metric.sum.aggregation_temporality != _DELTA:
        return
    for point in metric.sum.data_points:
        name = next((a.value.string_value for a in point.attributes if a.key == "limit"), "")
        before, count = limits.get(name, LimitCount(name)), max(0, point.as_int)
        if metric.name == _ALLOWED:
            limits[name] = replace(before, allowed=before.allowed + count)
        else:
            limits[name] = replace(before, refused=before.refused + count)


def _count_requests(series: Series, tally: Tally, count: int) -> None:
    tally.answered(series.response, count)
    match series.security:
        case "mutual_tls":
            tally.mutual_tls = count
        case "none":
            tally.plaintext = count


def _timed(point: Any) -> Tally | None:
    bounds, counts = tuple(point.explicit_bounds), tuple(point.bucket_counts)
    if len(counts) != len(bounds) + 1:
        return None
    tally = Tally()
    if bounds == BOUNDS:
        tally.timed(counts, point.sum)
        return tally
    # Buckets of others: each goes to the one of ours in which its bound lies.
    own = [0] * (len(BOUNDS) + 1)
    for place, count in enumerate(counts):
        bound = bounds[place] if place < len(bounds) else float("inf")
        own[sum(bound > known for known in BOUNDS)] += count
    tally.timed(own, point.sum)
    return tally


def _series(attributes: tuple[str, ...], sender: Sender) -> Series | None:
    """None for what the sender may not tell, and for labels that are no standard metric's."""
    found: dict[str, str] = {}
    for tag, value in zip(attributes[::2], attributes[1::2], strict=True):
        found.update((label, short(text, MAX_LABEL)) for label, text in labels(tag, value))
    try:
        reporter = Reporter(found.get("reporter", ""))
    except ValueError:
        return None

    def get(label: str) -> str:
        return found.get(label) or UNKNOWN

    edge = EdgeKey(
        source_namespace=get("source_workload_namespace"),
        source=get("source_workload"),
        destination_namespace=get("destination_workload_namespace"),
        destination=get("destination_workload"),
        service=get("destination_service"),
        protocol=get("request_protocol"),
    )
    facts = EdgeFacts(
        get("source_app"),
        get("source_version"),
        get("source_principal"),
        get("destination_app"),
        get("destination_version"),
        get("destination_principal"),
        get("destination_service_name"),
        get("destination_service_namespace"),
    )
    believed = proven(edge, facts, reporter, sender)
    if believed is None:
        return None
    response = response_key(
        found.get("response_code", "0"),
        found.get("response_flags", "-"),
        found.get("grpc_response_status", ""),
    )
    return Series(edge, believed, reporter, response, _security(reporter, found))


def _security(reporter: Reporter, found: dict[str, str]) -> str:
    """A client's proxy says it by the server's identity alone."""
    if reporter is Reporter.DESTINATION:
        return found.get("connection_security_policy", UNKNOWN)
    known = found.get("destination_principal", UNKNOWN)
    return UNKNOWN if known == UNKNOWN else "mutual_tls"
