"""Istio's metrics of gRPC messages, of what Envoy counts for each cluster. Sans-io.

Envoy counts messages as they pass, without saying who sent or answered them. So the labels are what
holds for all messages of a cluster: whose proxy it is, which side it is on, and the service of the
cluster, which the proxy's own configuration tells. All others are ``unknown``.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import msgspec

from argosy.model.standard_metrics import (
    SERVICE_METADATA,
    UNKNOWN,
    WORKLOAD_FACTS,
    joined,
    labels,
    packed,
)
from argosy.pilot.translate.names import INBOUND_PASSTHROUGH_CLUSTER

CLUSTERS_PATH = (
    "/config_dump?resource=dynamic_active_clusters"
    "&mask=cluster.name,cluster.alt_stat_name,cluster.metadata"
)
"""Where Envoy's admin interface tells what ``services`` reads."""

_INBOUND = "inbound|"
_SERVICE = packed(
    ("destination_service", "destination_service_name", "destination_service_namespace")
)


@dataclass(frozen=True, slots=True)
class MessageCount:
    """One statistic: ``metric`` is Istio's name, ``cluster`` what statistics call the cluster."""

    metric: str
    cluster: str
    value: int


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """``service`` is host, name and namespace, joined."""

    inbound: bool
    service: str


class MalformedDumpError(Exception):
    """It is no dump of clusters."""


class _Metadata(msgspec.Struct):
    filter_metadata: dict[str, dict[str, object]] = {}


class _Cluster(msgspec.Struct):
    name: str = ""
    alt_stat_name: str = ""
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)


class _Entry(msgspec.Struct):
    cluster: _Cluster = msgspec.field(default_factory=_Cluster)


class _Dump(msgspec.Struct):
    configs: list[_Entry] = []


_DUMP: msgspec.json.Decoder[_Dump] = msgspec.json.Decoder(_Dump)


def clusters(dump: bytes) -> dict[str, ClusterFacts]:
    """The clusters by what statistics call them. Raises MalformedDumpError.

    Those that share a name in statistics, and nothing else, are not there: nobody can say whose
    messages were counted.
    """
    try:
        configs = _DUMP.decode(dump).configs
    except msgspec.DecodeError as error:
        raise MalformedDumpError(str(error)) from error
    found: dict[str, set[ClusterFacts]] = {}
    for cluster in (entry.cluster for entry in configs):
        # https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/cluster.proto
        name = (cluster.alt_stat_name or cluster.name).replace(":", "_")
        found.setdefault(name, set()).add(_facts(cluster))
    return {name: facts.pop() for name, facts in found.items() if len(facts) == 1}


def _facts(cluster: _Cluster) -> ClusterFacts:
    namespace, key = SERVICE_METADATA
    service = cluster.metadata.filter_metadata.get(namespace, {}).get(key)
    inbound = cluster.name.startswith(_INBOUND) or cluster.name == INBOUND_PASSTHROUGH_CLUSTER
    return ClusterFacts(inbound, service if isinstance(service, str) else "")


def lines(
    counts: Iterable[MessageCount], known: Mapping[str, ClusterFacts], own: str
) -> Iterator[str]:
    """Both metrics for a scraper; ``own`` are the facts of the proxy's workload, joined."""
    sums: dict[str, dict[str, int]] = {}
    for count in counts:
        if facts := known.get(count.cluster):
            series = sums.setdefault(count.metric, {})
            shown = _labels(facts, own)
            series[shown] = series.get(shown, 0) + count.value
    for metric, series in sums.items():
        yield f"# TYPE {metric} counter\n"
        yield from (f"{metric}{{{shown}}} {value}\n" for shown, value in series.items())


def _labels(facts: ClusterFacts, own: str) -> str:
    nobody = joined("" for _ in WORKLOAD_FACTS)
    source, destination = (nobody, own) if facts.inbound else (own, nobody)
    pairs = (
        ("reporter", "destination" if facts.inbound else "source"),
        *labels(_workload("source"), source),
        *labels(_workload("destination"), destination),
        *labels(_SERVICE, facts.service),
        ("source_principal", UNKNOWN),
        ("destination_principal", UNKNOWN),
        ("connection_security_policy", UNKNOWN),
        ("request_protocol", "grpc"),
    )
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs)


def _workload(side: str) -> str:
    return packed(f"{side}_{fact}" for fact in WORKLOAD_FACTS)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
