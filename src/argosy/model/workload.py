"""Workloads: what answers. Endpoints: where a service's workloads answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from argosy.base.names import Namespace

Labels = tuple[tuple[str, str], ...]
"""Label pairs, sorted by key."""


def sorted_labels(labels: Mapping[str, str]) -> Labels:
    """Replicas, and whatever else has equal labels, get the very same value: they are many."""
    return _kept(tuple(sorted(labels.items())))


@lru_cache(maxsize=4096)
def _kept(labels: Labels) -> Labels:
    return labels


@dataclass(frozen=True, slots=True, order=True)
class Locality:
    region: str = ""
    zone: str = ""
    subzone: str = ""


NO_LOCALITY = Locality()


@lru_cache(maxsize=256)
def known_locality(region: str, zone: str, subzone: str) -> Locality:
    """One value for all that are in one place."""
    return Locality(region, zone, subzone)


class Health(Enum):
    """HEALTHY takes traffic; DRAINING takes none that is new; UNHEALTHY none."""

    HEALTHY = "Healthy"
    DRAINING = "Draining"
    UNHEALTHY = "Unhealthy"


@dataclass(frozen=True, slots=True)
class Workload:
    """One replica: a pod, or a WorkloadEntry.

    ``container_ports`` maps port names to numbers. ``entry_ports`` are those of a WorkloadEntry,
    by the names of the ports of services; None: it is a pod. ``meshed`` says that a sidecar accepts
    mesh mTLS for it (label ``security.istio.io/tlsMode: istio``). ``address`` is an IP address;
    of a WorkloadEntry also a host name, or ``unix://`` and a path. ``service_account`` empty: it
    is not known who it runs as. ``proxyless``: there is no
    sidecar, and gRPC in the workload does it itself.
    """

    name: str
    namespace: Namespace
    address: str
    labels: Labels
    service_account: str
    container_ports: tuple[tuple[str, int], ...]
    health: Health
    meshed: bool
    proxyless: bool = False
    locality: Locality = Locality()
    weight: int = 1
    entry_ports: tuple[tuple[str, int], ...] | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one replica of a service answers on one port.

    ``address`` as of ``Workload``. ``identity`` is the SPIFFE id that its certificate carries, empty
    when that is not known. ``mtls`` says that a client's
    automatic mTLS applies: the workload is meshed and its PeerAuthentication does not disable it.
    ``strict``: it takes nothing else.
    """

    address: str
    port: int
    labels: Labels
    identity: str
    mtls: bool
    health: Health
    locality: Locality = Locality()
    weight: int = 1
    workload: str = ""
    strict: bool = False
