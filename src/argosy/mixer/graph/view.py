"""The graph as JSON for people: one row for each edge."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from argosy.mixer.graph.edges import OTHER, EdgeFacts, Flow, Tally, percentile
from argosy.mixer.graph.graph import KnownEdge

Json = dict[str, Any]
_PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def row(edge: KnownEdge, flow: Flow, seconds: float) -> Json:
    """``reporters`` have what each side counted; the rest is the told side's."""
    told = flow.told
    key, facts = edge.key, edge.facts
    return {
        "source": _workload(key.source_namespace, key.source, *_ends(facts)[0]),
        "destination": _workload(key.destination_namespace, key.destination, *_ends(facts)[1]),
        "service": {
            "host": key.service,
            "name": facts.service_name,
            "namespace": facts.service_namespace,
        },
        "protocol": key.protocol,
        "other": key == OTHER,
        "requests": told.requests,
        "errors": told.errors,
        "requestsPerSecond": round(told.requests / seconds, 3),
        "latency": _latency(told),
        "security": _security(flow),
        "tcp": {
            "opened": told.opened,
            "closed": told.closed,
            "sentBytes": told.sent_bytes,
            "receivedBytes": told.received_bytes,
        },
        "reporters": {
            name: _side(tally)
            for name, tally in (("source", flow.source), ("destination", flow.destination))
            if tally is not None
        },
    }


@dataclass(frozen=True, slots=True)
class Rows:
    """All edges as JSON, by name, and each row's namespaces. ``seconds`` is how long it was."""

    seconds: float
    encoded: tuple[tuple[str, str, bytes], ...]

    def about(self, namespace: str) -> bytes:
        """The list of those with one end in this namespace; the empty one is all."""
        return b"[%b]" % b",".join(
            row for source, destination, row in self.encoded
            if namespace in ("", source, destination)
        )  # fmt: skip


def rows(edges: Iterable[tuple[KnownEdge, Flow]], seconds: float) -> Rows:
    encode = msgspec.json.encode
    return Rows(
        seconds,
        tuple(
            (
                edge.key.source_namespace,
                edge.key.destination_namespace,
                encode(row(edge, flow, seconds)),
            )
            for edge, flow in edges
        ),
    )


def _ends(facts: EdgeFacts) -> tuple[tuple[str, str, str], tuple[str, str, str]]:
    return (
        (facts.source_app, facts.source_version, facts.source_principal),
        (facts.destination_app, facts.destination_version, facts.destination_principal),
    )


def _workload(namespace: str, name: str, app: str, version: str, principal: str) -> Json:
    return {
        "namespace": namespace,
        "workload": name,
        "app": app,
        "version": version,
        "principal": principal,
    }


def _latency(tally: Tally) -> Json:
    """Milliseconds."""
    found: Json = {
        name: None if (value := percentile(tally.buckets, share)) is None else round(value, 2)
        for name, share in _PERCENTILES.items()
    }
    timed = sum(tally.buckets)
    found["mean"] = round(tally.milliseconds / timed, 2) if timed else None
    return found


def _security(flow: Flow) -> Json:
    """Counts of requests; the server's proxy knows best."""
    knows = flow.destination or flow.source or Tally()
    return {"mutualTls": knows.mutual_tls, "plaintext": knows.plaintext}


def _side(tally: Tally) -> Json:
    responses = []
    for key, count in sorted(tally.responses.items()):
        code, flags, status = key.split(";")
        responses.append({"code": code, "flags": flags, "grpcStatus": status, "count": count})
    return {
        "requests": tally.requests,
        "errors": tally.errors,
        "responses": responses,
        "buckets": tally.buckets,
    }
