"""When the messages of gRPC are counted."""

import pytest

from argosy.model.telemetry import MESSAGE_METRICS, Metric, MetricOverride, Metrics
from argosy.pilot.translate.grpc_stats import counts_messages

OFF = tuple(MetricOverride(metric, disabled=True) for metric in MESSAGE_METRICS)


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        (None, False),
        (Metrics(), True),
        (Metrics(OFF), False),
        (Metrics(OFF[:1]), True),
        (Metrics((*OFF[:1], MetricOverride(MESSAGE_METRICS[1], disabled=False))), True),
        (Metrics((*OFF, MetricOverride(Metric.REQUEST_COUNT, disabled=False))), False),
    ],
)
def test_unless_both_are_disabled(metrics: Metrics | None, expected: bool) -> None:
    assert counts_messages(metrics) is expected
