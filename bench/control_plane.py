"""The control plane at work: a whole mesh built, one change on its way to every proxy, memory.

The control plane is its own process, ``python -m argosy.server``, with a journal of the mesh, the
mesh's authority, mutual TLS and the HTTP API as in a real mesh. The simulated proxies share this
process, so the times hold what both sides use of the machine.
"""

import asyncio
import gc
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from argosy.base.names import TrustDomain
from argosy.citadel.authority import AuthorityDirectory
from argosy.citadel.identity import SpiffeId
from argosy.citadel.signer import pem, private_pem, sign_workload
from argosy.platforms.local.state import MeshDirectory
from argosy.testing.graph import Graph
from bench.figures import spread
from bench.fleet import Fleet
from bench.process_facts import Usage, usage
from bench.running_mesh import REPOSITORY, CommandError
from bench.simulated_mesh import (
    Proxy,
    Shape,
    host,
    objects,
    proxies,
    virtual_service,
    write_journal,
)

_API = "/apis/argosy.dev/v1alpha1"
_TRUST_DOMAIN = TrustDomain("cluster.local")
_SYNCED_SECONDS = 600.0
_TYPES = ("CDS", "EDS", "LDS", "RDS")

Json = dict[str, Any]


def measure_build(shape: Shape, rounds: int) -> Json:
    """The full build of the mesh for one proxy, from objects to bytes, in a process of its own."""
    runs = [_in_process("build", shape) for _ in range(rounds)]
    return {
        "shape": asdict(shape),
        "seconds": spread([run["seconds"] for run in runs]).json,
        "resources": runs[0]["resources"],
        "bytes": runs[0]["bytes"],
    }


def _in_process(what: str, shape: Shape, *arguments: int) -> Json:
    """``build`` or ``distribute`` in a fresh process."""
    command = [sys.executable, "-m", "bench.control_plane", what, json.dumps(asdict(shape))]
    try:
        done = subprocess.run(
            [*command, *map(str, arguments)],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        raise CommandError(f"{' '.join(command)} failed: see its output above") from error
    found: Json = json.loads(done.stdout)
    return found


def build(shape: Shape) -> Json:
    """One full build: every resource that a sidecar of the mesh gets, by the graph of formulas."""
    graph = Graph()
    graph.put(list(objects(shape)))
    role = proxies(shape)[0].role
    gc.collect()
    start = time.perf_counter()
    resources = graph.resources(role)
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "resources": len(resources),
        "bytes": sum(len(encoded.body) for encoded in resources.values()),
    }


def measure_distribution(shape: Shape, changes: int) -> Json:
    """Connect every proxy, then change one VirtualService several times."""
    return _in_process("distribute", shape, changes)


async def distribute(shape: Shape, changes: int) -> Json:
    with tempfile.TemporaryDirectory(prefix="argosy-bench-") as scratch:
        directory = MeshDirectory.at(Path(scratch) / "bench")
        directory.path.mkdir(mode=0o700)
        credentials = _credentials(directory, shape)
        write_journal(shape, directory.store)
        async with _control_plane(directory) as server:
            started = server.usage()
            result: Json = {
                "shape": asdict(shape),
                "proxies": shape.proxies,
                "start_seconds": server.start_seconds,
                "memory_before_proxies": _memory(started),
            }
            begun = time.perf_counter()
            async with Fleet(server.address, proxies(shape), credentials) as fleet:
                await server.until_synced(shape.proxies)
                result["connect_seconds"] = time.perf_counter() - begun
                result["connect_bytes"] = fleet.received
                result["connect_cpu_seconds"] = server.usage().cpu - started.cpu
                result["memory"] = _memory(server.usage())
                result["one_change"] = await _changes(server, fleet, shape, changes)
                result["memory_after_changes"] = _memory(server.usage())
        return result


async def _changes(server: "_Server", fleet: Fleet, shape: Shape, changes: int) -> Json:
    """The first creates the rules of one host; the others alter their time limit."""
    seconds, acknowledgement, cpu = [], [], []
    size = 0
    for number in range(changes + 1):
        text = virtual_service(shape, 0, 1000 + number)
        received, before = fleet.received, server.usage().cpu
        start = time.perf_counter()
        revision = (await server.apply(text))["revision"]
        done = await server.call(
            "GET", f"{_API}/distribution?revision={revision}&timeoutSeconds=120"
        )
        elapsed = time.perf_counter() - start
        if done["touched"] != shape.proxies or done["acknowledged"] != shape.proxies:
            raise RuntimeError(f"not every proxy acknowledged: {done}")
        size = (fleet.received - received) // shape.proxies
        if number == 0:
            continue  # it makes formulas that later changes only run again
        seconds.append(elapsed)
        acknowledgement.append(done["milliseconds"] / 1000)
        cpu.append(server.usage().cpu - before)
    return {
        "host": host(shape, 0),
        "apply_to_last_ack_seconds": spread(seconds).json,
        "publish_to_last_ack_seconds": spread(acknowledgement).json,
        "server_cpu_seconds": spread(cpu).json,
        "bytes_per_proxy": size,
    }


class _Server:
    """The control plane's process."""

    def __init__(self, directory: MeshDirectory, address: str, process: "subprocess.Popen[bytes]"):
        self.address = address
        self.start_seconds = 0.0
        self._process = process
        self._directory = directory
        self._client: httpx.AsyncClient | None = None

    def usage(self) -> Usage:
        return usage(self._process.pid)

    async def call(self, method: str, path: str, body: object = None) -> Json:
        if self._client is None:
            token = self._directory.admin_token.read_text().strip()
            self._client = httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(uds=str(self._directory.api_socket)),
                base_url="http://argosy",
                headers={"Authorization": f"Bearer {token}"},
                timeout=300,
            )
        response = await self._client.request(method, path, json=body)
        response.raise_for_status()
        answer: Json = response.json()
        return answer

    async def apply(self, text: str) -> Json:
        body = {"files": [{"path": "bench.yaml", "text": text}]}
        answer = await self.call("POST", f"{_API}/apply", body)
        assert not answer["problems"], answer["problems"]
        return answer

    async def until_ready(self) -> None:
        start = time.perf_counter()
        while not self._directory.api_socket.exists():
            if self._process.poll() is not None:
                raise RuntimeError(f"the control plane ended: {self._log()}")
            await asyncio.sleep(0.01)
        await self.call("GET", f"{_API}/status")
        self.start_seconds = time.perf_counter() - start

    async def until_synced(self, count: int) -> None:
        """Until every proxy has acknowledged what it asked for, of all four types."""
        async with asyncio.timeout(_SYNCED_SECONDS):
            while True:
                found = (await self.call("GET", f"{_API}/proxies"))["items"]
                synced = [
                    one
                    for one in found
                    if all(one["types"].get(kind, {}).get("state") == "SYNCED" for kind in _TYPES)
                ]
                if len(synced) == count:
                    return
                await asyncio.sleep(0.5)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    def _log(self) -> str:
        return self._directory.control_plane_log.read_text(errors="replace")[-2000:]


@asynccontextmanager
async def _control_plane(directory: MeshDirectory) -> AsyncIterator[_Server]:
    address = f"127.0.0.1:{_free_port()}"
    command = [sys.executable, "-m", "argosy.server", "--directory", str(directory.path)]
    command += ["--ads-address", address, "--log-level", "warning"]
    environment = {**os.environ, "ARGOSY_STATE_DIR": str(directory.path.parent)}
    with directory.control_plane_log.open("wb") as log, _running(command, environment, log) as run:
        server = _Server(directory, address, run)
        await server.until_ready()
        try:
            yield server
        finally:
            await server.close()


@contextmanager
def _running(
    command: list[str], environment: dict[str, str], log: Any
) -> "Iterator[subprocess.Popen[bytes]]":
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _credentials(
    directory: MeshDirectory, shape: Shape
) -> Callable[[Proxy], grpc.ChannelCredentials]:
    """What each proxy shows: the mesh's own authority signs for its service account."""
    now = datetime.now(UTC)
    kept = AuthorityDirectory(directory.authority).load_or_create(_TRUST_DOMAIN, now)
    authority = kept.current.authority
    root = pem(authority.root).encode()
    made: dict[tuple[str, str], grpc.ChannelCredentials] = {}
    for proxy in proxies(shape):
        account = (proxy.namespace, proxy.service_account)
        if account in made:
            continue
        key = ec.generate_private_key(ec.SECP256R1())
        request = x509.CertificateSigningRequestBuilder(x509.Name([]))
        csr = request.sign(key, hashes.SHA256())
        text = csr.public_bytes(serialization.Encoding.PEM).decode()
        issued = sign_workload(authority, text, SpiffeId.of(_TRUST_DOMAIN, *account), now)
        chain = "".join(issued.chain[:-1]).encode()
        made[account] = grpc.ssl_channel_credentials(root, private_pem(key), chain)
    return lambda proxy: made[proxy.namespace, proxy.service_account]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _memory(used: Usage) -> dict[str, int]:
    return {"rss_bytes": used.rss, "anonymous_bytes": used.anonymous}


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["build", given]:
            print(json.dumps(build(Shape(**json.loads(given)))))
        case ["distribute", given, count]:
            print(json.dumps(asyncio.run(distribute(Shape(**json.loads(given)), int(count)))))
        case arguments:
            sys.exit(f"no such measurement: {arguments}")
