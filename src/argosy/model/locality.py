"""Where clients stand, and how that decides which endpoints they are sent to.

https://istio.io/latest/docs/reference/config/networking/destination-rule/#LocalityLoadBalancerSetting
"""

from dataclasses import dataclass

from argosy.model.workload import NO_LOCALITY, Endpoint, Labels, Locality

Pattern = tuple[str, str, str]
"""Region, zone and subzone; ``*`` and the empty text are any."""

PriorityLabels = tuple[tuple[str, str | None], ...]
"""Labels that endpoints share with the client, the most important first.

The value is the client's own when it is None.
"""


@dataclass(frozen=True, slots=True)
class Place:
    """What decides a client's endpoints: its locality, and those labels that priorities name."""

    locality: Locality = NO_LOCALITY
    labels: Labels = ()


ANYWHERE = Place()
"""Where nothing in the mesh asks where a client stands."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """How requests of clients in ``source`` are spread: pairs of locality and percent, as written."""

    source: Pattern
    shares: tuple[tuple[Pattern, int], ...]


@dataclass(frozen=True, slots=True)
class LocalityPolicy:
    """What a rule says of localities. ``failover`` are pairs of regions: from, to."""

    enabled: bool = True
    distribute: tuple[Distribution, ...] = ()
    failover: tuple[tuple[str, str], ...] = ()
    priorities: PriorityLabels = ()


@dataclass(frozen=True, slots=True)
class ZonePolicy:
    """Envoy itself prefers its own zone within the region, as far as zones are equally strong.

    ``minimum_size``: with fewer endpoints it does not; None: Envoy's 6. ``failover`` and
    ``priorities`` order the other regions, as in ``LocalityPolicy``.
    https://istio.io/latest/docs/reference/config/networking/destination-rule/#ZoneAwareLoadBalancerSetting
    """

    enabled: bool = True
    minimum_size: int | None = None
    failover: tuple[tuple[str, str], ...] = ()
    priorities: PriorityLabels = ()


# The policy as it is for one client.


@dataclass(frozen=True, slots=True)
class Shares:
    """By locality and percent; what no pattern covers gets nothing."""

    shares: tuple[tuple[Pattern, int], ...]


@dataclass(frozen=True, slots=True)
class Nearness:
    """The nearest first; others only when those before are not healthy enough.

    ``labels`` are what an endpoint should have, the most important first. ``locality`` None: it
    does not count. ``region``: of other regions this one comes first. ``whole_region``: all of the
    client's own region is equally near, whatever the labels.
    """

    locality: Locality | None = None
    region: str = ""
    labels: Labels = ()
    whole_region: bool = False


Placement = Shares | Nearness


@dataclass(frozen=True, slots=True)
class LocalityGroup:
    """Endpoints of one locality and priority (0 is the first). ``weight`` is among its priority."""

    locality: Locality
    endpoints: tuple[Endpoint, ...]
    weight: int
    priority: int = 0
