"""Prometheus' text format: names as they are, types, cumulative buckets, escapes."""

from argosy.server.metrics.exposition import counter, exposition, gauge, histogram, single
from argosy.xds.statistics import Histogram


def test_a_counter_has_its_own_name() -> None:
    text = exposition([counter("pilot_xds_pushes", "Pushes.", {("cds",): 3}, ("type",))])
    assert text.decode() == (
        "# HELP pilot_xds_pushes Pushes.\n"
        "# TYPE pilot_xds_pushes counter\n"
        'pilot_xds_pushes{type="cds"} 3.0\n'
    )


def test_a_counter_may_end_with_total() -> None:
    text = exposition([counter("argosy_sent_bytes_total", "Bytes.", single(7))]).decode()
    assert text == (
        "# HELP argosy_sent_bytes_total Bytes.\n"
        "# TYPE argosy_sent_bytes_total counter\n"
        "argosy_sent_bytes_total 7.0\n"
    )


def test_values_of_labels_are_escaped() -> None:
    text = exposition([gauge("a", "b", {('q"\n\\',): 1}, ("x",))]).decode()
    assert r'a{x="q\"\n\\"} 1.0' in text


def test_a_family_without_samples_has_its_headers() -> None:
    text = exposition([counter("pilot_total_xds_rejects", "Rejects.", {}, ("type",))]).decode()
    assert text.splitlines()[1] == "# TYPE pilot_total_xds_rejects counter"


def test_buckets_are_cumulative() -> None:
    seen = Histogram((0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 7.0):
        seen.observe(seconds)
    assert seen.number == 4
    values = {(): (seen.bounds, seen.counts, seen.total)}
    text = exposition([histogram("t_seconds", "Times.", values)]).decode()
    assert text.splitlines()[2:] == [
        't_seconds_bucket{le="0.1"} 2.0',
        't_seconds_bucket{le="1.0"} 3.0',
        't_seconds_bucket{le="+Inf"} 4.0',
        "t_seconds_count 4.0",
        "t_seconds_sum 7.65",
    ]
