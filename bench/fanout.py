"""One change to many proxies: from publication to the last ACK, and what a stream costs in memory.

The server runs in a process of its own, over real gRPC with mutual TLS unless told otherwise;
the simulated proxies share this process and subscribe as a sidecar does: all clusters, the
endpoints of each, listeners, one route table. They parse what they get and acknowledge it.
"""

import asyncio
import datetime
import ipaddress
import json
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.service.discovery.v3 import discovery_pb2

from argosy.base.log import Secret
from argosy.testing.xds.source import MemorySource
from argosy.xds import Admission, Credentials, GrpcService, Limits, Peer, Server, server_credentials
from argosy.xds.grpc_service import SERVICE
from argosy.xds.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE

_METHOD = f"/{SERVICE}/DeltaAggregatedResources"
_REPEATS = 7


# The server's side: a program that obeys lines on stdin


def _cluster(name: str) -> bytes:
    cluster = cluster_pb2.Cluster(name=name, type=cluster_pb2.Cluster.EDS)
    cluster.eds_cluster_config.eds_config.ads.SetInParent()
    cluster.connect_timeout.seconds = 10
    cluster.metadata.filter_metadata["istio"].update({"services": [{"host": name * 3}]})
    return bytes(cluster.SerializeToString(deterministic=True))


def _endpoints(name: str, version: int, count: int = 10) -> bytes:
    assignment = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    locality = assignment.endpoints.add()
    for number in range(count):
        address = locality.lb_endpoints.add().endpoint.address.socket_address
        address.address = f"10.244.{version % 250}.{number}"
        address.port_value = 9080
    return bytes(assignment.SerializeToString(deterministic=True))


def _routes(services: int, version: int) -> bytes:
    table = route_pb2.RouteConfiguration(name="9080")
    for number in range(services):
        host = table.virtual_hosts.add(name=f"service-{number}.default.svc.cluster.local:9080")
        host.domains.append(f"service-{number}.default.svc.cluster.local")
        route = host.routes.add()
        route.match.prefix = f"/{version}"
        route.route.cluster = _name(number)
    return bytes(table.SerializeToString(deterministic=True))


def _name(number: int) -> str:
    return f"outbound|9080||service-{number}.default.svc.cluster.local"


def _rss() -> int:
    """Resident memory of this process in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS in /proc/self/status")


def _cpu() -> float:
    """CPU seconds of this process."""
    return time.process_time()


async def _serve(services: int, vhosts: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    source = MemorySource()
    source.scope("everyone", "mesh")
    for number in range(services):
        source.put("mesh", CLUSTER, _name(number), _cluster(_name(number)))
        source.put("mesh", ENDPOINT, _name(number), _endpoints(_name(number), 0))
    listener = listener_pb2.Listener(name="virtualOutbound").SerializeToString()
    source.put("mesh", LISTENER, "virtualOutbound", bytes(listener))
    source.put("mesh", ROUTE, "9080", _routes(vhosts, 0))
    source.changes()

    def admit(_peer: Peer, _node: bytes) -> Admission:
        return Admission("everyone", "proxy")

    # All proxies come from one address here, under one name.
    server = Server(source, admit, limits=Limits(attempts_burst=1e6, streams=1_000_000))
    service = GrpcService(server)
    credentials: grpc.ServerCredentials | None = None
    given = json.loads(sys.stdin.readline())
    if given:
        shown = Credentials(
            Secret(given["key"].encode()), given["chain"].encode(), given["root"].encode()
        )
        credentials = server_credentials(lambda: shown)
    port = await service.start("127.0.0.1:0", credentials)
    revision = 0
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.run())
        print(json.dumps({"port": port, "rss": _rss()}), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            match line.strip():
                case "endpoints":
                    source.put("mesh", ENDPOINT, _name(0), _endpoints(_name(0), revision + 1))
                case "routes":
                    source.put("mesh", ROUTE, "9080", _routes(vhosts, revision + 1))
                case _:
                    print(json.dumps(_facts(server)), flush=True)
                    continue
            revision += 1
            before = _cpu()
            server.publish(source.changes(), revision)
            done = await server.wait_acknowledged(revision, 60)
            answer = {
                "touched": done.touched,
                "acknowledged": done.acknowledged,
                "seconds": done.seconds,
                "cpu": _cpu() - before,
            }
            print(json.dumps(answer), flush=True)
        await service.stop(0)


def _facts(server: Server) -> dict[str, Any]:
    states = [one for client in server.clients() for one in client.types]
    return {
        "rss": _rss(),
        "cpu": _cpu(),
        "streams": len(server.clients()),
        "synced": sum(one.state.value == "SYNCED" for one in states),
        "sent": server.statistics.pushed_bytes,
    }


# The proxies' side


class Proxy:
    """A delta client that keeps nothing but what the whole fleet shares."""

    def __init__(self, number: int, versions: dict[str, dict[str, str]], learn: bool) -> None:
        self._number = number
        self._versions = versions
        self._learn = learn
        self.asked = False

    def first(self, url: str, names: Sequence[str] = ()) -> bytes:
        request = discovery_pb2.DeltaDiscoveryRequest(
            type_url=url,
            resource_names_subscribe=names,
            initial_resource_versions=self._versions.get(url, {}),
        )
        if url == CLUSTER:
            request.node.id = f"sidecar~10.0.0.1~proxy-{self._number}.default~default"
        return bytes(request.SerializeToString())

    def answer(self, raw: bytes) -> list[bytes]:
        response = discovery_pb2.DeltaDiscoveryResponse.FromString(raw)
        url = response.type_url
        if self._learn:
            known = self._versions.setdefault(url, {})
            known.update((one.name, one.version) for one in response.resources)
        ack = discovery_pb2.DeltaDiscoveryRequest(type_url=url, response_nonce=response.nonce)
        requests = [bytes(ack.SerializeToString())]
        if url == CLUSTER and not self.asked:
            self.asked = True
            names = [one.name for one in response.resources] or list(self._versions[CLUSTER])
            requests.append(self.first(ENDPOINT, names))
            requests.append(self.first(LISTENER))
            requests.append(self.first(ROUTE, ["9080"]))
        return requests


async def _live(
    address: str,
    credentials: grpc.ChannelCredentials | None,
    proxy: Proxy,
    connected: asyncio.Semaphore,
) -> None:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    channel = (
        grpc.aio.secure_channel(address, credentials, options=options)
        if credentials is not None
        else grpc.aio.insecure_channel(address, options=options)
    )
    async with channel:
        open_stream: Any = channel.stream_stream(_METHOD, None, None)
        async with connected:
            call = open_stream()
            await call.write(proxy.first(CLUSTER))
            raw = await call.read()
        while raw is not grpc.aio.EOF:  # type: ignore[attr-defined]  # missing in the stubs
            for request in proxy.answer(raw):
                await call.write(request)
            raw = await call.read()


class _Fleet:
    """Proxies that stay connected while the context lasts."""

    def __init__(
        self,
        address: str,
        credentials: grpc.ChannelCredentials | None,
        count: int,
        versions: dict[str, dict[str, str]],
        *,
        learn: bool = False,
    ) -> None:
        self._proxies = [Proxy(number, versions, learn) for number in range(count)]
        self._arguments = (address, credentials)
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> None:
        await self._tasks.__aenter__()
        at_once = asyncio.Semaphore(100)
        self._running = [
            self._tasks.create_task(_live(*self._arguments, proxy, at_once))
            for proxy in self._proxies
        ]

    async def __aexit__(self, *_error: object) -> None:
        for task in self._running:
            task.cancel()
        await self._tasks.__aexit__(None, None, None)


class _Remote:
    """The server process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line.encode() + b"\n")
        answer = await self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the server process ended: see its output above")
        got = json.loads(answer)
        assert isinstance(got, dict)
        return got

    async def until_synced(self, streams: int) -> tuple[float, dict[str, Any]]:
        """Seconds until every stream has all four types, and the facts then."""
        start = time.perf_counter()
        async with asyncio.timeout(300):
            while True:
                facts = await self.ask("facts")
                if facts["streams"] == streams and facts["synced"] == 4 * streams:
                    return time.perf_counter() - start, facts
                await asyncio.sleep(0.05)


async def _measure(proxies: int, services: int, vhosts: int, tls: bool) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.fanout", "serve", str(services), str(vhosts)]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    remote = _Remote(process)
    shown, credentials = _certificates() if tls else ({}, None)
    started = await remote.ask(json.dumps(shown))
    address = f"127.0.0.1:{started['port']}"
    versions: dict[str, dict[str, str]] = {}
    result: dict[str, Any] = {"proxies": proxies, "services": services, "tls": tls}
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_Fleet(address, credentials, 1, versions, learn=True))
        await remote.until_synced(1)
        one = await remote.ask("facts")
    await _gone(remote)
    async with _Fleet(address, credentials, proxies, versions):
        seconds, facts = await remote.until_synced(proxies)
        result["reconnect_all_seconds"] = round(seconds, 3)
        result["reconnect_bytes_per_stream"] = (facts["sent"] - one["sent"]) // proxies
        result["rss_idle_server_mb"] = round(started["rss"] / 1e6, 1)
        result["rss_all_connected_mb"] = round(facts["rss"] / 1e6, 1)
        result["rss_per_stream_kb"] = round((facts["rss"] - one["rss"]) / proxies / 1e3, 1)
        for kind in ("endpoints", "routes"):
            runs = [await remote.ask(kind) for _ in range(_REPEATS)]
            assert all(run["acknowledged"] == proxies for run in runs), runs
            result[f"{kind}_last_ack_seconds"] = _spread([run["seconds"] for run in runs])
            result[f"{kind}_cpu_us_per_stream"] = round(
                statistics.median(run["cpu"] for run in runs) / proxies * 1e6
            )
        facts = await remote.ask("facts")
        result["rss_after_pushes_mb"] = round(facts["rss"] / 1e6, 1)
    await _gone(remote)
    before = (await remote.ask("facts"))["sent"]
    async with _Fleet(address, credentials, proxies, {}):
        seconds, facts = await remote.until_synced(proxies)
        result["first_connect_all_seconds"] = round(seconds, 3)
        result["first_connect_bytes_per_stream"] = (facts["sent"] - before) // proxies
        result["rss_after_full_push_mb"] = round(facts["rss"] / 1e6, 1)
    assert process.stdin is not None
    process.stdin.close()
    await process.wait()
    result["routes_bytes"] = len(_routes(vhosts, 1))
    result["endpoints_bytes"] = len(_endpoints(_name(0), 1))
    return result


async def _gone(remote: _Remote) -> None:
    async with asyncio.timeout(60):
        while (await remote.ask("facts"))["streams"]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(seconds), 4),
        "min": round(min(seconds), 4),
        "max": round(max(seconds), 4),
    }


def _certificates() -> tuple[dict[str, str], grpc.ChannelCredentials]:
    """What the server shows, and the credentials that all proxies use."""
    now = datetime.datetime.now(datetime.UTC)
    root_key = ec.generate_private_key(ec.SECP256R1())
    root_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "root")])

    def signed(name: x509.Name, key: Any, extension: x509.ExtensionType) -> str:
        builder = x509.CertificateBuilder(root_name, name, key, x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(minutes=1))
        builder = builder.not_valid_after(now + datetime.timedelta(hours=1))
        certificate = builder.add_extension(extension, False).sign(root_key, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM).decode()

    def leaf(name: x509.GeneralName) -> tuple[str, str]:
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        subject = x509.Name([])
        return pem.decode(), signed(subject, key.public_key(), x509.SubjectAlternativeName([name]))

    root = signed(root_name, root_key.public_key(), x509.BasicConstraints(True, None))
    server_key, server_chain = leaf(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    key, chain = leaf(x509.UniformResourceIdentifier("spiffe://cluster.local/ns/x/sa/y"))
    credentials = grpc.ssl_channel_credentials(root.encode(), key.encode(), chain.encode())
    return {"key": server_key, "chain": server_chain, "root": root}, credentials


def run(
    proxies: int = 500, services: int = 1000, vhosts: int = 100, tls: bool = True
) -> dict[str, Any]:
    """Measure; seconds, bytes, KB and MB as the keys say."""
    return asyncio.run(_measure(proxies, services, vhosts, tls))


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(_serve(int(sys.argv[2]), int(sys.argv[3])))
    else:
        print(json.dumps(run(), indent=2))
