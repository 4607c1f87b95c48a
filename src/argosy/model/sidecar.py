"""What a Sidecar says: which part of the mesh a proxy sees, and how its workload is called."""

from dataclasses import dataclass

from argosy.base.names import Hostname, Namespace, ObjectKey
from argosy.model.application import OWN_ADDRESS, ApplicationEndpoint
from argosy.model.listener import OutboundTrafficPolicy
from argosy.model.proxy import ClusterKey
from argosy.model.service import Protocol
from argosy.model.traffic import ConnectionPool, TerminatedTls

EVERY_NAMESPACE = "*"
OWN_NAMESPACE = "."


@dataclass(frozen=True, slots=True)
class Import:
    """Services and rules of ``namespace`` for ``host``, which may be a wildcard.

    ``namespace`` is ``*`` for all, or ``.``: the proxy's own, whatever that is.
    """

    namespace: str
    host: Hostname


@dataclass(frozen=True, slots=True)
class EgressListener:
    """``port`` None: every port that no other listener has; 0 where ``bind`` is a UNIX socket.

    ``protocol`` None: an HTTP proxy, which clients give absolute URLs. ``bound``: the proxy opens
    a socket, nothing is captured. ``bind`` empty: as it follows from the rest.
    """

    imports: tuple[Import, ...]
    port: int | None = None
    protocol: Protocol | None = Protocol.AUTO
    bind: str = ""
    bound: bool = False

    @property
    def all_ports(self) -> bool:
        """Whether it serves services whatever their port numbers are."""
        return not self.port or self.protocol is None


@dataclass(frozen=True, slots=True)
class Egress:
    """The client's side of a Sidecar. ``outbound`` None: as the mesh has it.

    ``listeners`` are never empty. ``egress_proxy``: where unknown traffic goes, if not to where
    the client meant it.
    """

    listeners: tuple[EgressListener, ...]
    outbound: OutboundTrafficPolicy | None = None
    egress_proxy: ClusterKey | None = None


# The workload's side.


@dataclass(frozen=True, slots=True)
class IngressListener:
    """``bind``: the address of a socket that the proxy has besides; empty: none.

    ``name`` is what statistics may call the port by.
    """

    port: int
    protocol: Protocol
    name: str = ""
    endpoint: ApplicationEndpoint = OWN_ADDRESS
    bind: str = ""
    tls: TerminatedTls | None = None
    pool: ConnectionPool | None = None


@dataclass(frozen=True, slots=True)
class Ingress:
    """The workload's side of a Sidecar. ``listeners`` empty: they follow from the services."""

    owner: ObjectKey
    listeners: tuple[IngressListener, ...] = ()
    pool: ConnectionPool | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which workloads a Sidecar is for: those of its namespace with ``labels`` (none: all)."""

    key: ObjectKey
    labels: frozenset[tuple[str, str]]
    created: str

    def selects(self, namespace: Namespace, labels: frozenset[tuple[str, str]]) -> bool:
        return self.key.namespace == namespace and self.labels <= labels
