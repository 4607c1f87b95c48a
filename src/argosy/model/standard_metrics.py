"""How Istio's standard metrics travel inside Envoy, and how they read outside.

Labels that depend on one thing are one *packed* tag in Envoy: its name lists the labels, its value
their values, in the same order. Whoever shows the numbers unpacks it with ``labels``. Values that
Envoy cannot say itself stand there as evidence, such as the status that gRPC alone has.

https://istio.io/latest/docs/reference/config/metrics/
"""

from collections.abc import Iterable, Iterator, Mapping

SCOPE = "istio"
"""Begins the names of the statistics: ``istio.requests_total`` for ``istio_requests_total``."""

UNKNOWN = "unknown"
WORKLOAD_FACTS = (
    "workload",
    "workload_namespace",
    "canonical_service",
    "canonical_revision",
    "cluster",
    "app",
    "version",
)
"""What ``workload_facts`` holds, as labels without ``source_`` and ``destination_``.

The first five are Istio's endpoint metadata, whose readers ignore what follows.
"""

WORKLOAD_ENVIRONMENT = "ARGOSY_WORKLOAD"
"""The environment variable of a proxy that holds the facts of its workload."""

SERVICE_METADATA = ("argosy", "service")
"""Where the metadata of a cluster has host, name and namespace of its service, joined."""

MESSAGE_STATISTICS = {
    "grpc.request_message_count": "request_messages_total",
    "grpc.response_message_count": "response_messages_total",
}
"""What Envoy counts for each cluster: the ends of the statistics' names, with Istio's own."""

CLUSTER_TAG = "argosy_cluster"
"""The label of those statistics that says which cluster."""

_PREFIX = "packed"
_BETWEEN = "__"
_PARTS = ";"
_NOTHING = ("", "-")
_PROMETHEUS_PREFIX = "envoy_"
_MESSAGE_METRICS = {
    f"{_PROMETHEUS_PREFIX}cluster_{counted.replace('.', '_')}": f"{SCOPE}_{name}"
    for counted, name in MESSAGE_STATISTICS.items()
}


def workload_facts(
    workload: str,
    namespace: str,
    canonical: tuple[str, str],
    cluster: str,
    labels: Mapping[str, str],
) -> str:
    """One workload, for endpoint metadata, certificates and the environment of its proxy.

    ``canonical`` are the name and the revision of its canonical service.
    """
    app, version = labels.get("app", ""), labels.get("version", "")
    return _PARTS.join((workload, namespace, *canonical, cluster, app, version))


def packed(labels: Iterable[str]) -> str:
    """The name of the tag that holds these labels; an empty one: its value is not shown."""
    return _BETWEEN.join((_PREFIX, *labels))


def joined(values: Iterable[str]) -> str:
    """The value of a packed tag, from values or formats."""
    return _PARTS.join(values)


def metric_name(statistic: str) -> str | None:
    """Istio's name of a statistic, by Envoy's own name or by that of its Prometheus page.

    None: it is none of the standard metrics.
    """
    name = statistic.removeprefix(_PROMETHEUS_PREFIX).replace(".", "_")
    return name if name.startswith(f"{SCOPE}_") else None


def message_metric(statistic: str) -> str | None:
    """Istio's name of a statistic of Envoy's Prometheus page that counts messages; None: another."""
    return _MESSAGE_METRICS.get(statistic)


def labels(tag: str, value: str) -> Iterator[tuple[str, str]]:
    """The labels that a tag stands for, with their values; a tag that is not packed is one."""
    if not tag.startswith(_PREFIX + _BETWEEN):
        yield tag, value
        return
    values = value.split(_PARTS)
    for place, label in enumerate(tag.split(_BETWEEN)[1:]):
        if label:
            shown = _shown(label, values[place] if place < len(values) else "")
            if shown is not None:
                yield label, shown


def _shown(label: str, value: str) -> str | None:
    """What a label says, of the evidence for it; None: nothing."""
    absent = value in _NOTHING
    match label:
        case "grpc_response_status":
            return None if absent else value
        case "request_protocol":
            # The status of gRPC, or "tcp" itself.
            return "http" if absent else "tcp" if value == "tcp" else "grpc"
        case "connection_security_policy":
            # The identity that the client's certificate proves; a client itself does not know.
            return "none" if absent else UNKNOWN if value == UNKNOWN else "mutual_tls"
        case "response_flags":
            return value or "-"
        case _:
            return UNKNOWN if absent else value
