"""Envoy's page of statistics as Prometheus shall see it: Istio's names, one label each. Sans-io.

In: the text that Envoy's ``/stats/prometheus`` answers, in pieces. Out: the same, but for the
standard metrics, whose packed tags are taken apart; of those, series that have become equal are
added up. What Envoy counts of messages is left out, and told apart. https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

import codecs
import re
from collections.abc import Iterator

from argosy.model.standard_metrics import CLUSTER_TAG, labels, message_metric, metric_name
from argosy.proxy.message_counts import MessageCount

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_TYPE = "# TYPE "
_SAMPLE = re.compile(r"(?P<name>[^{ ]+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)",?')
_BUCKET = re.compile(r',?le="([^"]*)"$')


class StatisticsPage:
    """Takes pieces of the page, gives lines with their ends; holds one metric at a time.

    ``messages`` are complete at the end.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self.messages: list[MessageCount] = []
        self._metric: str | None = None
        self._counted: str | None = None
        self._samples: dict[tuple[str, str, str], str] = {}
        self._known: dict[str, str] = {}

    def feed(self, piece: bytes) -> Iterator[str]:
        *lines, self._rest = (self._rest + self._decoder.decode(piece)).split("\n")
        for line in lines:
            yield from self._line(line)

    def end(self) -> Iterator[str]:
        """What is left when the page is complete."""
        if self._rest:
            yield from self._line(self._rest)
        yield from self._finish()

    def _line(self, line: str) -> Iterator[str]:
        if line.startswith(_TYPE):
            yield from self._finish()
            name, _, kind = line.removeprefix(_TYPE).partition(" ")
            self._metric, self._counted = metric_name(name), message_metric(name)
            if self._counted is None:
                yield f"{_TYPE}{self._metric or name} {kind}\n"
        elif self._counted is not None:
            self._count(self._counted, line)
        elif self._metric is None or line.startswith("#"):
            yield line + "\n"
        elif line:
            self._sample(line)

    def _count(self, metric: str, line: str) -> None:
        found = _SAMPLE.fullmatch(line)
        if found is not None:
            cluster = dict(_LABEL.findall(found["labels"] or "")).get(CLUSTER_TAG, "")
            self.messages.append(MessageCount(metric, cluster, int(found["value"])))

    def _sample(self, line: str) -> None:
        found = _SAMPLE.fullmatch(line)
        if found is None:
            return
        text, bucket = found["labels"] or "", ""
        if le := _BUCKET.search(text):
            text, bucket = text[: le.start()], le[1]
        shown = self._known.get(text)
        if shown is None:
            shown = self._known[text] = _unpacked(text)
        key = (metric_name(found["name"]) or found["name"], shown, bucket)
        before = self._samples.get(key)
        self._samples[key] = found["value"] if before is None else _sum(before, found["value"])

    def _finish(self) -> Iterator[str]:
        for (name, shown, bucket), value in self._samples.items():
            le = f'le="{bucket}"' if bucket else ""
            between = "," if shown and le else ""
            yield f"{name}{{{shown}{between}{le}}} {value}\n"
        self._metric = None
        self._samples.clear()
        self._known.clear()


def _unpacked(text: str) -> str:
    """The values stay as they are written, so that what is escaped is so again."""
    pairs = (pair for tag, value in _LABEL.findall(text) for pair in labels(tag, value))
    return ",".join(f'{name}="{value}"' for name, value in pairs)


def _sum(one: str, other: str) -> str:
    if one.isdigit() and other.isdigit():
        return str(int(one) + int(other))
    return repr(float(one) + float(other))
