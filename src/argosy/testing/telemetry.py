"""Exports of metrics as a proxy's Envoy sends them, made by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2

from argosy.mixer.graph.edges import BOUNDS

DELTA = metrics_pb2.AGGREGATION_TEMPORALITY_DELTA
CUMULATIVE = metrics_pb2.AGGREGATION_TEMPORALITY_CUMULATIVE

LABELS = {
    "reporter": "source",
    "source_workload": "web",
    "source_workload_namespace": "shop",
    "source_principal": "spiffe://cluster.local/ns/shop/sa/web",
    "source_app": "web",
    "source_version": "v1",
    "destination_workload": "db",
    "destination_workload_namespace": "data",
    "destination_principal": "spiffe://cluster.local/ns/data/sa/db",
    "destination_app": "db",
    "destination_version": "v2",
    "destination_service": "db.data.svc.cluster.local",
    "destination_service_name": "db",
    "destination_service_namespace": "data",
    "request_protocol": "http",
    "response_code": "200",
    "response_flags": "-",
    "connection_security_policy": "unknown",
}
"""What the proxy of ``web`` in ``shop`` says of a request to ``db`` in ``data``."""


@dataclass
class Export:
    """One request to Mixer; statistics are added to it."""

    temporality: int = DELTA

    def __post_init__(self) -> None:
        self._request = metrics_service_pb2.ExportMetricsServiceRequest()
        resource = self._request.resource_metrics.add()
        self._metrics = resource.instrumentation_library_metrics.add().metrics

    def count(self, name: str, value: int, labels: Mapping[str, str]) -> "Export":
        metric = self._metrics.add(name=name)
        metric.sum.aggregation_temporality = self.temporality
        metric.sum.is_monotonic = True
        self._label(metric.sum.data_points.add(as_int=value), labels)
        return self

    def durations(
        self,
        counts: Sequence[int],
        milliseconds: float,
        labels: Mapping[str, str],
        bounds: Sequence[float] = BOUNDS,
    ) -> "Export":
        metric = self._metrics.add(name="istio.request_duration_milliseconds")
        metric.histogram.aggregation_temporality = self.temporality
        point = metric.histogram.data_points.add(
            count=sum(counts), sum=milliseconds, bucket_counts=counts, explicit_bounds=bounds
        )
        self._label(point, labels)
        return self

    @property
    def bytes(self) -> bytes:
        body: bytes = self._request.SerializeToString()
        return body

    @staticmethod
    def _label(point: object, labels: Mapping[str, str]) -> None:
        for name, value in labels.items():
            point.attributes.add(key=name).value.string_value = value  # type: ignore[attr-defined]
