"""Families of metrics as Prometheus' text format.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST

Labels = tuple[str, ...]
"""Values, in the order of the family's label names."""

_COUNTER_SUFFIX = "_total"


def counter(
    name: str, help_text: str, values: Mapping[Labels, float], labels: Sequence[str] = ()
) -> Metric:
    """A counter with exactly this name: Istio's do not all end with ``_total``."""
    return _family(name, help_text, "counter", values, labels)


def gauge(
    name: str, help_text: str, values: Mapping[Labels, float], labels: Sequence[str] = ()
) -> Metric:
    return _family(name, help_text, "gauge", values, labels)


def single(value: float) -> dict[Labels, float]:
    """The value of a family without labels."""
    return {(): value}


def histogram(
    name: str,
    help_text: str,
    values: Mapping[Labels, tuple[Sequence[float], Sequence[int], float]],
    labels: Sequence[str] = (),
) -> Metric:
    """``values`` are upper bounds, the count under each and one more for the rest, and the sum."""
    family = HistogramMetricFamily(name, help_text, labels=labels)
    for key, (bounds, counts, total) in values.items():
        below = 0
        buckets = []
        for bound, count in zip((*map(repr, bounds), "+Inf"), counts, strict=True):
            below += count
            buckets.append((bound, float(below)))
        family.add_metric(key, buckets, total)
    return family


def exposition(families: Iterable[Metric]) -> bytes:
    return b"".join(map(_text, families))


def _family(
    name: str,
    help_text: str,
    kind: str,
    values: Mapping[Labels, float],
    labels: Sequence[str],
) -> Metric:
    family = Metric(name, help_text, kind)
    for key, value in values.items():
        family.add_sample(name, dict(zip(labels, key, strict=True)), value)
    return family


def _text(family: Metric) -> bytes:
    """As the library writes it, which calls every counter ``..._total`` in the two header lines."""
    text = generate_latest(_One(family))
    if family.type != "counter" or any(s.name != family.name for s in family.samples):
        return text
    help_line, type_line, rest = text.split(b"\n", 2)
    wrong, right = f" {family.name}{_COUNTER_SUFFIX} ".encode(), f" {family.name} ".encode()
    return b"\n".join(
        (help_line.replace(wrong, right, 1), type_line.replace(wrong, right, 1), rest)
    )


class _One(Collector):
    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return (self._family,)
