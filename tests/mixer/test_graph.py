"""Edges by minute: sums, bounds, and that they outlive the process."""

import sqlite3
import zlib
from itertools import permutations
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from argosy.mixer.graph.edges import (
    BOUNDS,
    MAX_RESPONSES,
    UNKNOWN,
    EdgeFacts,
    EdgeKey,
    Flow,
    Reporter,
    Tally,
    is_error,
    percentile,
    response_key,
)
from argosy.mixer.graph.graph import DAY_MINUTES, EdgeTable, Graph, KnownEdge, merged
from argosy.mixer.graph.journal import GraphJournal, Loaded, draft

MINUTE = 29_000_000
NOW = MINUTE * 60.0
FACTS = EdgeFacts(source_app="web")


def key(destination: str) -> EdgeKey:
    return EdgeKey("shop", "web", "shop", destination, f"{destination}.shop", "http")


def requests(count: int, code: str = "200") -> Tally:
    return Tally(responses={response_key(code, "-", ""): count})


def test_percentiles_are_found_within_their_bucket() -> None:
    buckets = [0] * (len(BOUNDS) + 1)
    assert percentile(buckets, 0.5) is None
    buckets[3] = 100  # 5 to 10 ms
    assert percentile(buckets, 0.5) == 7.5
    assert percentile(buckets, 1.0) == 10.0
    buckets[6] = 100  # 50 to 100 ms
    assert percentile(buckets, 0.5) == 10.0
    assert percentile(buckets, 0.75) == 75.0
    buckets[-1] = 200  # longer than an hour
    assert percentile(buckets, 0.99) == BOUNDS[-1]


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (response_key("200", "-", ""), False),
        (response_key("404", "-", ""), False),
        (response_key("503", "UH", ""), True),
        (response_key("0", "DC", ""), True),
        (response_key("200", "-", "5"), False),
        (response_key("200", "-", "14"), True),
    ],
)
def test_errors(response: str, error: bool) -> None:
    assert is_error(response) is error


def test_sums_do_not_depend_on_the_order() -> None:
    parts = [
        {1: Flow(source=requests(1)), 2: Flow(destination=requests(2))},
        {1: Flow(source=requests(4, "503"), destination=requests(8))},
        {2: Flow(destination=Tally(buckets=[1] * 20, milliseconds=3.0))},
    ]
    found = [merged(order) for order in permutations(parts)]
    assert all(one == found[0] for one in found)
    assert found[0][1].told.requests == 5
    assert found[0][1].told.errors == 4
    assert found[0][2].told.requests == 2
    assert parts[0][1] == Flow(source=requests(1))  # shared with nobody


def test_codes_on_one_side_are_bounded_and_none_is_lost() -> None:
    tally = Tally()
    for code in range(1000):
        tally.answered(response_key(str(code), "-", ""), 1)
    assert len(tally.responses) == MAX_RESPONSES + 1
    assert tally.requests == 1000


def test_edges_are_bounded_and_what_comes_beyond_is_counted() -> None:
    graph = Graph(NOW, EdgeTable(limit=2))
    for name in ("a", "b", "c", "d", "c"):
        graph.add(key(name), FACTS, Reporter.SOURCE, requests(1), NOW)
    assert graph.table.overflowed == 3
    assert graph.minutes[MINUTE][0].told.requests == 3
    assert sum(flow.told.requests for flow in graph.minutes[MINUTE].values()) == 5
    # A day later the old ones have gone, and there is room again.
    later = NOW + (DAY_MINUTES + 1) * 60
    graph.add(key("c"), FACTS, Reporter.SOURCE, requests(1), later)
    assert [edge.key for edge in graph.table.edges.values()] == [key("c")]


def test_one_teller_takes_no_more_edges_than_its_share() -> None:
    """Whoever invents peers has no room left; others have."""
    graph = Graph(NOW, EdgeTable(limit=100, share=10))

    def add(name: str, teller: str, now: float = NOW) -> bool:
        before = graph.table.overflowed
        graph.add(key(name), FACTS, Reporter.SOURCE, requests(1), now, teller)
        return graph.table.overflowed == before

    assert [add(f"invented-{place}", "shop/evil") for place in range(1000)].count(True) == 10
    assert all(add(f"real-{place}", "shop/web") for place in range(10))
    assert add("real-1", "shop/evil")  # it is there already
    assert sum(flow.told.requests for flow in graph.minutes[MINUTE].values()) == 1011
    # What is older than a day no longer counts.
    later = NOW + (DAY_MINUTES + 1) * 60
    assert all(add(f"again-{place}", "shop/evil", later) for place in range(10))
    assert not add("one-more", "shop/evil", later)


def test_what_is_frozen_does_not_change() -> None:
    graph = Graph(NOW)
    for second in (0, 5):
        graph.add(key("db"), FACTS, Reporter.SOURCE, requests(1), NOW + second)
    _, found = graph.recent(60, NOW + 6)
    graph.add(key("db"), FACTS, Reporter.SOURCE, requests(1), NOW + 6)
    graph.add(key("other"), FACTS, Reporter.SOURCE, requests(1), NOW + 4)  # the clock was set right
    assert {number: flow.told.requests for number, flow in found.merged().items()} == {1: 2}


def test_facts_are_completed_by_either_side() -> None:
    graph = Graph(NOW)
    for facts in (FACTS, EdgeFacts(destination_app="db"), EdgeFacts(source_app="web2")):
        graph.add(key("db"), facts, Reporter.SOURCE, requests(1), NOW)
    (edge,) = graph.table.edges.values()
    assert (edge.facts.source_app, edge.facts.destination_app) == ("web2", "db")
    assert edge.facts.source_version == UNKNOWN


def test_the_last_seconds() -> None:
    graph = Graph(NOW)
    for second in range(0, 100, 10):
        graph.add(key("db"), FACTS, Reporter.SOURCE, requests(1), NOW + second)
    seconds, found = graph.recent(30, NOW + 95)
    assert seconds == 30
    assert found.merged()[1].told.requests == 3  # at 70, 80 and 90
    seconds, _ = Graph(NOW).recent(60, NOW + 10)
    assert seconds == 10


def test_a_day_outlives_the_process(tmp_path: Path) -> None:
    path = tmp_path / "graph.db"
    journal = GraphJournal(path)
    edge = KnownEdge(key("db"), FACTS, MINUTE)
    first = {1: Flow(source=requests(3), destination=Tally(buckets=[2] * 20))}
    journal.write(draft({MINUTE: first}, [(1, edge)]), MINUTE)
    more = {1: Flow(source=requests(5))}
    journal.write(draft({MINUTE: more, MINUTE + 1: first}, []), MINUTE + 1)
    journal.close()
    assert path.stat().st_mode & 0o777 == 0o600
    again = GraphJournal(path)
    assert list(again.minutes(MINUTE, MINUTE + 1)) == [(MINUTE, more), (MINUTE + 1, first)]
    assert again.load() == Loaded([(1, edge)], 1, MINUTE + 1)
    again.write(draft({}, []), MINUTE + DAY_MINUTES + 1)
    assert [minute for minute, _ in again.minutes(0, MINUTE * 2)] == [MINUTE + 1]
    assert again.load().edges == []
    again.close()


def test_a_damaged_journal_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "graph.db"
    path.write_bytes(b"this is no database" * 1000)
    journal = GraphJournal(path)
    assert journal.load() == Loaded([], 0, -1)
    journal.close()
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert path.with_name("graph.db.damaged").read_bytes().startswith(b"this is no database")


def a_days_journal(path: Path) -> GraphJournal:
    """One edge, and enough minutes for some pages."""
    journal = GraphJournal(path)
    noise = {number: Flow(source=requests(number)) for number in range(1, 500)}
    minutes = {MINUTE + place: noise for place in range(20)}
    journal.write(draft(minutes, [(7, KnownEdge(key("db"), FACTS, MINUTE))]), MINUTE)
    return journal


def test_damage_that_shows_later_is_set_aside_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "graph.db"
    a_days_journal(path).close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    with capture_logs() as logs:
        journal = GraphJournal(path)
        assert list(journal.minutes(MINUTE, MINUTE + 60)) == []
    assert journal.generation == 1
    assert [(line["event"], line["kept_as"]) for line in logs] == [
        ("graph.damaged", str(tmp_path / "graph.db.damaged"))
    ]
    journal.write(draft({MINUTE: {1: Flow(source=requests(3))}}, []), MINUTE)
    assert [minute for minute, _ in journal.minutes(MINUTE, MINUTE + 60)] == [MINUTE]
    journal.close()


def test_a_row_that_cannot_be_read_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "graph.db"
    a_days_journal(path).close()
    with sqlite3.connect(path) as database:
        database.execute("UPDATE minutes SET flows = x'00' WHERE minute = ?", (MINUTE,))
        database.execute(
            "UPDATE minutes SET flows = ? WHERE minute = ?", (zlib.compress(b"\xc1"), MINUTE + 1)
        )
        database.execute("INSERT INTO edges VALUES (9, x'00', x'00', ?)", (MINUTE,))
    journal = GraphJournal(path)
    loaded = journal.load()
    assert ([number for number, _ in loaded.edges], loaded.last_number) == ([7], 9)
    with capture_logs() as logs:
        for _ in range(2):
            found = [minute for minute, _ in journal.minutes(MINUTE, MINUTE + 60)]
            assert found == [MINUTE + place for place in range(2, 20)]
    assert [line["event"] for line in logs] == ["graph.minute_unreadable"] * 2
    journal.close()
    # What minutes say of the edge that is lost is of nobody else.
    table = EdgeTable()
    table.load(loaded.edges, loaded.last_number)
    assert table.number(key("new"), FACTS, MINUTE) == 10


def test_where_there_can_be_no_file_memory_stands_for_it(tmp_path: Path) -> None:
    path = tmp_path / "graph.db"
    path.mkdir()
    with capture_logs() as logs:
        journal = a_days_journal(path)
    assert [line["event"] for line in logs] == ["graph.not_kept"]
    assert len(list(journal.minutes(MINUTE, MINUTE + 60))) == 20
    journal.close()


def test_a_clock_that_is_set_back_does_not_stretch_the_last_minute() -> None:
    graph = Graph(NOW)
    graph.add(key("db"), FACTS, Reporter.SOURCE, requests(100), NOW + 3600)
    graph.add(key("db"), FACTS, Reporter.SOURCE, requests(1), NOW)
    seconds, found = graph.recent(60, NOW + 10)
    assert (seconds, found.merged()[1].told.requests) == (10, 1)
