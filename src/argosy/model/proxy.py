"""Who asks for configuration, reduced to what decides it."""

from dataclasses import dataclass, replace
from enum import Enum

from argosy.base.hashing import HashedOnce, hashed_once
from argosy.base.names import Namespace, ObjectKey
from argosy.model.locality import ANYWHERE, Place
from argosy.model.proxy_traffic import (
    USUAL_CAPTURE,
    USUAL_TRAFFIC,
    CapturePorts,
    ProxyTraffic,
)
from argosy.model.workload import NO_LOCALITY, Labels, Locality

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


@hashed_once
@dataclass(frozen=True, slots=True)
class Role(HashedOnce):
    """What is equal for all replicas of one workload: they get equal configuration.

    ``ports`` are the container ports that have names, sorted by name. ``locality`` comes from the
    workload's template too, and ``config``, its annotation ``proxy.istio.io/config`` as written.
    ``entry_ports`` are those of the WorkloadEntry of a machine that registered itself; None: it is
    a pod. ``capture`` are the ports that held when the pod was made.
    """

    type: ProxyType
    namespace: Namespace
    labels: Labels
    service_account: str
    ports: tuple[tuple[str, int], ...] = ()
    locality: Locality = NO_LOCALITY
    config: str = ""
    entry_ports: tuple[tuple[str, int], ...] | None = None
    capture: CapturePorts = USUAL_CAPTURE


@dataclass(frozen=True, slots=True)
class Sight:
    """What decides which services and which rules of others a proxy sees.

    ``sidecar`` is the Sidecar object that rules its egress; None: all that is exported to its
    namespace.
    """

    namespace: Namespace
    sidecar: ObjectKey | None = None


@hashed_once
@dataclass(frozen=True, slots=True)
class Scope(HashedOnce):
    """What decides the outbound configuration of a proxy: proxies of equal scope share it.

    ``classes`` are the workload selectors, among those that outbound rules use (VirtualService
    ``sourceLabels``, DestinationRule ``workloadSelector``), which the proxy's labels satisfy;
    sorted. In a mesh without such rules it is empty, so a namespace is one scope. ``sidecar`` is
    the Sidecar object that rules the proxy's egress, if one does. ``place`` is where the proxy
    stands, if any rule asks for it; only endpoints depend on it. ``proxy`` is what the proxy's
    own configuration says of listeners and routes. ``telemetry`` are the Telemetry objects that
    select the proxy, and ``limits`` the RateLimits by which it counts what its workload sends; only
    listeners depend on them.
    """

    type: ProxyType
    namespace: Namespace
    classes: tuple[Labels, ...] = ()
    sidecar: ObjectKey | None = None
    place: Place = ANYWHERE
    proxy: ProxyTraffic = USUAL_TRAFFIC
    telemetry: tuple[ObjectKey, ...] = ()
    limits: tuple[ObjectKey, ...] = ()

    @property
    def sight(self) -> Sight:
        return Sight(self.namespace, self.sidecar)

    @property
    def anywhere(self) -> "Scope":
        """The same, wherever the proxy stands."""
        return self if self.place == ANYWHERE else replace(self, place=ANYWHERE)

    @property
    def routing(self) -> "Scope":
        """As much of it as routes and clusters depend on."""
        if not (self.telemetry or self.limits):
            return self.anywhere
        return replace(self.anywhere, telemetry=(), limits=())


@dataclass(frozen=True, slots=True, order=True)
class ClusterKey:
    """Which outbound cluster: Istio's ``outbound|<port>|<subset>|<host>``."""

    port: int
    subset: str
    host: str
