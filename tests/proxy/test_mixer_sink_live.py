"""What an Envoy tells Mixer while no connection to it comes about."""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from tests.proxy.test_bootstrap import FACTS, clusters

from argosy.mixer.graph.part import SERVICE
from argosy.model.mixer import MIXER_CLUSTER
from argosy.proxy.bootstrap import bootstrap
from argosy.proxy.envoy import envoy_path
from argosy.testing.running_envoy import free_port

pytestmark = pytest.mark.envoy

ONCE = "cluster_manager.cluster_added"
"""Counts one when Envoy starts, and never again: it is in the first export alone."""


@contextmanager
def envoy(directory: Path, port: int) -> Iterator[None]:
    """With Mixer's sink and cluster, but for TLS, and with all of its own statistics."""
    facts = replace(FACTS, mixer=("127.0.0.1", port))
    cluster = clusters(facts)[MIXER_CLUSTER]
    del cluster["transport_socket"]
    (sink,) = bootstrap(facts)["stats_sinks"]
    del sink["typed_config"]["custom_metric_conversions"]
    config = {
        "static_resources": {"clusters": [cluster]},
        "stats_flush_interval": "0.5s",
        "stats_sinks": [sink],
    }
    file = directory / "envoy.json"
    file.write_text(json.dumps(config))
    arguments = [str(envoy_path()), "-c", str(file), "--concurrency", "1"]
    arguments += ["--disable-hot-restart", "--log-level", "error"]
    with subprocess.Popen(arguments) as process:
        try:
            yield
        finally:
            process.terminate()


async def test_what_met_no_connection_is_sent_again_and_counted_once(tmp_path: Path) -> None:
    added: list[int] = []
    exports: asyncio.Queue[None] = asyncio.Queue()

    async def export(body: bytes, _context: Any) -> bytes:
        request = metrics_service_pb2.ExportMetricsServiceRequest.FromString(body)
        for resource in request.resource_metrics:
            for scope in resource.instrumentation_library_metrics:
                for metric in scope.metrics:
                    if metric.name == ONCE:
                        added.extend(point.as_int for point in metric.sum.data_points)
        exports.put_nowait(None)
        return b""

    port = free_port()
    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(export)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {"Export": method}),)
    )
    with envoy(tmp_path, port):
        await asyncio.sleep(1.2)  # the first exports meet nobody
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        async with asyncio.timeout(30):
            while sum(added) < 1:
                await exports.get()
            for _ in range(4):
                await exports.get()
    await server.stop(None)
    assert sum(added) == 1
