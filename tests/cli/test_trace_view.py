"""How traces look in a terminal."""

import pytest
from rich.cells import cell_len

from argosy.cli.trace_view import bar, list_lines, short_id, span_of_time, trace_lines
from argosy.mixer.traces import answers
from argosy.mixer.traces.span import Span, SpanKind
from argosy.mixer.traces.store import Query, TraceStore
from argosy.testing.spans import START, span

NOW = START / 1e9 + 12


def drawn(width: int, *spans: Span) -> list[str]:
    store = TraceStore()
    store.add(spans)
    found = store.find("0" * 31 + "1")
    assert found is not None
    return [line.plain.rstrip() for line in trace_lines(answers.trace(*found), width, NOW)]


def request(path: str, status: str = "200", flags: str = "-") -> dict[str, str]:
    url = f"http://somewhere{path}"
    return {
        "http.method": "GET",
        "http.url": url,
        "http.status_code": status,
        "response_flags": flags,
        "guid:x-request-id": "7c9f",
    }


CLIENT, SERVER = SpanKind.CLIENT, SpanKind.SERVER
PAGE = (
    span(1, service="productpage.default", kind=SERVER, ms=40, **request("/productpage")),
    span(2, 1, service="productpage.default", kind=CLIENT, start=2, ms=8, **request("/details/0")),
    span(3, 2, service="details.default", kind=SERVER, start=4, ms=4, **request("/details/0")),
    span(
        4,
        1,
        service="productpage.default",
        kind=CLIENT,
        start=20,
        ms=10,
        error=True,
        **request("/reviews/0", "503", "UF"),
    ),
    span(5, 9, service="reviews.default", start=38, ms=1, claimed=True, **request("/reviews/0")),
)


def test_a_trace_is_a_tree_beside_a_time_line() -> None:
    # Widths follow from the longest names and numbers, what is left is the bars'.
    assert drawn(96, *PAGE) == [
        "productpage.default  GET /productpage  200  40.0 ms",
        "trace 00000000000000000000000000000001 · 12s ago · 5 spans · 3 services · 1 failed",
        "",
        "SERVICE          REQUEST           STATUS       TIME  0                    20.0 ms       40.0 ms",
        "productpage ←    GET /productpage  200       40.0 ms  ██████████████████████████████████████████",
        "├─productpage →  GET /details/0    200       8.00 ms    ████████▍",
        "│ └─details ←    GET /details/0    200       4.00 ms      ████▎",
        "└─productpage →  GET /reviews/0    503 UF ✗  10.0 ms                       ██████████▌",
        "reviews ←        GET /reviews/0    200       1.00 ms                                         █  "
        "! its cause is not here, reported by",
        "",
        "Time went to   55%   22.0 ms  in productpage (GET /productpage)",
        "               25%   10.0 ms  on the way from productpage (GET /reviews/0)",
        "               10%   4.00 ms  on the way from productpage (GET /details/0)",
        "Failed first  productpage (GET /reviews/0): 503 UF",
        "! A span marked so names a service that is not one of the workload that sent it.",
        "Request       7c9f",
    ]


def test_a_change_of_the_mesh_says_what_it_was_and_who_was_last() -> None:
    change = {
        "argosy.about": "VirtualService default/echo → 3 proxies",
        "argosy.proxies": "3",
        "argosy.acknowledged": "2",
        "argosy.slowest_proxy": "echo-1.default",
        "argosy.slowest_ms": "30.4",
        "argosy.pending": "client-1.default",
    }
    lines = drawn(120, span(1, ms=40, kind=SpanKind.INTERNAL, **change))
    assert lines[0].startswith("reviews.default  span 1 VirtualService default/echo → 3 proxies")
    assert lines[-1] == (
        "Proxies       2 of 3 took it, echo-1.default last, after 30.4 ms; "
        "no answer of client-1.default"
    )


@pytest.mark.parametrize("width", [60, 80, 100, 140, 200])
def test_lines_keep_to_the_width(width: int) -> None:
    healthy = PAGE[:3]
    lines = drawn(width, *healthy)
    tree = lines[3 : 4 + len(healthy)]
    assert all(cell_len(line) <= max(width, 80) for line in tree), tree
    assert lines[0].endswith("40.0 ms")


def test_services_of_one_name_keep_their_namespaces() -> None:
    lines = drawn(120, span(1, service="a.x", ms=2), span(2, 1, service="a.y"))
    assert "a.x ←" in lines[4]
    assert "a.y ←" in lines[5]


def test_a_list_compares_the_times() -> None:
    store = TraceStore()
    store.add([span(1, trace=0xFEDC << 112, ms=20, **request("/slow", "500"), error=True)])
    store.add([span(1, trace=0xABCD << 112, start=1, ms=5, **request("/fast"))])
    found = [answers.summary(one) for one in store.search(Query())]
    head, first, second = (line.plain.rstrip() for line in list_lines(found, 100, NOW))
    assert head.split() == ["TRACE", "STARTED", "REQUEST", "STATUS", "SPANS", "TIME"]
    assert first.split() == [
        "abcd00000000",
        "11s",
        *("reviews.default", "GET", "/fast"),
        "200",
        "1",
        *("5.00", "ms"),
        "███",
    ]
    assert second.split()[-1] == "█" * 12
    assert "500 ✗" in second


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "0 µs"),
        (950, "950 µs"),
        (999.6, "1.00 ms"),
        (9_994, "9.99 ms"),
        (9_996, "10.0 ms"),
        (41_230, "41.2 ms"),
        (999_400, "999 ms"),
        (3_070_000, "3.07 s"),
    ],
)
def test_times_have_three_digits(micros: float, text: str) -> None:
    assert span_of_time(micros) == text


@pytest.mark.parametrize(
    ("start", "length", "text"),
    [
        (0, 1, "█" * 8),
        (0.5, 0.5, "    ████"),
        (0.5, 0.0, "    ▏"),
        (0.25, 1 / 16, "  ▌"),
        (1.0, 0.5, "       █"),
        (-3.0, 9.0, "█" * 8),
    ],
)
def test_bars(start: float, length: float, text: str) -> None:
    assert bar(start, length, 8) == text


def test_short_ids_of_64_bits_have_no_zeros_before() -> None:
    assert short_id("0" * 16 + "5af7183fb1d4cf5f") == "5af7183fb1d4"
    assert short_id("4bf92f3577b34da6a3ce929d0e0e4736") == "4bf92f3577b3"
