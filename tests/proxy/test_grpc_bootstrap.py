"""What gRPC reads from the file that GRPC_XDS_BOOTSTRAP names."""

from pathlib import Path

from argosy.model.proxy import ProxyType
from argosy.proxy.bootstrap import ProxyFacts
from argosy.proxy.grpc_bootstrap import grpc_bootstrap

FACTS = ProxyFacts(
    type=ProxyType.GRPC,
    name="greeter-1",
    namespace="shop",
    address="10.244.0.7",
    service_account="greeter",
    labels=(("app", "greeter"),),
    workload="greeter",
    mesh="default",
    ads=("10.244.0.1", 15012),
)


def test_it_speaks_to_the_control_plane_with_the_workloads_certificate() -> None:
    found = grpc_bootstrap(FACTS, Path("/pods/greeter/certs"))
    (server,) = found["xds_servers"]
    assert server["server_uri"] == "10.244.0.1:15012"
    (credentials,) = server["channel_creds"]
    provider = found["certificate_providers"]["default"]
    assert (credentials["type"], provider["plugin_name"]) == ("tls", "file_watcher")
    own = {"ca_certificate_file": "/pods/greeter/certs/control-plane.pem"}
    assert credentials["config"] == {**provider["config"], **own}
    assert provider["config"] == {
        "certificate_file": "/pods/greeter/certs/cert-chain.pem",
        "private_key_file": "/pods/greeter/certs/key.pem",
        "ca_certificate_file": "/pods/greeter/certs/root-cert.pem",
        "refresh_interval": "10s",
    }


def test_its_node_is_istios() -> None:
    node = grpc_bootstrap(FACTS, Path("/certs"))["node"]
    assert node["id"] == "sidecar~10.244.0.7~greeter-1.shop~shop.svc.cluster.local"
    assert node["metadata"]["GENERATOR"] == "grpc"
