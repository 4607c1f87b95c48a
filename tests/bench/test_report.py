"""The page says what the results say."""

from typing import Any

import pytest

from bench import report
from bench.figures import paired_ratio, percentile, spread
from bench.machine import processor


def figures(median: float, minimum: float | None = None, maximum: float | None = None) -> object:
    return {
        "median": median,
        "minimum": median if minimum is None else minimum,
        "maximum": median if maximum is None else maximum,
        "count": 3,
    }


MACHINE = {
    "date": "2026-01-02 03:04 UTC",
    "processor": "Some CPU",
    "processors": 2,
    "memory_bytes": 8_000_000_000,
    "kernel": "6.1",
    "root": False,
    "load_before": 0.25,
    "commit": "abc1234",
    "python": "3.11.7",
    "envoy": "1.39.3",
    "packages": {"grpcio": "1.80.0"},
}


def pair(cpu: float) -> dict[str, object]:
    ratios = {
        "pair_cpu": figures(cpu, cpu - 0.1, cpu + 0.2),
        "p50": figures(1.01),
        "p99": figures(1.2),
        "requests_per_second": figures(0.9),
    }

    def path(pair_cpu: float | None) -> dict[str, object]:
        used = {"application": 0.1, "generator": 0.2, "machine": 1.5}
        found: dict[str, object] = {
            "requests_per_second": figures(1000),
            "microseconds": {name: figures(500) for name in ("p50", "p90", "p99")},
            "processors_used": used if pair_cpu is None else {"client": 0.3, "server": 0.4, **used},
        }
        return found if pair_cpu is None else {**found, "pair_cpu_microseconds": figures(pair_cpu)}

    return {
        "load": {"rate": 1000, "connections": 16, "seconds": 2.0, "rounds": 3},
        "paths": {"direct": path(None), "floor": path(300), "argosy": path(321)},
        "argosy_to_floor": ratios,
        "floor_to_itself": ratios,
        "argosy_to_direct": {
            "p50": figures(3),
            "added_p50_microseconds": figures(444),
            "requests_per_second": figures(0.3),
        },
    }


def data_plane(steady: float, saturation: float) -> dict[str, object]:
    used = {"cpu": 1.0, "rss": 70_000_000, "anonymous": 19_000_000}
    memory = {path: {"client": used, "server": used} for path in ("floor", "argosy")}
    return {
        "steady": pair(steady),
        "saturation": pair(saturation),
        "memory": memory,
        "idle_memory": memory,
    }


def start(warm: float) -> dict[str, object]:
    keys = ("first_200", "complete", "ready")
    return {
        "cold": {**dict.fromkeys(keys, 5.5), "modules_compiled": 1234},
        "warm": {key: figures(warm, warm - 1, warm + 1) for key in keys},
        "workloads": 7,
    }


def control_plane(seconds: float, rss: int, namespaces: int) -> dict[str, Any]:
    shape = {
        "services": 1000,
        "endpoints": 10,
        "namespaces": namespaces,
        "ports": 10,
        "workloads": 100,
        "replicas": 5,
    }
    memory = {"rss_bytes": rss, "anonymous_bytes": rss - 35_000_000}
    return {
        "builds": [
            {"shape": shape, "seconds": figures(1.7), "resources": 2026, "bytes": 3_300_000}
        ],
        "distributions": [
            {
                "shape": shape,
                "proxies": 500,
                "start_seconds": 1.1,
                "memory_before_proxies": memory,
                "memory": memory,
                "memory_after_changes": memory,
                "connect_seconds": 17.0,
                "connect_bytes": 500 * 3_600_000,
                "connect_cpu_seconds": 13.0,
                "one_change": {
                    "apply_to_last_ack_seconds": figures(seconds),
                    "publish_to_last_ack_seconds": figures(seconds / 2),
                    "server_cpu_seconds": figures(0.1),
                    "bytes_per_proxy": 53_000,
                },
            }
        ],
    }


def test_verdicts_compare_medians_with_targets() -> None:
    found = report.verdicts(
        {
            "data_plane": data_plane(1.15, 1.16),
            "startup": start(7.9),
            "control_plane": control_plane(1.0, 149_999_999, 1),
        }
    )
    assert [verdict.met for verdict in found] == [True, False, True, False, True]
    assert found[0].measured == "1.15 [1.05 to 1.35]"
    assert found[2].measured == "7.90 s [6.90 to 8.90]"
    assert found[4].measured == "150.0 MB"


def test_page_has_machine_targets_and_every_part() -> None:
    page = report.markdown(
        {
            "machine": MACHINE,
            "quick": False,
            "data_plane": data_plane(1.05, 1.3),
            "startup": start(3.5),
            "control_plane": control_plane(0.13, 200_000_000, 50),
        }
    )
    assert "2026-01-02 03:04 UTC, commit `abc1234`" in page
    assert "Some CPU" in page
    assert "an ordinary user" in page
    assert "Envoy 1.39.3, grpcio 1.80.0" in page
    assert (
        "| CPU per request of a sidecar pair, to the floor, at saturation "
        "| ≤ 1.15 | 1.30 [1.20 to 1.50] | **missed** |" in page
    )
    assert (
        "| One VirtualService change acknowledged by 500 proxies in 50 namespaces "
        "| < 1 s | 130 ms [130 to 130] | met |" in page
    )
    assert "| argosy | 321 µs [321 to 321] | 500 µs" in page
    assert "client 0.30, server 0.40, application 0.10, generator 0.20; sum 1.00" in page
    assert "compiles every module of the mesh (1234 files)" in page
    assert "17.0 s, 13.0 s of the control plane's CPU, 3.6 MB each" in page
    assert "200.0 MB (165.0 MB)" in page
    assert "--quick" not in page


def test_memory_is_told_apart_by_difference() -> None:
    (one,) = control_plane(0.1, 0, 1)["distributions"]
    few = {
        **one,
        "shape": {**one["shape"], "services": 50},
        "memory_before_proxies": {"rss_bytes": 80_000_000, "anonymous_bytes": 0},
        "memory": {"rss_bytes": 150_000_000, "anonymous_bytes": 0},
    }
    many = {
        **one,
        "memory_before_proxies": {"rss_bytes": 118_000_000, "anonymous_bytes": 0},
        "memory": {"rss_bytes": 240_000_000, "anonymous_bytes": 0},
    }
    page = report.markdown(
        {"machine": MACHINE, "control_plane": {"distributions": [many], "few_services": few}}
    )
    assert "mutual TLS take, 140 KB each" in page
    assert "| 80.0 MB | 70.0 MB | 38.0 MB | 52.0 MB | 240.0 MB |" in page


def test_page_of_a_quick_run_of_one_part_says_so() -> None:
    page = report.markdown({"machine": MACHINE, "quick": True, "startup": start(9)})
    assert "`--quick`" in page
    assert "**missed**" in page
    assert "## A sidecar pair" not in page
    assert "## The control plane" not in page


def test_table() -> None:
    assert report.table(("a", "b"), [("1", "x|y")]) == "| a | b |\n| --- | --- |\n| 1 | x/y |"
    with pytest.raises(AssertionError):
        report.table(("a", "b"), [("1",)])


def test_figures() -> None:
    assert spread([3.0, 1.0, 2.0, 10.0]).json == {
        "median": 2.5,
        "minimum": 1.0,
        "maximum": 10.0,
        "count": 4,
    }
    # The median of the ratios (2, 1, 3), not the ratio of the medians.
    assert paired_ratio([2, 10, 3], [1, 10, 1]).median == 2
    with pytest.raises(ValueError, match="nothing"):
        spread([])
    with pytest.raises(ValueError, match="argument 2 is longer"):
        paired_ratio([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1), (0.5, 50), (0.9, 90), (0.99, 99), (1.0, 100)]
)
def test_percentile_is_the_nearest_rank(share: float, expected: int) -> None:
    assert percentile(range(1, 101), share) == expected
    assert percentile([7], share) == 7


def test_processor() -> None:
    assert processor("processor : 0\nmodel name\t: AMD EPYC \nflags : x") == "AMD EPYC"
