"""``envoy.filters.http.grpc_stats``: counts the messages of gRPC, per cluster, as they pass.

Istio's two metrics are made of these statistics where they are shown (``proxy/message_counts.py``).
https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/grpc_stats_filter
"""

from envoy.extensions.filters.http.grpc_stats.v3 import config_pb2
from google.protobuf import wrappers_pb2

from argosy.model.telemetry import MESSAGE_METRICS, Metrics

GRPC_STATS_FILTER = "envoy.filters.http.grpc_stats"


def counts_messages(metrics: Metrics | None) -> bool:
    """Whether one of the two metrics is wanted; the filter has no switch for one alone."""
    if metrics is None:
        return False
    disabled = {override.metric for override in metrics.overrides if override.disabled}
    return not disabled.issuperset(MESSAGE_METRICS)


def grpc_stats() -> config_pb2.FilterConfig:
    """One number for each cluster and direction: methods are names that clients choose."""
    return config_pb2.FilterConfig(stats_for_all_methods=wrappers_pb2.BoolValue(value=False))
