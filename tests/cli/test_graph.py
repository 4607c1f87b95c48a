"""The graph on a terminal and as pictures."""

import xml.etree.ElementTree as ET

import pytest

from argosy.cli import edges as shown
from argosy.cli.client import CliError, Json
from argosy.cli.durations import DAY, seconds_of
from argosy.cli.graph import _summary, _tree
from argosy.cli.graph_drawings import dot, mermaid, svg
from argosy.cli.graph_layout import layers
from argosy.mixer.graph.edges import EdgeFacts, EdgeKey, Flow, Tally
from argosy.mixer.graph.graph import KnownEdge
from argosy.mixer.graph.view import row


def edge(source: str, destination: str, requests: int = 1000, errors: int = 0) -> Json:
    buckets = [0] * 20
    buckets[3] = requests
    responses = {"200;-;": requests - errors, **({"503;UF;": errors} if errors else {})}
    key = EdgeKey("default", source, "shop", destination, f"{destination}.shop", "http")
    tally = Tally(responses=responses, buckets=buckets, mutual_tls=requests)
    return row(KnownEdge(key, EdgeFacts(), 0), Flow(source=tally, destination=tally), 10.0)


def tcp(source: str, destination: str) -> Json:
    key = EdgeKey("default", source, "default", destination, "db", "tcp")
    tally = Tally(opened=3, closed=2, sent_bytes=1536, received_bytes=20_000_000)
    return row(KnownEdge(key, EdgeFacts(), 0), Flow(source=tally), 10.0)


def test_a_caller_stands_once_above_what_it_calls() -> None:
    known = [edge("web", "b", errors=100), edge("web", "a"), edge("api", "b"), tcp("api", "db")]
    lines = [line.plain for line in _tree(known)]
    assert lines == [
        "WORKLOAD     PROTOCOL   REQUESTS   ERRORS      P50      P90      P99   SECURITY",
        "api",
        "├─▶ b.shop   http          1,000      0 %   7.5 ms   9.5 ms   9.9 ms   mTLS",
        "└─▶ db       tcp               3        -        -        -        -   -          "
        "1.5 KB sent, 20 MB received",
        "web",
        "├─▶ a.shop   http          1,000      0 %   7.5 ms   9.5 ms   9.9 ms   mTLS",
        "└─▶ b.shop   http          1,000   10.0 %   7.5 ms   9.5 ms   9.9 ms   mTLS",
    ]
    assert _summary(known, "1h", 0) == "3,000 requests on 4 edges in the last 1h, 100 errors"


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 10, "0 %"), (10, 10, "100 %"), (1, 3, "33.3 %"), (1, 5000, "<0.1 %"), (0, 0, "-")],
)
def test_shares(part: int, whole: int, text: str) -> None:
    assert shown.share(part, whole) == text


def test_durations_are_read_or_explained() -> None:
    texts = ("30s", "1.5m", " 24h")
    assert [seconds_of(text, "--since") for text in texts] == [30, 90, 86400]
    for wrong in ("", "30", "-1s", "0s", "25h", "1y", "9" * 400 + "d"):
        with pytest.raises(
            CliError, match=r"--since .* is not a time such as 30s, 15m or 8h, up to 1d"
        ):
            seconds_of(wrong, "--since")
    assert seconds_of("90d", "--expires", 366 * DAY) == 90 * DAY


def test_layers_go_from_callers_to_what_they_call() -> None:
    edges = [("gateway", "page"), ("page", "reviews"), ("page", "details"), ("reviews", "ratings")]
    nodes = {name for pair in edges for name in pair}
    assert layers(nodes, edges) == [["gateway"], ["page"], ["details", "reviews"], ["ratings"]]


@pytest.mark.parametrize(
    "edges", [[("a", "b"), ("b", "c"), ("c", "a")], [("a", "a")], [("a", "b"), ("b", "a")], []]
)
def test_cycles_end(edges: list[tuple[str, str]]) -> None:
    nodes = {name for pair in edges for name in pair}
    assert sorted(name for layer in layers(nodes, edges) for name in layer) == sorted(nodes)


def test_pictures_hold_every_edge_and_no_name_is_code() -> None:
    evil = 'a"];<script>alert(1)</script>'
    known = [edge("web", evil, errors=100), edge(evil, "web"), edge("web", "web")]
    picture = svg(known)
    root = ET.fromstring(picture)
    assert "script" not in {element.tag.rpartition("}")[2] for element in root.iter()}
    assert picture.count("<polygon") == 3
    assert "1,000, p90 9.5 ms, 10.0 % errors" in picture
    assert "<script" not in mermaid(known)
    assert mermaid(known).count("-->") == 3
    assert '"web" -> "a\\"];<script>alert(1)</script>.shop"' in dot(known)
    assert dot([tcp("api", "db")]).count("3 connections") == 1
