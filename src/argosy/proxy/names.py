"""Which addresses a service name stands for, as a Kubernetes cluster's DNS has it. Pure.

In: the mesh's services, the hosts of its ServiceEntries, and a query. Out: addresses, "no such data", "no such name", or "not ours".
https://github.com/kubernetes/dns/blob/master/docs/specification.md
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Record:
    """A service and what its name resolves to: its virtual IPs, or its endpoints when headless.

    ``hosts`` are the pods that have names of their own below it: host name and address. An
    ``alias`` has no addresses, but is another name for that host.
    """

    name: str
    namespace: str
    addresses: tuple[str, ...]
    hosts: tuple[tuple[str, str], ...] = ()
    alias: str = ""


@dataclass(frozen=True, slots=True)
class Addresses:
    """The name exists; ``addresses`` may be empty (a headless service without endpoints)."""

    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NoSuchName:
    """In the cluster's domain, and not there."""


@dataclass(frozen=True, slots=True)
class NotOurs:
    """Outside the cluster: ask the machine's resolver."""


@dataclass(frozen=True, slots=True)
class Alias:
    """Another name for ``host`` (CNAME), which is to be resolved in turn."""

    host: str


Answer = Addresses | Alias | NoSuchName | NotOurs


@dataclass(frozen=True, slots=True)
class HostRecord:
    """What a namespace's ServiceEntry says of a host, or of a wildcard of hosts.

    ``export_to`` holds the namespaces that see it, or ``*``.
    """

    host: str
    namespace: str
    addresses: tuple[str, ...]
    export_to: frozenset[str] = frozenset({"*"})


class NameTable:
    """All service names of a mesh. Immutable; one table serves every workload of a host.

    Of several ``hosts`` with one name a client's own namespace counts first, then the first.
    """

    def __init__(
        self,
        records: Iterable[Record],
        domain: str = "cluster.local",
        hosts: Iterable[HostRecord] = (),
    ) -> None:
        self.domain = domain
        by_host: dict[str, list[HostRecord]] = {}
        for host in hosts:
            by_host.setdefault(host.host.lower(), []).append(host)
        self._by_host = MappingProxyType(by_host)
        known = tuple(records)
        self._by_service: Mapping[tuple[str, str], Addresses | Alias] = MappingProxyType(
            {
                (r.name, r.namespace): Alias(r.alias) if r.alias else Addresses(r.addresses)
                for r in known
            }
        )
        self._by_pod = MappingProxyType(
            {(pod, r.name, r.namespace): Addresses((a,)) for r in known for pod, a in r.hosts}
        )

    def resolve(self, name: str, namespace: str) -> Answer:
        """What ``name`` (without a final dot, any case) means to a client in ``namespace``."""
        service = self.resolve_service(name, namespace)
        if isinstance(service, Addresses | Alias):
            return service
        return self._resolve_host(name.lower(), namespace) or service

    def _resolve_host(self, name: str, namespace: str) -> Addresses | None:
        """By its name, or by the longest wildcard above it; None: no entry has addresses for it."""
        if not self._by_host:
            return None
        labels = name.split(".")
        patterns = (name, *("*." + ".".join(labels[i:]) for i in range(1, len(labels))))
        for pattern in patterns:
            seen = [h for h in self._by_host.get(pattern, ()) if h.export_to & {"*", namespace}]
            if seen:
                own = (h for h in seen if h.namespace == namespace)
                return Addresses(next(own, seen[0]).addresses)
        return None

    def resolve_service(self, name: str, namespace: str) -> Answer:
        """As ``resolve``, but by Services alone: what a proxy resolves, which stands for the hosts.

        Services answer to ``svc``, ``svc.ns``, ``svc.ns.svc`` and ``svc.ns.svc.<domain>``: a
        container in Kubernetes reaches the short ones by its search list, which applications on
        a plain machine do not have. A pod with a host name of its own answers below the headless
        service that it names as its subdomain: ``pod.svc``, ``pod.svc.ns`` and so on.
        """
        name = name.lower()
        labels = name.split(".")
        if name == self.domain or name.endswith("." + self.domain):
            labels = labels[: -len(self.domain.split("."))]
            found: Addresses | Alias | None
            match labels:
                case [service, service_namespace, "svc"]:
                    found = self._by_service.get((service, service_namespace))
                case [pod, service, service_namespace, "svc"]:
                    found = self._by_pod.get((pod, service, service_namespace))
                case _:
                    found = None
            return found or NoSuchName()
        match labels:
            case [service]:
                found = self._by_service.get((service, namespace))
            case [service, service_namespace]:
                found = self._by_service.get((service, service_namespace))
                if found is None:
                    found = self._by_pod.get((service, service_namespace, namespace))
            case [service, service_namespace, "svc"]:
                found = self._by_service.get((service, service_namespace))
            case [pod, service, service_namespace] | [pod, service, service_namespace, "svc"]:
                found = self._by_pod.get((pod, service, service_namespace))
            case _:
                found = None
        return found or NotOurs()
