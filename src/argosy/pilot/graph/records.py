"""Formulas of records: whether proxies tell Mixer of requests, and of how many.

Listeners log for Mixer wherever there is one. What it wants to be told is a cell, which the control
plane sets, and only the runtime of the proxies depends on that.
"""

from dataclasses import dataclass
from typing import cast

from envoy.service.runtime.v3 import rtds_pb2

from argosy.derive import ABSENT, Reader, formula
from argosy.model.proxy import Role
from argosy.model.records import (
    FAILURES_KEY,
    NOTHING_WANTED,
    RUNTIME_LAYER,
    TAP_KEY,
    Wanted,
    tap_share,
)
from argosy.model.workload import Labels
from argosy.pilot.graph.cells import has_mixer
from argosy.pilot.graph.encode import Encoded, encode


@dataclass(frozen=True, slots=True)
class RecordsWanted:
    """The cell of a ``Wanted``; absent while nothing is wanted."""


@formula
def wanted(get: Reader) -> Wanted:
    found = get.cell(RecordsWanted())
    return NOTHING_WANTED if found is ABSENT else cast("Wanted", found)


@formula
def shares(get: Reader, namespace: str, labels: Labels) -> tuple[int, int] | None:
    """Of everything that a workload does, and of its failures; None: there is no Mixer."""
    if not get(has_mixer):
        return None
    found = get(wanted)
    return tap_share(found, namespace, labels), found.failures


@formula
def runtime_resource(get: Reader, role: Role) -> Encoded:
    """Never missing: Envoy waits for it when it starts."""
    found = get(shares, role.namespace, role.labels)
    proto = rtds_pb2.Runtime(name=RUNTIME_LAYER)
    proto.layer.SetInParent()
    if found is not None:
        proto.layer[TAP_KEY], proto.layer[FAILURES_KEY] = found
    return encode(RUNTIME_LAYER, proto)
