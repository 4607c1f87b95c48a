"""Workloads: what answers. Endpoints: where a service's workloads answer."""

from dataclasses import dataclass
from enum import Enum

from argosy.base.names import Namespace

Labels = tuple[tuple[str, str], ...]
"""Label pairs, sorted by key."""


@dataclass(frozen=True, slots=True, order=True)
class Locality:
    region: str = ""
    zone: str = ""
    subzone: str = ""


NO_LOCALITY = Locality()


class Health(Enum):
    """HEALTHY takes traffic; DRAINING takes none that is new; UNHEALTHY none."""

    HEALTHY = "Healthy"
    DRAINING = "Draining"
    UNHEALTHY = "Unhealthy"


@dataclass(frozen=True, slots=True)
class Workload:
    """One replica: a pod, later also a WorkloadEntry.

    ``container_ports`` maps port names to numbers. ``meshed`` says that a sidecar accepts mesh
    mTLS for it (label ``security.istio.io/tlsMode: istio``). ``proxyless``: there is no sidecar,
    and gRPC in the workload does it itself.
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


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one replica of a service answers on one port.

    ``identity`` is the SPIFFE id that its certificate carries. ``mtls`` says that a client's
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
