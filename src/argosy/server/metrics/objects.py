"""What is stored, and what changes: counted as it happens, so that a scrape looks at no object."""

from collections import Counter
from collections.abc import Sequence

from argosy.api.meta import Object
from argosy.api.networking_service_entry import ServiceEntry
from argosy.store.transaction import Event

REGISTRY_KINDS = {
    "Service": "Services",
    "Endpoints": "Endpoints",
    "EndpointSlice": "EndpointSlice",
    "Pod": "Pods",
    "Namespace": "Namespaces",
}
"""Kinds that say which services and endpoints there are, by Istio's words for them."""

_ENDPOINTS = frozenset({"Endpoints", "EndpointSlice", "Pod", "WorkloadEntry"})
_SERVICES = frozenset({"Service", "ServiceEntry"})


def reason(kind: str) -> str:
    """Why proxies hear of a change of such an object, in the words of ``pilot_push_triggers``."""
    if kind in _ENDPOINTS:
        return "endpoint"
    if kind in _SERVICES:
        return "service"
    return {"Secret": "secret", "Namespace": "namespace"}.get(kind, "config")


class ObjectCounts:
    """``events`` by kind and add, update or delete; ``updates`` by Istio's words for what they are."""

    def __init__(self) -> None:
        self.objects: Counter[str] = Counter()
        self.services = 0
        self.events: Counter[tuple[str, str]] = Counter()
        self.updates: Counter[str] = Counter()

    def receive(self, events: Sequence[Event], _revision: int) -> None:
        """A subscriber of the store."""
        for event in events:
            kind = event.key.kind
            self.objects[kind] += (event.current is not None) - (event.previous is not None)
            self.services += _services(event.current) - _services(event.previous)
            self.events[kind, _action(event)] += 1
            self.updates[_update(event)] += 1


def _action(event: Event) -> str:
    if event.current is None:
        return "delete"
    return "add" if event.previous is None else "update"


def _update(event: Event) -> str:
    """``pilot_inbound_updates``' words."""
    found = reason(event.key.kind)
    if found == "endpoint":
        return "eds"
    if found == "service":
        return "svcdelete" if event.current is None else "svc"
    return "config"


def _services(obj: Object | None) -> int:
    if obj is None or obj.key.kind not in _SERVICES:
        return 0
    return len(obj.spec.hosts) if isinstance(obj, ServiceEntry) else 1
