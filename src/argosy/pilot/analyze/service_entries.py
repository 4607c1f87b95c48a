"""ServiceEntries that contradict each other."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from argosy.api.networking_service_entry import ServiceEntry
from argosy.base.names import Hostname, ObjectKey
from argosy.base.problems import Problem, Severity
from argosy.derive import Reader, formula
from argosy.pilot.compile.service_entries import hosts
from argosy.pilot.compile.services import export_to
from argosy.pilot.graph.world import keys, mesh_settings, read

_EVERYWHERE = "*"


@dataclass(frozen=True, slots=True)
class Declared:
    """One port of one host, as an entry has it. ``reach``: namespaces, or ``*``."""

    entry: ObjectKey
    index: int
    protocol: str
    reach: frozenset[str]


_Port = tuple[Hostname, int]


@formula
def declared(get: Reader, key: ObjectKey) -> tuple[tuple[_Port, Declared], ...]:
    entry = read(get, key, ServiceEntry)
    if entry is None:
        return ()
    default = get(mesh_settings).service_export_to
    reach = export_to(entry.spec.export_to or default, key.namespace)
    return tuple(
        ((host, port.number), Declared(key, index, port.protocol.upper() or "TCP", reach))
        for host in hosts(entry)
        for index, port in enumerate(entry.spec.ports)
    )


@formula
def declared_by_port(get: Reader) -> Mapping[_Port, tuple[Declared, ...]]:
    found: dict[_Port, list[Declared]] = {}
    for key in keys(get, "ServiceEntry"):
        for port, one in get(declared, key):
            found.setdefault(port, []).append(one)
    return MappingProxyType({port: tuple(some) for port, some in found.items()})


@formula
def conflicting_protocols(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    """The same host and port with another protocol, of an entry that the same clients see."""
    found = []
    by_port = get(declared_by_port)
    for (host, number), own in get(declared, key):
        rivals = [
            other
            for other in by_port.get((host, number), ())
            if other.entry != key
            and other.protocol != own.protocol
            and (_EVERYWHERE in own.reach | other.reach or own.reach & other.reach)
        ]
        if rivals:
            names = ", ".join(sorted({str(rival.entry) for rival in rivals}))
            protocols = ", ".join(sorted({own.protocol, *(rival.protocol for rival in rivals)}))
            found.append(
                Problem(
                    key,
                    f"spec.ports[{own.index}].protocol",
                    "ConflictingServiceEntryProtocol",
                    f"{names} has {host} port {number} too, with another protocol ({protocols})",
                    "use one protocol, or one ServiceEntry",
                    Severity.WARNING,
                )
            )
    return tuple(found)
