"""Hosts that Envoy resolves when a request or a TLS client names them: its dynamic forward proxy.

A filter resolves and a cluster connects; both know each other by the DNS cache, which every use in
a proxy shares, so that there is one filter however many hosts there are.
https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/http/http_proxy
"""

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_components_pb2
from envoy.extensions.clusters.dynamic_forward_proxy.v3 import cluster_pb2 as dynamic_cluster_pb2
from envoy.extensions.common.dynamic_forward_proxy.v3 import dns_cache_pb2
from envoy.extensions.filters.http.dynamic_forward_proxy.v3 import dynamic_forward_proxy_pb2
from envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3 import (
    sni_dynamic_forward_proxy_pb2,
)

DYNAMIC_FORWARD_FILTER = "envoy.filters.http.dynamic_forward_proxy"
SNI_DYNAMIC_FORWARD_FILTER = "envoy.filters.network.sni_dynamic_forward_proxy"

MAX_HOSTS = 1024
"""Names that a proxy remembers at a time; further ones get 503 until some are forgotten."""

_CLUSTER_TYPE = "envoy.clusters.dynamic_forward_proxy"
_CACHE = "argosy_dynamic_dns"


def apply_dynamic_forward(proto: cluster_pb2.Cluster, *, verified: bool) -> None:
    """``verified``: by the host's name; where that is not so Envoy wants to be told."""
    proto.lb_policy = cluster_pb2.Cluster.CLUSTER_PROVIDED
    proto.cluster_type.name = _CLUSTER_TYPE
    config = dynamic_cluster_pb2.ClusterConfig(allow_insecure_cluster_options=not verified)
    config.dns_cache_config.CopyFrom(_dns_cache())
    proto.cluster_type.typed_config.Pack(config, deterministic=True)


def http_filter() -> dynamic_forward_proxy_pb2.FilterConfig:
    """It does nothing to requests whose route leads to another kind of cluster."""
    config = dynamic_forward_proxy_pb2.FilterConfig()
    config.dns_cache_config.CopyFrom(_dns_cache())
    return config


def sni_filter(port: int) -> listener_components_pb2.Filter:
    """Stands before a ``tcp_proxy``; connections go to ``port`` of the host in the SNI."""
    config = sni_dynamic_forward_proxy_pb2.FilterConfig(port_value=port)
    config.dns_cache_config.CopyFrom(_dns_cache())
    proto = listener_components_pb2.Filter(name=SNI_DYNAMIC_FORWARD_FILTER)
    proto.typed_config.Pack(config, deterministic=True)
    return proto


def _dns_cache() -> dns_cache_pb2.DnsCacheConfig:
    config = dns_cache_pb2.DnsCacheConfig(name=_CACHE)
    config.dns_lookup_family = cluster_pb2.Cluster.V4_ONLY
    config.max_hosts.value = MAX_HOSTS
    return config
