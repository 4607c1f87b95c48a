"""What Mixer costs at 1000 services and 5000 edges: a process of its own, fed by gRPC over mutual TLS.

Each of 1000 proxies sends every two seconds what it has counted: a counter and a histogram for each of
the edges that it is an end of, all of them busy. ``python -m bench.mixer DIRECTORY SERVICES`` is that process.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import grpc

from argosy import xds
from argosy.base.clock import SystemClock
from argosy.base.log import Secret
from argosy.base.names import TrustDomain
from argosy.citadel.identity import TrustDomains
from argosy.mixer.caller import Guard, Judge, Rules
from argosy.mixer.control_plane import ControlPlane
from argosy.mixer.credentials import MixerCredentials
from argosy.mixer.graph.edges import BOUNDS
from argosy.mixer.graph.part import SERVICE, GraphPart
from argosy.mixer.parts import Ground
from argosy.mixer.traces.part import Traces
from argosy.model.standard_metrics import joined, packed
from argosy.testing.certificates import ScratchAuthority
from argosy.testing.telemetry import LABELS, Export
from bench import machine
from bench.process_facts import usage

PRINCIPAL = "spiffe://cluster.local/ns/shop/sa/web"
NAME = "mixer.istio-system.svc"
FLUSH_SECONDS = 2.0
EDGES_OF_A_SERVICE = 5
WANTED = 1_000_000
"""Data points after which memory is looked at again."""

Json = dict[str, Any]


def measure(services: int, rounds: int) -> Json:
    """Processor time for a round of all proxies, as a share of one processor, and memory."""
    with serving(services) as (pid, facts):
        return asyncio.run(_feed(pid, facts, services, rounds))


@contextmanager
def serving(services: int) -> Iterator[tuple[int, Json]]:
    """The process, and what its clients need: ``dial`` takes it."""
    with tempfile.TemporaryDirectory() as directory:
        argv = (sys.executable, "-m", "bench.mixer", directory, str(services))
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            try:
                yield process.pid, json.loads(process.stdout.readline())
            finally:
                process.terminate()


async def _feed(pid: int, facts: Json, services: int, rounds: int) -> Json:
    points = 4 * services * EDGES_OF_A_SERVICE
    idle = usage(pid)
    async with AsyncExitStack() as opened:
        calls = []
        for place, body in enumerate(exports(services)):
            channel = await opened.enter_async_context(dial(facts, place))
            calls.append((channel.unary_unary(f"/{SERVICE}/Export"), body))
        await _round(calls)  # handshakes, and labels are new only once
        warm, shares = usage(pid), []
        for _ in range(rounds):
            began = usage(pid).cpu
            await _round(calls)
            shares.append((usage(pid).cpu - began) / FLUSH_SECONDS)
        busy = usage(pid)
        for _ in range(max(0, -(-WANTED // points) - rounds - 1)):
            await _round(calls)
        end = usage(pid)
    return {
        "machine": machine.facts(),
        "services": services,
        "edges": services * EDGES_OF_A_SERVICE,
        "points_per_round": points,
        "processor_share": sorted(shares)[len(shares) // 2],
        "bytes": {
            "idle": idle.rss,
            "first_round": warm.rss,
            "busy": busy.rss,
            "after_a_million_points": end.rss,
        },
    }


def dial(facts: Json, place: int) -> grpc.aio.Channel:
    """Of the proxy of one service, with its certificate."""
    own = facts["proxies"][place]
    credentials = grpc.ssl_channel_credentials(
        *(text.encode() for text in (facts["roots"], own["key"], own["certificate"]))
    )
    options = (("grpc.ssl_target_name_override", NAME), ("grpc.use_local_subchannel_pool", 1))
    return grpc.aio.secure_channel(f"127.0.0.1:{facts['port']}", credentials, options)


async def _round(calls: list[tuple[Any, bytes]]) -> None:
    """Never more than some at once, as proxies that flush at their own times."""
    waiting = iter(calls)

    async def some() -> None:
        for export, body in waiting:
            await export(body, timeout=60)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(8):
            tasks.create_task(some())


def exports(services: int) -> list[bytes]:
    """One for each service's proxy: it calls five others, and five call it."""
    found = [Export() for _ in range(services)]
    for source in range(services):
        for step in range(1, EDGES_OF_A_SERVICE + 1):
            destination = (source + step * step) % services
            for reporter, proxy in (("source", source), ("destination", destination)):
                _count(found[proxy], _labels(source, destination, reporter))
    return [export.bytes for export in found]


def _count(export: Export, labels: dict[str, str]) -> None:
    tags = {
        packed(tuple(labels)[:6]): joined(tuple(labels.values())[:6]),
        packed(tuple(labels)[6:]): joined(tuple(labels.values())[6:]),
    }
    export.count("istio.requests_total", 20, tags)
    buckets = [0] * (len(BOUNDS) + 1)
    buckets[2:7] = [8, 6, 3, 2, 1]
    export.durations(buckets, 200.0, tags)


def _labels(source: int, destination: int, reporter: str) -> dict[str, str]:
    return LABELS | {
        "reporter": reporter,
        "source_workload": f"s{source}",
        "source_app": f"s{source}",
        "source_principal": PRINCIPAL,
        "destination_principal": PRINCIPAL,
        "destination_workload": f"s{destination}",
        "destination_workload_namespace": "shop",
        "destination_service": f"s{destination}.shop.svc.cluster.local",
        "destination_service_name": f"s{destination}",
    }


@dataclass(frozen=True, slots=True)
class _Certificates:
    """What the parts ask the credentials for."""

    own: xds.Credentials
    trusted: Rules

    def current(self) -> xds.Credentials:
        return self.own

    def rules(self) -> Rules:
        return self.trusted


async def _serve(directory: Path, services: int) -> None:
    """Graph and traces behind the guard, as in Mixer, with certificates of a scratch authority."""
    authority = ScratchAuthority()
    own = authority.credential(NAME)
    proxies = [
        {"key": one.key, "certificate": one.certificate}
        for one in (
            authority.credential(
                PRINCIPAL, facts=f"s{place};shop;s{place};v1;Kubernetes;s{place};v1"
            )
            for place in range(services)
        )
    ]
    certificates = _Certificates(
        xds.Credentials(Secret(own.key.encode()), own.certificate.encode(), own.roots.encode()),
        Rules(TrustDomains(TrustDomain("cluster.local"))),
    )
    ground = Ground(
        directory,
        SystemClock(),
        cast(ControlPlane, None),
        cast(MixerCredentials, certificates),
        "127.0.0.1",
    )
    part = GraphPart(ground)
    server = grpc.aio.server(interceptors=(Guard(Judge(certificates.rules)),))
    server.add_generic_rpc_handlers((*part.handlers(), *Traces(ground).handlers()))
    port = server.add_secure_port("127.0.0.1:0", xds.server_credentials(certificates.current))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(part.run())
        await server.start()
        print(json.dumps({"port": port, "roots": own.roots, "proxies": proxies}), flush=True)
        await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
