"""Who asks for configuration, reduced to what decides it."""

from dataclasses import dataclass
from enum import Enum

from argosy.base.names import Namespace, ObjectKey
from argosy.model.workload import Labels

ISTIO_VERSION = "1.31.0"
"""The Istio release whose API the mesh speaks: what its proxies say their version is."""


class ProxyType(Enum):
    """``sidecar`` or ``router`` (a gateway): the first part of Istio's node id.

    ``grpc``: no proxy, but a gRPC library that is configured itself. Its node id says
    ``sidecar`` too, and its metadata ``GENERATOR: grpc``.
    """

    SIDECAR = "sidecar"
    ROUTER = "router"
    GRPC = "grpc"


@dataclass(frozen=True, slots=True)
class Role:
    """What is equal for all replicas of one workload: they get equal configuration.

    ``ports`` are the container ports that have names, sorted by name.
    """

    type: ProxyType
    namespace: Namespace
    labels: Labels
    service_account: str
    ports: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Sight:
    """What decides which services and which rules of others a proxy sees.

    ``sidecar`` is the Sidecar object that rules its egress; None: all that is exported to its
    namespace.
    """

    namespace: Namespace
    sidecar: ObjectKey | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """What decides the outbound configuration of a proxy: proxies of equal scope share it.

    ``classes`` are the workload selectors, among those that outbound rules use (VirtualService
    ``sourceLabels``, DestinationRule ``workloadSelector``), which the proxy's labels satisfy;
    sorted. In a mesh without such rules it is empty, so a namespace is one scope. ``sidecar`` is
    the Sidecar object that rules the proxy's egress, if one does.
    """

    type: ProxyType
    namespace: Namespace
    classes: tuple[Labels, ...] = ()
    sidecar: ObjectKey | None = None

    @property
    def sight(self) -> Sight:
        return Sight(self.namespace, self.sidecar)


@dataclass(frozen=True, slots=True, order=True)
class ClusterKey:
    """Which outbound cluster: Istio's ``outbound|<port>|<subset>|<host>``."""

    port: int
    subset: str
    host: str
