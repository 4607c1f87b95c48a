"""Where an application's own metrics are; the server itself is tried by ``e2e/test_metrics.py``.

https://istio.io/latest/docs/ops/integrations/prometheus/#option-1-metrics-merging
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from argosy.proxy.node_metrics import ApplicationMetrics, MetricsServer, application_metrics

ON = {"prometheus.io/scrape": "true"}


@pytest.mark.parametrize(
    ("annotations", "found"),
    [
        ({}, None),
        ({"prometheus.io/port": "9090"}, None),
        (ON, ApplicationMetrics(80, "/metrics")),
        (ON | {"prometheus.io/port": "9090"}, ApplicationMetrics(9090, "/metrics")),
        (
            ON | {"prometheus.io/port": "9090", "prometheus.io/path": "own/m"},
            ApplicationMetrics(9090, "/own/m"),
        ),
        (
            ON | {"prometheus.io/path": "/größe all?of=it,%20"},
            ApplicationMetrics(80, "/gr%C3%B6%C3%9Fe%20all?of=it,%20"),
        ),
        (ON | {"prometheus.io/port": "many"}, None),
        (ON | {"prometheus.io/port": "70000"}, None),
        (ON | {"prometheus.io/scheme": "https"}, None),
        (ON | {"prometheus.istio.io/merge-metrics": "false"}, None),
    ],
)
def test_annotations(annotations: dict[str, str], found: ApplicationMetrics | None) -> None:
    assert application_metrics(annotations) == found


@contextlib.asynccontextmanager
async def serving(*, ready: bool = True) -> AsyncIterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = MetricsServer(socket.socket, lambda: ready, lambda: None, "")
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(server.run(listener))
        yield listener.getsockname()[1]
        task.cancel()


async def ask(port: int, text: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text)
    try:
        async with asyncio.timeout(5):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_health_and_strange_requests() -> None:
    async with serving() as port:
        healthy = await ask(port, b"GET /healthz/ready HTTP/1.1\r\nHost: x\r\n\r\n")
        assert healthy.startswith(b"HTTP/1.1 200 ")
        assert (await ask(port, b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")).startswith(b"HTTP/1.1 404 ")
        assert (await ask(port, b"POST /stats/prometheus HTTP/1.1\r\nHost: x\r\n\r\n")).startswith(
            b"HTTP/1.1 405 "
        )
        assert await ask(port, b"\x16\x03\x01 not http\r\n\r\n") == b""
        assert await ask(port, b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000) == b""
    async with serving(ready=False) as port:
        unready = await ask(port, b"GET /healthz/ready HTTP/1.1\r\nHost: x\r\n\r\n")
        assert unready.startswith(b"HTTP/1.1 503 ")


async def test_only_so_many_at_once() -> None:
    async with serving() as port:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
        assert await ask(port, b"GET /healthz/ready HTTP/1.1\r\nHost: x\r\n\r\n") == b""
        for _, writer in idle:
            writer.close()
