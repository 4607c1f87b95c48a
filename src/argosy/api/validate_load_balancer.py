"""Load balancer settings, which DestinationRule and MeshConfig share."""

from collections.abc import Iterator, Sequence
from math import isqrt

from argosy.api.located import child
from argosy.api.networking_destination_rule import (
    ConsistentHashLB,
    LoadBalancerSettings,
    LocalityFailover,
    LocalityLoadBalancerSetting,
    OutlierDetection,
)
from argosy.api.typed import Mistake, short
from argosy.api.validate_values import (
    check_duration,
    check_header_name,
    check_one_of,
    check_percent,
    warning,
)

_MAX_MAGLEV = 5_000_011


def check_load_balancer(
    settings: LoadBalancerSettings | None, outlier: OutlierDetection | None, path: str
) -> Iterator[Mistake]:
    """``outlier`` is that of the same policy: locality failover needs it."""
    if settings is None:
        return
    ways = {"simple": settings.simple, "consistentHash": settings.consistent_hash}
    yield from check_one_of(ways, path, required=False)
    if settings.simple == "LEAST_CONN":
        message = "LEAST_CONN is deprecated"
        yield warning(f"{path}.simple", "Deprecated", message, "Write LEAST_REQUEST")
    if settings.consistent_hash is not None:
        yield from _consistent_hash(settings.consistent_hash, f"{path}.consistentHash")
    locality, zone = settings.locality_lb_setting, settings.zone_aware_lb_setting
    if locality is not None:
        yield from check_locality(locality, outlier, f"{path}.localityLbSetting")
    if zone is not None:
        where = f"{path}.zoneAwareLbSetting"
        yield from _failover(zone.failover, zone.failover_priority, where)
    if settings.warmup_duration_secs is not None:
        where = f"{path}.warmupDurationSecs"
        yield from check_duration(settings.warmup_duration_secs, where)
        message = "warmupDurationSecs is deprecated"
        yield warning(where, "Deprecated", message, "Write warmup.duration")
    if (warmup := settings.warmup) is not None:
        yield from check_duration(warmup.duration, f"{path}.warmup.duration")
        yield from check_percent(warmup.minimum_percent, f"{path}.warmup.minimumPercent")
        if warmup.aggression is not None and warmup.aggression < 1:
            message = f"{warmup.aggression} is less than 1"
            yield Mistake(f"{path}.warmup.aggression", "OutOfRange", message, "Write 1 or more")


def _consistent_hash(hashing: ConsistentHashLB, path: str) -> Iterator[Mistake]:
    keys = {
        "httpHeaderName": hashing.http_header_name,
        "httpCookie": hashing.http_cookie,
        "useSourceIp": hashing.use_source_ip,
        "httpQueryParameterName": hashing.http_query_parameter_name,
    }
    yield from check_one_of(keys, path, required=True)
    algorithms = {
        "ringHash": hashing.ring_hash,
        "maglev": hashing.maglev,
        "minimumRingSize": hashing.minimum_ring_size or None,
    }
    yield from check_one_of(algorithms, path, required=False)
    if hashing.http_header_name is not None:
        yield from check_header_name(
            hashing.http_header_name, f"{path}.httpHeaderName", pseudo=True
        )
    if hashing.http_cookie is not None:
        if not hashing.http_cookie.name:
            yield Mistake(f"{path}.httpCookie.name", "MissingField", "the cookie has no name")
        yield from check_duration(hashing.http_cookie.ttl, f"{path}.httpCookie.ttl", zero=True)
    if hashing.minimum_ring_size:
        where = f"{path}.minimumRingSize"
        message = "minimumRingSize is deprecated"
        yield warning(where, "Deprecated", message, "Write ringHash.minimumRingSize")
    if hashing.maglev is not None:
        size = hashing.maglev.table_size
        where = f"{path}.maglev.tableSize"
        if not 1 <= size < _MAX_MAGLEV:
            message = f"{size} is not a size for the table"
            yield Mistake(where, "OutOfRange", message, f"Write a prime below {_MAX_MAGLEV}")
        elif not _is_prime(size):
            yield Mistake(where, "InvalidValue", f"{size} is not a prime number")


def _is_prime(number: int) -> bool:
    if number < 4:
        return True
    if number % 2 == 0:
        return False
    return all(number % factor for factor in range(3, isqrt(number) + 1, 2))


def check_locality(
    setting: LocalityLoadBalancerSetting, outlier: OutlierDetection | None, path: str
) -> Iterator[Mistake]:
    """Shares sum up to 100; one of distribute, failover and failoverPriority."""
    ways = {
        "distribute": setting.distribute or None,
        "failover": setting.failover or None,
    }
    yield from check_one_of(ways, path, required=False)
    if setting.distribute and setting.failover_priority:
        message = "distribute and failoverPriority exclude each other"
        yield Mistake(path, "ConflictingFields", message, "Keep one of them")
    sources: dict[str, int] = {}
    for i, distribute in enumerate(setting.distribute):
        where = f"{path}.distribute[{i}]"
        if sources.setdefault(distribute.from_, i) != i:
            message = f"{short(distribute.from_)} is distributed twice"
            yield Mistake(f"{where}.from", "DuplicateValue", message)
        for locality, weight in distribute.to.items():
            if weight == 0:
                message = "a share must be 1 or more"
                yield Mistake(child(f"{where}.to", locality), "InvalidWeight", message)
        total = sum(distribute.to.values())
        if total != 100:
            message = f"the shares sum up to {total}"
            yield Mistake(f"{where}.to", "InvalidWeight", message, "They must sum up to 100")
    yield from _failover(setting.failover, setting.failover_priority, path)
    if (setting.failover or setting.failover_priority) and outlier is None:
        message = "failover has no effect without outlierDetection"
        yield warning(path, "NoEffect", message, "Write outlierDetection in the same policy")


def _failover(
    failover: Sequence[LocalityFailover], priority: Sequence[str], path: str
) -> Iterator[Mistake]:
    for i, pair in enumerate(failover):
        where = f"{path}.failover[{i}]"
        if pair.from_ == pair.to:
            message = f"{short(pair.to)} cannot fail over to itself"
            yield Mistake(where, "ConflictingFields", message)
        for name, region in (("from", pair.from_), ("to", pair.to)):
            if "/" in region or "*" in region:
                message = f"{short(region)} is not a region: failover is between regions only"
                yield Mistake(f"{where}.{name}", "InvalidValue", message)
    for i, label in enumerate(priority):
        if priority.index(label) != i:
            message = f"{short(label)} is written twice"
            yield Mistake(f"{path}.failoverPriority[{i}]", "DuplicateValue", message)
