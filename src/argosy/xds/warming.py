"""Which endpoints a cluster waits for.

Envoy builds a changed cluster anew and takes it into use only when a
``ClusterLoadAssignment`` arrives, "even though there is no change in endpoints"
(xDS protocol, "Resource warming"). In the delta protocol it does not ask again, because
it is subscribed already; nor does it when a second cluster uses the name of a first
(envoyproxy/envoy issues 13009, 47302). So the server must send the endpoints after the
cluster, unasked.
"""

from functools import lru_cache

from envoy.config.cluster.v3 import cluster_pb2
from google.protobuf.message import DecodeError


@lru_cache(maxsize=16384)
def awaited_endpoints(body: bytes) -> str | None:
    """The EDS name that the serialized cluster waits for on this stream; None when it does not."""
    try:
        cluster = cluster_pb2.Cluster.FromString(body)
    except DecodeError:
        return None
    if cluster.type != cluster_pb2.Cluster.EDS or not cluster.HasField("eds_cluster_config"):
        return None
    config = cluster.eds_cluster_config
    if config.eds_config.WhichOneof("config_source_specifier") not in ("ads", "self"):
        return None
    return str(config.service_name or cluster.name)
