"""TCP and TLS routes: where opaque connections go by rule, not to the service that was dialled."""

from dataclasses import dataclass

from argosy.base.names import Hostname, ObjectKey
from argosy.model.listener import TcpTarget
from argosy.model.route import WeightedDestination
from argosy.model.workload import Labels


@dataclass(frozen=True, slots=True)
class TcpMatch:
    """All conditions must hold. Empty ``gateways`` means every gateway of the VirtualService.

    ``server_names`` (empty: whatever it asks for, or no TLS) and ``subnets`` (CIDR notation, empty:
    any destination) are about the connection; all else is about the client and the listener.
    """

    port: int | None = None
    gateways: frozenset[str] = frozenset()
    source_labels: Labels = ()
    source_namespace: str = ""
    server_names: tuple[Hostname, ...] = ()
    subnets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TcpRule:
    """One ``tcp`` or ``tls`` item: if one of ``matches`` holds, connections are spread by weight.

    ``field`` is where it stands in ``virtual_service``: ``spec.tcp[0]``. At least one destination.
    """

    virtual_service: ObjectKey
    field: str
    matches: tuple[TcpMatch, ...]
    destinations: tuple[WeightedDestination, ...]


@dataclass(frozen=True, slots=True)
class TcpRoute:
    """A rule for one listener: its conditions on client and port are decided.

    No server name and subnet is in two routes of a listener. Without either it takes the rest.
    """

    server_names: tuple[str, ...]
    subnets: tuple[str, ...]
    targets: tuple[TcpTarget, ...]

    @property
    def takes_all(self) -> bool:
        return not self.server_names and not self.subnets
