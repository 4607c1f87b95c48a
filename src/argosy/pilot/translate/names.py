"""The names of Envoy resources: Istio's, because EnvoyFilters, dashboards and habits depend on them.

Everything here is text in, text out. No other file of this room spells a resource name.
"""

from dataclasses import dataclass

from argosy.model.proxy import ClusterKey

LOCAL_CLUSTER = "local_cluster"
"""The proxy's own kind, in its bootstrap; Istio's name."""
PASSTHROUGH_CLUSTER = "PassthroughCluster"
"""Where traffic to unknown hosts goes when ``outboundTrafficPolicy`` is ALLOW_ANY."""

BLACK_HOLE_CLUSTER = "BlackHoleCluster"
"""A cluster without endpoints: unknown hosts under REGISTRY_ONLY, and capture loops."""

DYNAMIC_DNS_CLUSTER = "AllowAnyDynamicDNSCluster"
"""Where the Host of a request leads, under ALLOW_ANY_DYNAMIC_DNS."""

INBOUND_PASSTHROUGH_CLUSTER = "InboundPassthroughCluster"
"""Inbound traffic to ports that no service names."""

VIRTUAL_OUTBOUND = "virtualOutbound"
VIRTUAL_INBOUND = "virtualInbound"
BOUND_INBOUND_PREFIX = "inbound_"

VIRTUAL_INBOUND_BLACKHOLE = "virtualInbound-blackhole"
"""Filter chain that refuses connections made to the capture port itself."""

VIRTUAL_INBOUND_CATCHALL_HTTP = "virtualInbound-catchall-http"
VIRTUAL_INBOUND_CATCHALL_TCP = "virtualInbound"
VIRTUAL_OUTBOUND_BLACKHOLE = "virtualOutbound-blackhole"
VIRTUAL_OUTBOUND_CATCHALL_TCP = "virtualOutbound-catchall-tcp"
VIRTUAL_OUTBOUND_TRAFFICMONITOR = "virtualOutbound-trafficmonitor"

ALLOW_ANY_VHOST = "allow_any"
"""The catch-all virtual host of a sidecar's route table under ALLOW_ANY."""

BLOCK_ALL_VHOST = "block_all"
"""The catch-all virtual host under REGISTRY_ONLY."""

DEFAULT_SECRET = "default"
"""The workload's own certificate and key."""

ROOT_SECRET = "ROOTCA"
"""The mesh's trust bundle."""


def outbound_cluster(port: int, subset: str, host: str) -> str:
    """``outbound|9080|v1|reviews.default.svc.cluster.local``; ``subset`` is empty for all."""
    return f"outbound|{port}|{subset}|{host}"


def cluster_name(key: ClusterKey) -> str:
    """The name of the outbound cluster that ``key`` identifies."""
    return outbound_cluster(key.port, key.subset, key.host)


def get_cluster_key(name: str) -> ClusterKey | None:
    """The key of an outbound cluster's name; None when ``name`` is not one. Inverse of above."""
    parts = name.split("|")
    if len(parts) != 4 or parts[0] != "outbound" or not parts[3] or not parts[1].isascii():
        return None
    if not parts[1].isdigit():
        return None
    return ClusterKey(int(parts[1]), parts[2], parts[3])


def outbound_sni(port: int, subset: str, host: str) -> str:
    """The SNI of mesh mTLS: ``outbound_.9080_.v1_.reviews.default.svc.cluster.local``.

    ``|`` is not legal in a DNS name, so Istio writes ``_.`` instead.
    """
    return f"outbound_.{port}_.{subset}_.{host}"


def inbound_cluster(port: int) -> str:
    """``inbound|9080||``: the application itself, by the port it listens on."""
    return f"inbound|{port}||"


def bound_inbound_listener(address: str, port: int) -> str:
    """A sidecar's own socket: ``inbound_127.0.0.1_8443``. Istio's lacks the first word, so that an
    outbound listener may have the same name."""
    return f"{BOUND_INBOUND_PREFIX}{address}_{port}"


def inbound_route(port: int) -> str:
    """The name of an inbound route configuration; Istio uses the inbound cluster's name."""
    return inbound_cluster(port)


def inbound_virtual_host(port: int) -> str:
    """``inbound|http|9080``."""
    return f"inbound|http|{port}"


def http_listener(port: int) -> str:
    """The outbound listener of all HTTP services of a port: ``0.0.0.0_9080``."""
    return f"0.0.0.0_{port}"


def get_sni_key(name: str) -> ClusterKey | None:
    """The key in an SNI of mesh mTLS; None when ``name`` is not one. Inverse of above."""
    parts = name.split("_.")
    if len(parts) != 4 or parts[0] != "outbound" or not parts[3] or not parts[1].isascii():
        return None
    return ClusterKey(int(parts[1]), parts[2], parts[3]) if parts[1].isdigit() else None


def address_listener(address: str, port: int) -> str:
    """The outbound listener of one virtual IP (TCP and undeclared ports): ``10.96.0.7_3306``.

    IPv6 addresses are written bare, as Istio does: ``fd00::7_3306``.
    """
    return f"{address}_{port}"


MESH_PROXY_ROUTE = "http_proxy"
"""The route table of the HTTP proxy that MeshConfig ``proxyHttpPort`` opens."""


def http_route(port: int) -> str:
    """The route configuration of ``http_listener(port)``: ``9080``."""
    return str(port)


def host_route(host: str, port: int) -> str:
    """The route configuration of an undeclared port's listener: ``<host>:<port>``."""
    return f"{host}:{port}"


def virtual_host(host: str, port: int) -> str:
    """The virtual host of a service port in an outbound route table: ``<host>:<port>``."""
    return f"{host}:{port}"


def gateway_listener(port: int) -> str:
    """A gateway's listener: ``0.0.0.0_8080``."""
    return f"0.0.0.0_{port}"


def gateway_http_route(port: int) -> str:
    """A gateway's plain HTTP route configuration: ``http.8080``, by the port it listens on."""
    return f"http.{port}"


def gateway_https_route(port: int, port_name: str, gateway: str, namespace: str) -> str:
    """A terminated HTTPS server's routes: ``https.443.https.my-gateway.default``.

    ``port`` is the server's own number, as in Istio.
    """
    return f"https.{port}.{port_name}.{gateway}.{namespace}"


def cluster_facts(name: str) -> tuple[int, str, str]:
    """Port, subset and host that a cluster's name tells: 0 and empty texts where it does not."""
    parts = name.split("|")
    if len(parts) != 4 or not parts[1].isdigit():
        return 0, "", ""
    return int(parts[1]), parts[2], parts[3]


@dataclass(frozen=True, slots=True)
class RouteTableFacts:
    """What a route table's name tells; ``gateway`` is ``<namespace>/<name>``."""

    port: int = 0
    is_gateway: bool = False
    port_name: str = ""
    gateway: str = ""


def route_table_facts(name: str) -> RouteTableFacts:
    """Inverse of the names of route tables above."""
    kind, _, rest = name.partition(".")
    if kind in ("http", "https") and rest:
        number, _, rest = rest.partition(".")
        if not number.isdigit():
            return RouteTableFacts()
        if kind == "http":
            return RouteTableFacts(int(number), True)
        parts = rest.rsplit(".", 2)
        if len(parts) != 3:
            return RouteTableFacts(int(number), True)
        return RouteTableFacts(int(number), True, parts[0], f"{parts[2]}/{parts[1]}")
    if name.startswith("inbound|"):
        return RouteTableFacts(cluster_facts(name)[0])
    number = name.rpartition(":")[2]
    return RouteTableFacts(int(number) if number.isdigit() else 0)


def credential_secret(name: str) -> str:
    """``kubernetes://my-credential``: a ``credentialName`` as it is asked of the control plane."""
    return name if "://" in name else f"kubernetes://{name}"


def authorities_secret(name: str) -> str:
    """``kubernetes://my-credential-cacert``: the authorities that belong to a credential."""
    return f"{credential_secret(name)}-cacert"


def file_secret(certificate: str, key: str) -> str:
    """``file-cert:/etc/cert.pem~/etc/key.pem``: a certificate and key on the proxy's machine."""
    return f"file-cert:{certificate}~{key}"


def file_authorities_secret(ca: str) -> str:
    """``file-root:/etc/ca.pem``."""
    return f"file-root:{ca}"
