"""What an export adds to which edge, and what is not believed."""

from dataclasses import dataclass

import pytest

from argosy.mixer.collect.otlp import (
    MAX_LABEL,
    Addition,
    Collector,
    LimitCount,
    MalformedError,
)
from argosy.mixer.collect.sender import Sender
from argosy.mixer.graph.edges import BOUNDS, UNKNOWN, Reporter
from argosy.testing.telemetry import CUMULATIVE, LABELS, Export

PRINCIPAL = "spiffe://cluster.local/ns/shop/sa/web"
WEB = Sender("shop", PRINCIPAL, "web", "web", "v1")
DB = Sender("data", "spiffe://cluster.local/ns/data/sa/db", "db", "db", "v2")
REQUESTS = "istio.requests_total"


@dataclass
class Taken:
    additions: list[Addition]
    rejected: int
    limits: tuple[LimitCount, ...]


def take(body: bytes, sender: Sender, collector: Collector | None = None) -> Taken:
    found = list((collector or Collector()).take(body, sender))
    additions = [one for one in found if isinstance(one, Addition)]
    limits = tuple(one for one in found if isinstance(one, LimitCount))
    return Taken(additions, found.count(None), limits)


def test_requests_are_added_to_the_callers_side_of_the_edge() -> None:
    export = Export().count(REQUESTS, 7, LABELS).count(REQUESTS, 0, LABELS)
    (addition,) = take(export.bytes, WEB).additions
    series = addition.series
    assert tuple(series.edge) == ("shop", "web", "data", "db", "db.data.svc.cluster.local", "http")
    assert series.reporter is Reporter.SOURCE
    assert series.facts.destination_principal == "spiffe://cluster.local/ns/data/sa/db"
    assert series.facts.source_version == "v1"
    assert addition.tally.responses == {"200;-;": 7}
    assert (addition.tally.mutual_tls, addition.tally.plaintext) == (7, 0)


def test_the_server_says_how_it_was_called() -> None:
    own = LABELS | {"reporter": "destination", "source_principal": UNKNOWN, "source_workload": ""}
    collector = Collector()
    for policy, expected in (("none", (0, 3)), ("mutual_tls", (3, 0)), ("unknown", (0, 0))):
        export = Export().count(REQUESTS, 3, own | {"connection_security_policy": policy})
        (addition,) = take(export.bytes, DB, collector).additions
        assert (addition.tally.mutual_tls, addition.tally.plaintext) == expected
        assert addition.series.edge.source == UNKNOWN


def test_durations_keep_their_buckets_and_those_of_others_find_ours() -> None:
    counts = [0] * (len(BOUNDS) + 1)
    counts[3] = 5
    (own,) = take(Export().durations(counts, 35.0, LABELS).bytes, WEB).additions
    assert own.tally.buckets == counts
    assert own.tally.milliseconds == 35.0
    export = Export().durations([1, 2, 4], 900.0, LABELS, bounds=[7.0, 300.0])
    (other,) = take(export.bytes, WEB).additions
    found = {place: count for place, count in enumerate(other.tally.buckets) if count}
    assert found == {3: 1, 8: 2, len(BOUNDS): 4}  # 7 of 5..10, 300 of 250..500, above everything


def test_connections_and_their_bytes() -> None:
    tcp = LABELS | {"request_protocol": "tcp"}
    export = Export()
    for place, name in enumerate(
        ("connections_opened", "connections_closed", "sent_bytes", "received_bytes"), 1
    ):
        export.count(f"istio.tcp_{name}_total", place, tcp)
    additions = take(export.bytes, WEB).additions
    total = additions[0].tally
    for addition in additions[1:]:
        total.add(addition.tally)
    assert (total.opened, total.closed, total.sent_bytes, total.received_bytes) == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("sender", "labels"),
    [
        (Sender("bank", PRINCIPAL), {}),
        (Sender("shop", PRINCIPAL, "other"), {}),
        (Sender("shop", PRINCIPAL), {"reporter": "destination"}),
        (Sender("data", PRINCIPAL), {}),
        (Sender("shop", PRINCIPAL), {"reporter": "somebody"}),
        (Sender("shop", PRINCIPAL), {"source_workload_namespace": ""}),
        (WEB, {"source_principal": "spiffe://cluster.local/ns/shop/sa/other"}),
    ],
)
def test_a_proxy_tells_of_its_own_workload_only(sender: Sender, labels: dict[str, str]) -> None:
    found = take(Export().count(REQUESTS, 7, LABELS | labels).bytes, sender)
    assert found.additions == []
    assert found.rejected == 1


def test_what_a_proxy_is_besides_its_certificate_says() -> None:
    own = {"source_principal": "spiffe://old.local/ns/shop/sa/web", "source_app": "other"}
    body = Export().count(REQUESTS, 7, LABELS | own).bytes
    collector = Collector()
    for sender, app, version in (
        (WEB, "web", "v1"),
        (Sender("shop", PRINCIPAL, "web"), UNKNOWN, UNKNOWN),
        (Sender("shop", PRINCIPAL), "other", "v1"),
    ):
        (addition,) = take(body, sender, collector).additions
        facts = addition.series.facts
        assert (facts.source_app, facts.source_version) == (app, version)
        assert facts.source_principal == PRINCIPAL
        assert (facts.destination_app, facts.destination_version) == ("db", "v2")


def test_labels_are_the_senders_words_and_break_nothing() -> None:
    """Whoever shows web's certificate may send what no proxy would."""
    evil = LABELS | {"response_flags": "a;b", "destination_service": "db\x1b[2J" + "x" * 10_000}
    (addition,) = take(Export().count(REQUESTS, 7, evil).bytes, WEB).additions
    assert addition.tally.responses == {"200;a,b;": 7}
    assert addition.tally.errors == 0
    host = addition.series.edge.service
    assert host.startswith("db [2Jxxx")
    assert len(host) == MAX_LABEL


def test_sums_are_no_differences_and_less_than_nothing_is_nothing() -> None:
    export = Export(CUMULATIVE).count(REQUESTS, 7, LABELS).durations([1] * 20, 1.0, LABELS)
    assert take(export.bytes, WEB).rejected == 2
    assert take(Export().count(REQUESTS, -7, LABELS).bytes, WEB).rejected == 1


def test_what_is_not_ours_is_passed_over_and_what_is_no_otlp_refused() -> None:
    export = Export().count("server.uptime", 7, {}).count("istio.custom", 7, LABELS)
    found = take(export.bytes, WEB)
    assert (found.additions, found.rejected) == ([], 0)
    with pytest.raises(MalformedError):
        Collector().take(b"\xff\xff\xff", WEB)


def test_what_limits_have_let_through_and_refused() -> None:
    """Nothing is told, too: the proxy is there."""
    export = Export()
    for statistic, count in (("rate_limited", 3), ("ok", 5), ("enforced", 9), ("enabled", 9)):
        name = f"limit.http_local_rate_limit.{statistic}"
        export.count(name, count, {"limit": "shop/web/0"})
        export.count(name, 0, {"limit": "shop/web/1"})
    found = take(export.bytes, WEB)
    assert found.limits == (LimitCount("shop/web/0", 5, 3), LimitCount("shop/web/1"))
    assert (found.additions, found.rejected) == ([], 0)
