"""TCP routes: where opaque connections go by rule, instead of to the service that was dialled."""

from dataclasses import dataclass

from argosy.base.names import ObjectKey
from argosy.model.route import WeightedDestination
from argosy.model.workload import Labels


@dataclass(frozen=True, slots=True)
class TcpMatch:
    """All conditions must hold. Empty ``gateways`` means every gateway of the VirtualService."""

    port: int | None = None
    gateways: frozenset[str] = frozenset()
    source_labels: Labels = ()
    source_namespace: str = ""


@dataclass(frozen=True, slots=True)
class TcpRule:
    """One ``tcp`` item: if one of ``matches`` holds, connections are spread by weight.

    ``field`` is where it stands in ``virtual_service``: ``spec.tcp[0]``. At least one destination.
    """

    virtual_service: ObjectKey
    field: str
    matches: tuple[TcpMatch, ...]
    destinations: tuple[WeightedDestination, ...]
