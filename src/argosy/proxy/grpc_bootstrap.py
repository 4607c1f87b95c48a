"""The bootstrap of a gRPC library that speaks xDS itself. Pure.

In: facts of one workload, and the directory of its certificate files. Out: the JSON that
``GRPC_XDS_BOOTSTRAP`` names. https://github.com/grpc/proposal/blob/master/A27-xds-global-load-balancing.md,
A29 (certificate providers), A36 (servers), A65 (mTLS to the control plane).
"""

from pathlib import Path
from typing import Any

from argosy.proxy.bootstrap import ProxyFacts, node
from argosy.proxy.secret_files import CHAIN_PEM, CONTROL_PLANE_PEM, KEY_PEM, ROOTS_PEM

SERVER_LISTENERS = "xds.istio.io/grpc/lds/inbound/%s"
REFRESH_SECONDS = 10
"""How often the library looks whether the agent has renewed the files."""

_PROVIDER = "default"


def grpc_bootstrap(facts: ProxyFacts, certificates: Path) -> dict[str, Any]:
    """The library speaks to the control plane with the workload's own certificate."""
    files = {
        "certificate_file": str(certificates / CHAIN_PEM),
        "private_key_file": str(certificates / KEY_PEM),
        "ca_certificate_file": str(certificates / ROOTS_PEM),
        "refresh_interval": f"{REFRESH_SECONDS}s",
    }
    of_control_plane = {"ca_certificate_file": str(certificates / CONTROL_PLANE_PEM)}
    described = node(facts)
    described["id"] = facts.node_id.replace(f"{facts.type.value}~", "sidecar~", 1)
    described["metadata"]["GENERATOR"] = "grpc"
    host, port = facts.ads
    return {
        "xds_servers": [
            {
                "server_uri": f"{host}:{port}",
                "channel_creds": [{"type": "tls", "config": {**files, **of_control_plane}}],
                "server_features": ["xds_v3"],
            }
        ],
        "node": described,
        "certificate_providers": {_PROVIDER: {"plugin_name": "file_watcher", "config": files}},
        "server_listener_resource_name_template": SERVER_LISTENERS,
    }
