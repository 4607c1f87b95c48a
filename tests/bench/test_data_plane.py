"""Ratios come from bursts of the same round; the floor is a configuration that Envoy takes."""

import json
import subprocess
from pathlib import Path

import pytest

from argosy.proxy.envoy import envoy_path
from argosy.testing.certificates import ScratchAuthority
from bench import floor
from bench.data_plane import Load, summary

_CLIENT = "spiffe://cluster.local/ns/bench/sa/client"
_SERVER = "spiffe://cluster.local/ns/bench/sa/server"


def burst(cpu: float, p50: float, requests: int = 1000) -> dict[str, object]:
    return {
        "requests": requests,
        "seconds": 1.0,
        "elapsed": 1.0,
        "microseconds": {"p50": p50, "p90": 2 * p50, "p99": 3 * p50},
        "proxy_cpu": {"client": cpu / 2, "server": cpu / 2},
        "pair_cpu": cpu,
        "application_cpu": 1e-5,
        "generator_cpu": 0.1,
        "machine_busy": 1.5,
    }


def test_summary_pairs_rounds() -> None:
    # The machine is three times as slow in the second round; the ratio does not know it.
    rounds = [
        {
            "direct": {**burst(0, 100), "proxy_cpu": {}},
            "floor": burst(100e-6 * slow, 400 * slow),
            "argosy": burst(110e-6 * slow, 500 * slow, requests=900),
            "floor_again": burst(100e-6 * slow, 400 * slow),
        }
        for slow in (1, 3, 1)
    ]
    found = summary(Load("steady", 1000, 16, 1.0, 3), rounds)
    ratio = found["argosy_to_floor"]["pair_cpu"]
    assert ratio["median"] == pytest.approx(1.1)
    assert ratio["maximum"] == pytest.approx(1.1)
    assert found["argosy_to_floor"]["p50"]["median"] == pytest.approx(1.25)
    assert found["argosy_to_floor"]["requests_per_second"]["median"] == pytest.approx(0.9)
    assert found["floor_to_itself"]["pair_cpu"]["median"] == 1
    assert found["argosy_to_direct"]["added_p50_microseconds"]["median"] == 400
    argosy = found["paths"]["argosy"]
    assert argosy["pair_cpu_microseconds"]["median"] == pytest.approx(110)
    assert argosy["pair_cpu_microseconds"]["maximum"] == pytest.approx(330)
    assert argosy["processors_used"]["client"] == pytest.approx(55e-6 * 900)
    assert "pair_cpu_microseconds" not in found["paths"]["direct"]


@pytest.mark.envoy
def test_envoy_takes_the_floor(tmp_path: Path) -> None:
    authority = ScratchAuthority()
    configurations = {
        "application": floor.application(),
        "client": floor.client(authority.credential(_CLIENT), "server.example", _SERVER),
        "server": floor.server(authority.credential(_SERVER), _CLIENT),
    }
    for name, configuration in configurations.items():
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(configuration))
        done = subprocess.run(
            [str(envoy_path()), "--mode", "validate", "--config-path", str(file)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
