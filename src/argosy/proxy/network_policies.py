"""NetworkPolicies → the rules in one pod's network namespace. Pure.

https://kubernetes.io/docs/concepts/services-networking/network-policies/ : a pod that no policy
selects is open; else what any of its policies allows passes, with the answers to it, and the rest is
dropped, of connections that are open too. A pod always reaches itself and the machine (the control
plane), and is reached by both (probes, what is published). Addresses and ports are those of pods,
behind Services.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from argosy.api.core_pod import Pod
from argosy.api.networking_network_policy import (
    NetworkPolicy,
    NetworkPolicyPeer,
    NetworkPolicyPort,
)
from argosy.pilot.compile.selectors import matches
from argosy.platforms.local.network import GATEWAY
from argosy.proxy.capture import (
    Accept,
    Chain,
    Destination,
    DestinationPort,
    DestinationPorts,
    Drop,
    InterfaceIn,
    InterfaceOut,
    Match,
    Protocol,
    Reply,
    Rule,
    Ruleset,
    Source,
)

TABLE = "policy"
NAME_LABEL = "kubernetes.io/metadata.name"
"""Every namespace has it, with its own name."""
_AFTER_CAPTURE, _BEFORE_CAPTURE = 0, -150
"""Priorities: outgoing packets are judged by where they go at last, incoming by what was dialled."""

_ALWAYS_OUT = (
    Rule((Reply(),), Accept()),
    Rule((InterfaceOut("lo"),), Accept()),
    # What capture has led to the proxy, which still seems to leave by another interface.
    Rule((Destination("127.0.0.0/8"),), Accept()),
    Rule((Destination("::1/128"),), Accept()),
    Rule((Destination(f"{GATEWAY}/32"),), Accept()),
)
_ALWAYS_IN = (
    Rule((Reply(),), Accept()),
    Rule((InterfaceIn("lo"),), Accept()),
    Rule((Source(f"{GATEWAY}/32"),), Accept()),
)

Labels = Mapping[str, str]
Address = type[Source] | type[Destination]


def policy_rules(
    pod: Pod,
    policies: Iterable[NetworkPolicy],
    pods: Sequence[Pod],
    namespaces: Mapping[str, Labels],
) -> Ruleset:
    """Of no chain for an open pod. ``pods`` are all, ``namespaces`` the labels of those known."""
    mine = sorted(
        (
            policy
            for policy in policies
            if policy.metadata.namespace == pod.metadata.namespace
            and matches(policy.spec.pod_selector, pod.metadata.labels)
        ),
        key=lambda policy: policy.metadata.name,
    )
    found = _Peers(pods, namespaces)
    chains = []
    if any("Egress" in policy.spec.types for policy in mine):
        rules = [
            Rule((*whom, *where), Accept())
            for policy in mine
            if "Egress" in policy.spec.types
            for rule in policy.spec.egress
            for whom, peer in found.of(rule.to, policy.metadata.namespace, Destination)
            for where in _ports(rule.ports, peer)
        ]
        chains.append(_chain("egress", "output", _AFTER_CAPTURE, _ALWAYS_OUT, rules))
    if any("Ingress" in policy.spec.types for policy in mine):
        rules = [
            Rule((*whom, *where), Accept())
            for policy in mine
            if "Ingress" in policy.spec.types
            for rule in policy.spec.ingress
            for whom, _ in found.of(rule.from_, policy.metadata.namespace, Source)
            for where in _ports(rule.ports, pod)
        ]
        chains.append(_chain("ingress", "prerouting", _BEFORE_CAPTURE, _ALWAYS_IN, rules))
    return Ruleset(TABLE, tuple(chains))


def _chain(
    name: str, hook: str, priority: int, always: tuple[Rule, ...], allowed: Iterable[Rule]
) -> Chain:
    rules = (*always, *dict.fromkeys(allowed), Rule((), Drop()))
    return Chain(name, hook, priority, rules, "filter")


class _Peers:
    def __init__(self, pods: Sequence[Pod], namespaces: Mapping[str, Labels]) -> None:
        self._pods = sorted((pod for pod in pods if _address(pod)), key=lambda pod: _address(pod))
        self._namespaces = namespaces

    def of(
        self, peers: Sequence[NetworkPolicyPeer], namespace: str, address: Address
    ) -> Iterator[tuple[tuple[Match, ...], Pod | None]]:
        """What tells each peer by its address, and the pod that it is. No peers are everybody."""
        if not peers:
            yield (), None
        for peer in peers:
            if (block := peer.ip_block) is not None:
                left_out = (address(part, negate=True) for part in block.except_)
                yield (address(block.cidr), *left_out), None
                continue
            for pod in self._pods:
                if self._is(peer, pod, namespace):
                    yield (address(f"{_address(pod)}/32"),), pod

    def _is(self, peer: NetworkPolicyPeer, pod: Pod, namespace: str) -> bool:
        theirs = pod.metadata.namespace
        if peer.namespace_selector is None:
            in_namespace = theirs == namespace
        else:
            labels = {**self._namespaces.get(theirs, {}), NAME_LABEL: theirs}
            in_namespace = matches(peer.namespace_selector, labels)
        selector = peer.pod_selector
        return in_namespace and (selector is None or matches(selector, pod.metadata.labels))


def _ports(ports: Sequence[NetworkPolicyPort], pod: Pod | None) -> Iterator[tuple[Match, ...]]:
    """``pod`` is whose port is dialled: it knows what the names of ports are."""
    if not ports:
        yield ()
    for port in ports:
        protocol = Protocol(port.protocol.lower())
        if port.port is None:
            yield (protocol,)
        elif isinstance(port.port, str):
            for number in _named(port.port, port.protocol, pod):
                yield protocol, DestinationPort(number)
        elif port.end_port is not None:
            yield protocol, DestinationPorts(port.port, port.end_port)
        else:
            yield protocol, DestinationPort(port.port)


def _named(name: str, protocol: str, pod: Pod | None) -> Iterator[int]:
    for container in pod.spec.containers if pod is not None else ():
        for port in container.ports:
            if port.name == name and port.protocol == protocol:
                yield port.container_port


def _address(pod: Pod) -> str:
    return pod.status.pod_ip if pod.status is not None else ""
