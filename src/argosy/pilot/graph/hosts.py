"""Sets of hosts, some of them wildcards."""

from collections.abc import Iterable
from dataclasses import dataclass

from argosy.base.names import Hostname
from argosy.pilot.compile.hostnames import covers, is_wildcard


@dataclass(frozen=True, slots=True)
class HostSet:
    """Hosts by name and by wildcard."""

    exact: frozenset[Hostname]
    wildcards: tuple[Hostname, ...]

    def __bool__(self) -> bool:
        return bool(self.exact or self.wildcards)

    def __contains__(self, host: Hostname) -> bool:
        return host in self.exact or any(covers(wildcard, host) for wildcard in self.wildcards)

    def __or__(self, other: "HostSet") -> "HostSet":
        if not (self and other):
            return self or other
        return host_set({*self.exact, *other.exact, *self.wildcards, *other.wildcards})


def host_set(hosts: Iterable[Hostname]) -> HostSet:
    found = frozenset(hosts)
    return HostSet(found, tuple(sorted(filter(is_wildcard, found))))


EVERY_HOST = host_set((Hostname("*"),))
