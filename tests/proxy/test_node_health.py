"""Probes of WorkloadGroups as the agent runs them."""

import pytest

from argosy.api.networking_workload_entry import (
    ExecHealthCheck,
    GrpcHealthCheck,
    HTTPHeader,
    HTTPHealthCheck,
    ReadinessProbe,
    TCPHealthCheck,
)
from argosy.platforms.local.probes import Exec, Grpc, HttpGet, Probe, TcpSocket
from argosy.proxy.node_health import probe_of


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (ReadinessProbe(http_get=HTTPHealthCheck(port=80)), Probe(HttpGet(80))),
        (
            ReadinessProbe(
                http_get=HTTPHealthCheck(
                    port=443,
                    path="/healthz",
                    host="127.0.0.1",
                    scheme="HTTPS",
                    http_headers=(HTTPHeader(name="x-probe", value="yes"),),
                ),
                initial_delay_seconds=1,
                timeout_seconds=2,
                period_seconds=3,
                success_threshold=4,
                failure_threshold=5,
            ),
            Probe(
                HttpGet(443, "/healthz", "127.0.0.1", "HTTPS", (("x-probe", "yes"),)),
                initial_delay=1.0,
                timeout=2.0,
                period=3.0,
                success_threshold=4,
                failure_threshold=5,
            ),
        ),
        (
            ReadinessProbe(tcp_socket=TCPHealthCheck(port=1, host="127.0.0.1")),
            Probe(TcpSocket(1, "127.0.0.1")),
        ),
        (ReadinessProbe(exec=ExecHealthCheck(command=("true",))), Probe(Exec(("true",)))),
        (ReadinessProbe(grpc=GrpcHealthCheck(port=1)), Probe(Grpc(1))),
        (ReadinessProbe(grpc=GrpcHealthCheck(port=1, service="shop")), Probe(Grpc(1, "shop"))),
    ],
)
def test_what_a_group_asks_for(written: ReadinessProbe, expected: Probe) -> None:
    assert probe_of(written) == expected
