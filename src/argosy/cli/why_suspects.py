"""Objects as suspects: what ``argosy why`` names, and how it looks into them. Pure."""

import re
from dataclasses import dataclass
from typing import Any

from argosy.cli.client import Json, is_ready, name_of, namespace_of
from argosy.cli.snapshot import Snapshot
from argosy.model.service import Service


@dataclass(frozen=True, slots=True)
class Suspect:
    """An object, the part of it that matters, and what there is to say of it."""

    kind: str
    namespace: str
    name: str
    field: str = ""
    note: str = ""


def item_of(snapshot: Snapshot, kind: str, path: str) -> Json | None:
    """``path`` is ``namespace/name``, or only a name for what is in no namespace."""
    namespace, _, name = path.rpartition("/")
    return snapshot.item(kind, namespace, name)


def value_at(item: Json, field: str) -> Json:
    """What stands in a field such as ``spec.subsets[0].trafficPolicy``; nothing: empty."""
    found: Any = item
    for name, index in re.findall(r"(\w+)(?:\[(\d+)\])?", field):
        found = (found or {}).get(name)
        found = found[int(index)] if found and index else found
    return found or {}


def named(item: Json, field: str, note: str = "") -> Suspect:
    return Suspect(item["kind"], namespace_of(item), name_of(item), field, note)


def selects(pod: Json, namespace: str, selector: dict[str, str]) -> bool:
    if not selector or namespace_of(pod) != namespace:
        return False
    return selector.items() <= (pod["metadata"].get("labels") or {}).items()


def port_index(snapshot: Snapshot, namespace: str, name: str, number: int) -> int:
    item = item_of(snapshot, "Service", f"{namespace}/{name}")
    ports = item["spec"].get("ports") or () if item else ()
    return next((i for i, port in enumerate(ports) if port.get("port") == number), 0)


def readiness(service: Service, snapshot: Snapshot) -> str:
    selector = dict(service.selector)
    pods = [pod for pod in snapshot.all("Pod") if selects(pod, service.namespace, selector)]
    return f"{sum(map(is_ready, pods))} of {len(pods)} pods that it selects are ready"
