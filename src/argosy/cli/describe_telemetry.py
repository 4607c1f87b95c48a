"""A Telemetry described: whom it concerns, and what these proxies report. Pure."""

from typing import assert_never

from argosy.api.policy_target import PolicyTargetReference
from argosy.base.names import Namespace
from argosy.cli.client import Json, namespace_of
from argosy.cli.description import NONE, Description, Table, pairs, path_of, spec_of
from argosy.cli.snapshot import Snapshot, label_pairs
from argosy.model.telemetry import (
    AccessLog,
    FileSink,
    HttpGrpcSink,
    Mode,
    OtelSink,
    TcpGrpcSink,
    Telemetry,
)
from argosy.pilot.compile.policy_targets import scope_of, selects


def telemetry(item: Json, snapshot: Snapshot) -> Description:
    spec, namespace = spec_of(item), Namespace(namespace_of(item))
    labels = (spec.get("selector") or {}).get("matchLabels") or {}
    written = [*spec.get("targetRefs", ()), *filter(None, (spec.get("targetRef"),))]
    targets = [f"{one['kind']} {one['name']}" for one in written]
    everywhere = namespace == snapshot.root_namespace and not labels and not targets
    scope = scope_of(
        labels,
        [
            PolicyTargetReference(group=one.get("group", ""), kind=one["kind"], name=one["name"])
            for one in written
        ],
    )
    pods = [
        pod
        for pod in snapshot.all("Pod")
        if everywhere
        or (
            namespace_of(pod) == namespace
            and selects(scope, namespace, namespace, label_pairs(_labels(pod)))
        )
    ]
    if targets:
        whom = f"{', '.join(targets)} in {namespace}"
    elif labels:
        whom = f"workloads with {pairs(labels)} in {namespace}"
    else:
        whom = "the whole mesh" if everywhere else f"namespace {namespace}"
    return Description(
        facts=(("Concerns", whom),),
        tables=(
            Table(
                "Workloads",
                ("POD", "SIDE", "ACCESS LOGS", "SPANS", "METRICS"),
                tuple(row for pod in pods for row in _rows(pod, snapshot)),
                empty="none at present",
            ),
        ),
    )


def objects(namespace: str, labels: dict[str, str], snapshot: Snapshot) -> str:
    """The Telemetry objects that hold for a workload, in their order."""
    found = snapshot.telemetries(namespace, labels)
    return ", ".join(f"{key.namespace}/{key.name}" for key in found)


def _rows(pod: Json, snapshot: Snapshot) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for mode in Mode:
        found = snapshot.telemetry(namespace_of(pod), _labels(pod), mode)
        name = path_of(pod) if mode is Mode.CLIENT else ""
        rows.append((name, mode.value.lower(), _logs(found), _spans(found), _metrics(found)))
    return rows


def _labels(pod: Json) -> dict[str, str]:
    labels: dict[str, str] = pod["metadata"].get("labels") or {}
    return labels


def _logs(found: Telemetry) -> str:
    return "\n".join(_log(log) for log in found.access_logs) or NONE


def _log(log: AccessLog) -> str:
    match log.sink:
        case FileSink(path):
            where = path
        case HttpGrpcSink(cluster) | TcpGrpcSink(cluster) | OtelSink(cluster):
            where = f"{cluster.host}:{cluster.port}"
        case _:
            assert_never(log.sink)
    return f"{where} if {log.expression}" if log.expression else where


def _spans(found: Telemetry) -> str:
    tracing = found.tracing
    if tracing is None or tracing.disable_span_reporting:
        return NONE
    share = tracing.random_sampling_percentage
    return "yes" if share is None else f"{share:g} %"


def _metrics(found: Telemetry) -> str:
    if found.metrics is None:
        return NONE
    changed = len(found.metrics.overrides)
    return f"{changed} changed" if changed else "yes"
