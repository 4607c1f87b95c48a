"""Localities: of pods; and the api's settings → policy → what it means for one client → groups of endpoints.

Rules of Istio:
https://istio.io/latest/docs/reference/config/networking/destination-rule/#LocalityLoadBalancerSetting
https://istio.io/latest/docs/tasks/traffic-management/locality-load-balancing/
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import groupby

from argosy.api import core_pod
from argosy.api import networking_destination_rule as api
from argosy.model.locality import (
    Distribution,
    LocalityGroup,
    LocalityPolicy,
    Nearness,
    Pattern,
    Place,
    Placement,
    PriorityLabels,
    Shares,
    ZonePolicy,
)
from argosy.model.traffic import OutlierDetection, TrafficPolicy
from argosy.model.workload import Endpoint, Labels, Locality, known_locality
from argosy.pilot.compile.endpoints import CLUSTER_ID

REGION = "topology.kubernetes.io/region"
ZONE = "topology.kubernetes.io/zone"
SUBZONE = "topology.istio.io/subzone"
CLUSTER = "topology.istio.io/cluster"
"""Labels that every workload has as far as failover priorities are concerned."""

_ANY = frozenset({"", "*"})


_LOCALITY_LABELS = ("istio-locality", "topology.istio.io/locality")


# Where pods are.


def locality_of(pod: core_pod.Pod) -> Locality:
    """Istio's label (``region.zone.subzone``; a label cannot hold ``/``), or Kubernetes' own.

    Those stand on nodes, from where they are copied to pods. Here there is one node, which is
    wherever a pod wants it to be: what ``nodeSelector`` asks for counts as if the node had it.
    https://istio.io/latest/docs/tasks/traffic-management/locality-load-balancing/
    """
    return labelled_locality(pod.metadata.labels, pod.spec.node_selector)


def labelled_locality(labels: Mapping[str, str], node: Mapping[str, str]) -> Locality:
    """What the labels of a workload and of its node say."""
    for name in _LOCALITY_LABELS:
        written = labels.get(name)
        if written:
            region, zone, subzone = (*written.replace("/", ".").split(".", 2), "", "")[:3]
            return known_locality(region, zone, subzone)
    parts = (labels.get(name) or node.get(name, "") for name in (REGION, ZONE, SUBZONE))
    return known_locality(*parts)


# What is written.


def locality_policy(written: api.LocalityLoadBalancerSetting | None) -> LocalityPolicy | None:
    """None: nothing is written, so the mesh's settings hold. Else they do not, even in part."""
    if written is None:
        return None
    return LocalityPolicy(
        enabled=written.enabled is not False,
        distribute=tuple(
            Distribution(
                pattern(item.from_),
                _shares(item.to),
            )
            for item in written.distribute
        ),
        failover=tuple((item.from_, item.to) for item in written.failover),
        priorities=_priorities(written.failover_priority),
    )


def pattern(written: str) -> Pattern:
    """``region/zone/subzone``, of which the latter parts may be missing."""
    region, zone, subzone = (*written.split("/", 2), "", "")[:3]
    return region, zone, subzone


def zone_policy(written: api.ZoneAwareLoadBalancerSetting | None) -> ZonePolicy | None:
    if written is None:
        return None
    return ZonePolicy(
        enabled=written.enabled is not False,
        minimum_size=written.min_cluster_size,
        failover=tuple((item.from_, item.to) for item in written.failover),
        priorities=_priorities(written.failover_priority),
    )


def _shares(written: Mapping[str, int]) -> tuple[tuple[Pattern, int], ...]:
    """The narrowest pattern first: a locality counts for that one alone."""
    shares = ((pattern(to), share) for to, share in written.items())
    return tuple(sorted(shares, key=lambda pair: (sum(p in _ANY for p in pair[0]), pair[0])))


def _priorities(written: Iterable[str]) -> PriorityLabels:
    """``key``, or ``key=value`` for a value that is not the client's own."""
    pairs = []
    for item in written:
        name, separator, value = item.partition("=")
        pairs.append((name, value if separator else None))
    return tuple(pairs)


# What it means for one client.


def asks_where(policy: TrafficPolicy) -> bool:
    """Whether endpoints depend on where the client stands; ``policy`` has the mesh's defaults.

    Failover needs outlier detection, without which no endpoint would ever be found wanting.
    """
    if policy.zones is not None and policy.zones.enabled:
        return True
    locality = policy.locality
    if locality is None or not locality.enabled:
        return False
    return bool(locality.distribute) or policy.outlier_detection is not None


def detection(policy: TrafficPolicy) -> OutlierDetection | None:
    """Where failover is written, it works between few endpoints too.

    Envoy's 10 percent of less than ten endpoints are none, so none would ever be ejected.
    """
    written, locality = policy.outlier_detection, policy.locality
    if written is None or written.max_ejection_percent is not None or locality is None:
        return written
    fails_over = locality.enabled and (locality.failover or locality.priorities)
    return replace(written, always_one=True) if fails_over else written


def placement(policy: TrafficPolicy, place: Place) -> Placement | None:
    """None: all endpoints are equal. ``policy`` has the mesh's defaults."""
    if policy.zones is not None and policy.zones.enabled:
        return replace(_nearness(policy.zones, place), locality=place.locality, whole_region=True)
    locality = policy.locality
    if locality is None or not asks_where(policy):
        return None
    if locality.distribute:
        chosen = (d for d in locality.distribute if covers(d.source, place.locality))
        found = next(chosen, None)
        return None if found is None else Shares(found.shares)
    return _nearness(locality, place)


def _nearness(policy: LocalityPolicy | ZonePolicy, place: Place) -> Nearness:
    own = dict(place.labels)
    region = dict(reversed(policy.failover)).get(place.locality.region, "")
    return Nearness(
        locality=None if policy.priorities and not policy.failover else place.locality,
        region=region,
        labels=tuple(
            (name, own.get(name, "") if value is None else value)
            for name, value in policy.priorities
        ),
    )


def covers(wanted: Pattern, locality: Locality) -> bool:
    parts = (locality.region, locality.zone, locality.subzone)
    return all(want in _ANY or want == part for want, part in zip(wanted, parts, strict=True))


def topology_labels(labels: Labels, locality: Locality) -> Mapping[str, str]:
    """The labels that failover priorities may name: the locality counts as labels too."""
    known = {REGION: locality.region, ZONE: locality.zone, SUBZONE: locality.subzone}
    return {
        CLUSTER: CLUSTER_ID,
        **{name: value for name, value in known.items() if value},
        **dict(labels),
    }


# The endpoints, in groups.


def groups(
    endpoints: Iterable[Endpoint], placement: Placement | None = None
) -> tuple[LocalityGroup, ...]:
    """By priority and locality; priorities are 0, 1, 2 ... without a gap."""
    if isinstance(placement, Shares):
        return _shared(_by_locality(endpoints), placement)
    if placement is None:
        return tuple(_plain(group) for group in _by_locality(endpoints))
    found: dict[tuple[int, int], list[Endpoint]] = {}
    for endpoint in endpoints:
        rank = _rank(endpoint, placement)
        found.setdefault(rank, []).append(endpoint)
    return tuple(
        LocalityGroup(group[0].locality, group, _weight(group), priority)
        for priority, rank in enumerate(sorted(found))
        for group in _by_locality(found[rank])
    )


def _rank(endpoint: Endpoint, placement: Nearness) -> tuple[int, int]:
    distance, client = _distance(endpoint.locality, placement), placement.locality
    if placement.whole_region and client and endpoint.locality.region == client.region:
        return -1, 0
    return _label_rank(endpoint, placement.labels), distance


def _plain(group: tuple[Endpoint, ...]) -> LocalityGroup:
    return LocalityGroup(group[0].locality, group, _weight(group))


def _weight(group: Iterable[Endpoint]) -> int:
    return sum(endpoint.weight for endpoint in group)


def _by_locality(endpoints: Iterable[Endpoint]) -> list[tuple[Endpoint, ...]]:
    ordered = sorted(endpoints, key=lambda e: (e.locality, e.address, e.port, e.workload))
    return [tuple(group) for _, group in groupby(ordered, key=lambda e: e.locality)]


def _shared(groups: Iterable[tuple[Endpoint, ...]], placement: Shares) -> tuple[LocalityGroup, ...]:
    """A share is divided among the localities that its pattern covers, by their endpoints' weight.

    A locality counts for the first pattern that covers it.
    """
    covered: dict[int, list[tuple[Endpoint, ...]]] = {}
    for group in groups:
        for number, (wanted, _) in enumerate(placement.shares):
            if covers(wanted, group[0].locality):
                covered.setdefault(number, []).append(group)
                break
    found = []
    for number, members in covered.items():
        share, total = placement.shares[number][1], sum(map(_weight, members))
        for group in members:
            weight = -(-_weight(group) * share // total)
            found.append(LocalityGroup(group[0].locality, group, weight))
    return tuple(sorted(found, key=lambda group: group.locality))


def _label_rank(endpoint: Endpoint, labels: Labels) -> int:
    """0 when all agree; the earlier a label differs, the more."""
    if not labels:
        return 0
    own = topology_labels(endpoint.labels, endpoint.locality)
    for number, (name, value) in enumerate(labels):
        if own.get(name, "") != value:
            return len(labels) - number
    return 0


def _distance(locality: Locality, placement: Nearness) -> int:
    """0 for the same subzone, 1 zone, 2 region; 3 the region to fail over to, or any; else 4."""
    client = placement.locality
    if client is None or locality == client:
        return 0
    if locality.region != client.region:
        return 4 if placement.region and locality.region != placement.region else 3
    return 1 if locality.zone == client.zone else 2
