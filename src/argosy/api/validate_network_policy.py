"""What must hold for one NetworkPolicy alone.

Rules as in Kubernetes' validation (``pkg/apis/networking/validation``).
"""

import ipaddress
import re
from collections.abc import Iterator, Sequence

from argosy.api.networking_network_policy import (
    IPBlock,
    NetworkPolicy,
    NetworkPolicyPeer,
    NetworkPolicyPort,
)
from argosy.api.typed import Mistake, short
from argosy.api.validate_pod import check_selector
from argosy.api.validate_values import check_port

_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?")
"""IANA service names, as container ports have them."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def validate_network_policy(policy: NetworkPolicy) -> Iterator[Mistake]:
    spec = policy.spec
    yield from check_selector(spec.pod_selector, "spec.podSelector")
    for name, rules in (("ingress", spec.ingress), ("egress", spec.egress)):
        if rules and name.capitalize() not in spec.types:
            message = f"these rules have no effect: {name.capitalize()} is not in policyTypes"
            hint = f"Add {name.capitalize()} to spec.policyTypes"
            yield Mistake(f"spec.{name}", "NoEffect", message, hint)
    for i, incoming in enumerate(spec.ingress):
        yield from _peers(incoming.from_, f"spec.ingress[{i}].from")
        yield from _ports(incoming.ports, f"spec.ingress[{i}].ports")
    for i, outgoing in enumerate(spec.egress):
        yield from _peers(outgoing.to, f"spec.egress[{i}].to")
        yield from _ports(outgoing.ports, f"spec.egress[{i}].ports")


def _peers(peers: Sequence[NetworkPolicyPeer], path: str) -> Iterator[Mistake]:
    for i, peer in enumerate(peers):
        where = f"{path}[{i}]"
        selectors = (peer.pod_selector, peer.namespace_selector)
        if peer.ip_block is None and selectors == (None, None):
            message = "the peer says nobody"
            hint = "Write podSelector, namespaceSelector or ipBlock"
            yield Mistake(where, "MissingField", message, hint)
        elif peer.ip_block is not None and selectors != (None, None):
            message = "a peer is either an ipBlock or selectors"
            yield Mistake(where, "NotAllowed", message, "Make two peers of it")
        if peer.pod_selector is not None:
            yield from check_selector(peer.pod_selector, f"{where}.podSelector")
        if peer.namespace_selector is not None:
            yield from check_selector(peer.namespace_selector, f"{where}.namespaceSelector")
        if peer.ip_block is not None:
            yield from _block(peer.ip_block, f"{where}.ipBlock")


def _block(block: IPBlock, path: str) -> Iterator[Mistake]:
    whole = _network(block.cidr)
    if whole is None:
        yield _not_a_network(block.cidr, f"{path}.cidr")
    for i, text in enumerate(block.except_):
        part = _network(text)
        where = f"{path}.except[{i}]"
        if part is None:
            yield _not_a_network(text, where)
        elif whole is not None and not _is_within(part, whole):
            message = f"{short(text)} is not a part of {block.cidr}"
            yield Mistake(where, "InvalidValue", message, "Only a part of cidr can be left out")


def _ports(ports: Sequence[NetworkPolicyPort], path: str) -> Iterator[Mistake]:
    for i, port in enumerate(ports):
        where = f"{path}[{i}]"
        if isinstance(port.port, int):
            yield from check_port(port.port, f"{where}.port")
        elif port.port is not None and not _PORT_NAME.fullmatch(port.port):
            message = f"{short(port.port)} is neither a port nor the name of one"
            yield Mistake(f"{where}.port", "InvalidPort", message)
        if port.end_port is None:
            continue
        yield from check_port(port.end_port, f"{where}.endPort")
        if not isinstance(port.port, int):
            message = "endPort needs a port that is a number"
            yield Mistake(f"{where}.endPort", "NotAllowed", message, "Write port too")
        elif port.end_port < port.port:
            message = f"the range {port.port} to {port.end_port} is empty"
            yield Mistake(f"{where}.endPort", "InvalidPort", message)


def _network(text: str) -> Network | None:
    if "/" not in text:
        return None
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _is_within(part: Network, whole: Network) -> bool:
    """A true part: the whole itself is not one."""
    first, last = whole.network_address, whole.broadcast_address
    return (
        part.version == whole.version
        and part.prefixlen > whole.prefixlen
        and int(first) <= int(part.network_address) <= int(last)
    )


def _not_a_network(text: str, path: str) -> Mistake:
    return Mistake(path, "InvalidValue", f"{short(text)} is not a network", "Write 10.0.0.0/8")
