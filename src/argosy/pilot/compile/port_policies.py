"""The policy of a port and subset: the blocks of a DestinationRule, resolved.

https://istio.io/latest/docs/reference/config/networking/destination-rule/#TrafficPolicy
"""

import dataclasses
from collections.abc import Iterator

from argosy.model.route import HashPolicy
from argosy.model.traffic import NO_POLICY, Destination, Maglev, RingHash, TrafficPolicy


def policy_of(
    chosen: Destination | None, port: int, subset: str, defaults: TrafficPolicy = NO_POLICY
) -> TrafficPolicy:
    """Every block resolved: the subset's, else the port's or the rule's, else the mesh's."""
    base = NO_POLICY
    if chosen is not None:
        base = _at_port(chosen.policy or NO_POLICY, port)
        found = chosen.get_subset(subset) if subset else None
        if found is not None:
            base = _override(base, found.policy, port)
    return dataclasses.replace(
        base,
        locality=base.locality or defaults.locality,
        zones=base.zones or (None if base.locality else defaults.zones),
        connection_pool=base.connection_pool or defaults.connection_pool,
        outlier_detection=base.outlier_detection or defaults.outlier_detection,
    )


def _at_port(policy: TrafficPolicy, port: int) -> TrafficPolicy:
    """Port-level settings stand alone: of the policy around them only a tunnel is inherited."""
    own = dict(policy.ports).get(port)
    if own is None:
        return dataclasses.replace(policy, ports=())
    return dataclasses.replace(own, tunnel=policy.tunnel)


def _override(base: TrafficPolicy, own: TrafficPolicy, port: int) -> TrafficPolicy:
    """A subset's blocks replace those of its rule; its own port-level settings replace both."""
    merged = TrafficPolicy(
        load_balancer=own.load_balancer or base.load_balancer,
        locality=(own if own.load_balancer is not None else base).locality,
        zones=(own if own.load_balancer is not None else base).zones,
        connection_pool=own.connection_pool or base.connection_pool,
        outlier_detection=own.outlier_detection or base.outlier_detection,
        tls=own.tls or base.tls,
        proxy_protocol=own.proxy_protocol or base.proxy_protocol,
        retry_budget=own.retry_budget or base.retry_budget,
        tunnel=own.tunnel or base.tunnel,
    )
    at_port = dict(own.ports).get(port)
    if at_port is None:
        return merged
    return dataclasses.replace(
        at_port,
        proxy_protocol=merged.proxy_protocol,
        retry_budget=merged.retry_budget,
        tunnel=merged.tunnel,
    )


def policies(item: Destination, defaults: TrafficPolicy = NO_POLICY) -> Iterator[TrafficPolicy]:
    """What a rule says of some port or subset, every block resolved."""
    written = [item.policy or NO_POLICY, *(subset.policy for subset in item.subsets)]
    ports = {port for policy in written for port, _ in policy.ports} | {0}
    for subset in ("", *(subset.name for subset in item.subsets)):
        for port in ports:
            yield policy_of(item, port, subset, defaults)


def subset_names(chosen: Destination | None) -> frozenset[str]:
    return frozenset() if chosen is None else frozenset(s.name for s in chosen.subsets)


def hash_policy(chosen: Destination | None, port: int, subset: str) -> HashPolicy | None:
    """What requests are hashed by; None unless the destination hashes consistently."""
    balancer = policy_of(chosen, port, subset).load_balancer
    return balancer.key if isinstance(balancer, RingHash | Maglev) else None
