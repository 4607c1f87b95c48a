"""Envoy's page in, the scraper's page out."""

import pytest

from argosy.proxy.message_counts import MessageCount
from argosy.proxy.prometheus_page import StatisticsPage

PAGE = """\
# TYPE envoy_server_live gauge
envoy_server_live{} 1
# TYPE envoy_istio_requests_total counter
envoy_istio_requests_total{packed__reporter__source_app="source;a;",packed__response_code="200",path="/a\\"b}\\\\"} 2
envoy_istio_requests_total{packed__reporter__source_app="source;a;v2",packed__response_code="200",path="/a\\"b}\\\\"} 3
envoy_istio_requests_total{packed__reporter__source_app="source;b",packed__response_code="200",path=""} 4
# TYPE envoy_istio_request_duration_milliseconds histogram
envoy_istio_request_duration_milliseconds_bucket{packed__reporter="source",le="0.5"} 1
envoy_istio_request_duration_milliseconds_bucket{packed__reporter="source",le="+Inf"} 2
envoy_istio_request_duration_milliseconds_sum{packed__reporter="source"} 1.5
envoy_istio_request_duration_milliseconds_count{packed__reporter="source"} 2
# TYPE envoy_zone gauge
envoy_zone{a="b"} 7
"""
SHOWN = """\
# TYPE envoy_server_live gauge
envoy_server_live{} 1
# TYPE istio_requests_total counter
istio_requests_total{reporter="source",source_app="a",response_code="200",path="/a\\"b}\\\\"} 5
istio_requests_total{reporter="source",source_app="b",response_code="200",path=""} 4
# TYPE istio_request_duration_milliseconds histogram
istio_request_duration_milliseconds_bucket{reporter="source",le="0.5"} 1
istio_request_duration_milliseconds_bucket{reporter="source",le="+Inf"} 2
istio_request_duration_milliseconds_sum{reporter="source"} 1.5
istio_request_duration_milliseconds_count{reporter="source"} 2
# TYPE envoy_zone gauge
envoy_zone{a="b"} 7
"""


def shown(text: str, size: int) -> str:
    page = StatisticsPage()
    data = text.encode()
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    return "".join([line for piece in pieces for line in page.feed(piece)] + list(page.end()))


@pytest.mark.parametrize("size", [1, 7, 100, 100_000])
def test_standard_metrics_are_unpacked_and_equal_ones_added(size: int) -> None:
    assert shown(PAGE, size) == SHOWN


@pytest.mark.parametrize("size", [1, 100_000])
def test_counts_of_messages_are_told_apart(size: int) -> None:
    counts = """\
# TYPE envoy_cluster_grpc_request_message_count counter
envoy_cluster_grpc_request_message_count{argosy_cluster="outbound|70||a.b"} 3
envoy_cluster_grpc_request_message_count{argosy_cluster="inbound|80||"} 5
# TYPE envoy_cluster_grpc_response_message_count counter
envoy_cluster_grpc_response_message_count{argosy_cluster="inbound|80||"} 7
"""
    page = StatisticsPage()
    data = (counts + PAGE).encode()
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    shown = "".join([line for piece in pieces for line in page.feed(piece)] + list(page.end()))
    assert shown == SHOWN
    assert page.messages == [
        MessageCount("istio_request_messages_total", "outbound|70||a.b", 3),
        MessageCount("istio_request_messages_total", "inbound|80||", 5),
        MessageCount("istio_response_messages_total", "inbound|80||", 7),
    ]


def test_sums_of_fractions() -> None:
    text = "# TYPE envoy_istio_x histogram\n" + "".join(
        f'envoy_istio_x_sum{{packed__a__="{a};{b}"}} 0.25\n' for a, b in (("p", "q"), ("p", "r"))
    )
    assert 'istio_x_sum{a="p"} 0.5' in shown(text, 10)


def test_the_last_line_may_lack_its_end() -> None:
    assert shown(PAGE.rstrip("\n"), 50) == SHOWN


def test_letters_across_pieces() -> None:
    assert shown('# TYPE envoy_x gauge\nenvoy_x{a="ü"} 1\n', 1).count("ü") == 1
