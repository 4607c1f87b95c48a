"""Addresses that the mesh gives to the hosts of ServiceEntries, done when an entry is stored.

They let workloads dial a host by an address that means nothing else, so that opaque bytes to
several hosts on one port can be told apart. An address is found by a hash of the entry's name and
the host, and kept in the entry's status as long as the host is there.
https://istio.io/latest/docs/ops/configuration/traffic-management/dns-proxy/#address-auto-allocation
"""

from hashlib import blake2b
from ipaddress import IPv4Network

from msgspec import structs

from argosy.api.networking_service_entry import (
    ServiceEntry,
    ServiceEntryAddress,
    ServiceEntryStatus,
)
from argosy.base.problems import Problem
from argosy.store.store import View
from argosy.store.transaction import InvalidError

ENTRY_RANGE = IPv4Network("240.240.0.0/16")
"""Istio's: reserved by RFC 1112, so that nobody else has addresses there."""

LABEL = "networking.istio.io/enable-autoallocate-ip"
_FIRST, _LAST = 1, ENTRY_RANGE.num_addresses - 2


def with_addresses(new: ServiceEntry, view: View) -> ServiceEntry:
    """The entry with an address for each host that may have one. Raises ``InvalidError``."""
    wanted = hosts(new)
    held = {a.host: a for a in new.status.addresses} if new.status is not None else {}
    if not wanted and not held:
        return new
    found: dict[str, ServiceEntryAddress] = {}
    taken: set[str] = set()
    for host in wanted:
        kept = held.get(host)
        value = kept.value if kept is not None else _allocate(new, host, view, taken)
        taken.add(value)
        found[host] = ServiceEntryAddress(value=value, host=host)
    before = new.status or ServiceEntryStatus()
    return structs.replace(new, status=structs.replace(before, addresses=tuple(found.values())))


def hosts(entry: ServiceEntry) -> tuple[str, ...]:
    """Those of an entry without addresses that resolves its hosts itself; wildcards have none.

    With resolution NONE the address that the client dialled is where it goes, so it must be a
    real one; with DYNAMIC_DNS the host that the request names is resolved.
    """
    spec = entry.spec
    if entry.metadata.labels.get(LABEL, "").lower() == "false":
        return ()
    if spec.addresses or spec.resolution in ("NONE", "DYNAMIC_DNS"):
        return ()
    return tuple(dict.fromkeys(h.lower() for h in spec.hosts if not h.startswith("*")))


def claims(entry: ServiceEntry) -> tuple[str, ...]:
    """The addresses that no other entry may have."""
    found = entry.status.addresses if entry.status is not None else ()
    return tuple(_claim(address.value) for address in found)


def _allocate(entry: ServiceEntry, host: str, view: View, taken: set[str]) -> str:
    """The address at the hash of the name, or the next free one."""
    name = f"{entry.metadata.namespace}/{entry.metadata.name}/{host}".encode()
    size = _LAST - _FIRST + 1
    start = int.from_bytes(blake2b(name, digest_size=8).digest()) % size
    for step in range(size):
        address = str(ENTRY_RANGE[_FIRST + (start + step) % size])
        if address not in taken and view.holder(_claim(address)) is None:
            return address
    problem = Problem(entry.key, "spec.hosts", "RangeFull", f"the range {ENTRY_RANGE} is full", "")
    raise InvalidError(entry.key, (problem,))


def _claim(address: str) -> str:
    return f"entryIP/{address}"
