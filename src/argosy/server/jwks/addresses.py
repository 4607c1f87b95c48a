"""Which addresses the control plane may fetch keys from.

Whoever may write a RequestAuthentication may name any URL. The control plane stands where that
person perhaps does not: addresses that mean something else to it than to anybody are refused.
Judged is the address that is dialled, never a name, which may mean something else a moment later.
https://cheatsheetseries.owasp.org/cheatsheets/Server_Side_Request_Forgery_Prevention_Cheat_Sheet.html
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

ALLOWED_VARIABLE = "ARGOSY_JWKS_ALLOWED"
"""Host names, addresses and CIDR blocks, separated by commas, that keys may come from besides."""

BLOCKED_VARIABLE = "BLOCKED_CIDRS_IN_JWKS_URIS"
"""CIDR blocks, separated by commas, that keys may not come from; the name is Istio's."""

_NAT64 = ip_network("64:ff9b::/96")

_NEVER_BY_NAME: tuple[tuple[str, str], ...] = (
    ("169.254.169.254/32", "the metadata service of a cloud"),
    ("169.254.170.2/32", "the metadata service of a cloud"),
    ("100.100.100.200/32", "the metadata service of a cloud"),
    ("168.63.129.16/32", "the metadata service of a cloud"),
    ("192.0.0.192/32", "the metadata service of a cloud"),
    ("fd00:ec2::254/128", "the metadata service of a cloud"),
    ("fd20:ce::254/128", "the metadata service of a cloud"),
    ("169.254.0.0/16", "a link-local address"),
    ("fe80::/10", "a link-local address"),
    ("224.0.0.0/4", "a multicast address"),
    ("ff00::/8", "a multicast address"),
    ("240.0.0.0/4", "a reserved address"),
)
_NOT_UNASKED: tuple[tuple[str, str], ...] = (
    ("127.0.0.0/8", "the machine itself"),
    ("::1/128", "the machine itself"),
    ("0.0.0.0/8", "the machine itself"),
    ("::/128", "the machine itself"),
)


class RulesError(ValueError):
    """A variable says something that is no host, address or CIDR block."""


def _parsed(table: Iterable[tuple[str, str]]) -> tuple[tuple[Network, str], ...]:
    return tuple((ip_network(block), what) for block, what in table)


@dataclass(frozen=True, slots=True)
class AddressRules:
    """``mesh`` are the blocks of pods and services.

    ``blocked`` wins over everything. An allowed block lifts every other rule. An allowed host lifts
    those against the machine itself and the mesh only: who owns a name may point it anywhere.
    """

    mesh: tuple[Network, ...] = ()
    allowed_hosts: frozenset[str] = frozenset()
    allowed: tuple[Network, ...] = ()
    blocked: tuple[Network, ...] = ()

    def refusal(self, host: str, address: Address) -> str:
        """Why ``address``, to which ``host`` leads, is not dialled; empty: it is."""
        meant = tuple(_meanings(address))
        if _any(meant, self.blocked):
            return f"{address} is in {BLOCKED_VARIABLE}"
        if _any((address,), self.allowed):
            return ""
        never = next((what for block, what in _parsed(_NEVER_BY_NAME) if _any(meant, (block,))), "")
        if never:
            return f"{address} is {never}, where keys are not fetched from"
        if host.rstrip(".").lower() in self.allowed_hosts:
            return ""
        found = next((what for block, what in _parsed(_NOT_UNASKED) if _any(meant, (block,))), "")
        if not found and _any(meant, self.mesh):
            found = "inside the mesh"
        if not found:
            return ""
        return (
            f"{address} is {found}, where keys are fetched from only if {ALLOWED_VARIABLE} of the "
            f"control plane names {host}"
        )


def address_rules(mesh: Iterable[str], allowed: str, blocked: str) -> AddressRules:
    """``allowed`` and ``blocked`` are the variables' values. Raises RulesError."""
    hosts: set[str] = set()
    blocks: list[Network] = []
    for item in _items(allowed):
        block = _block(item)
        if block is not None:
            blocks.append(block)
        elif "/" in item or ":" in item or not item.strip("."):
            raise RulesError(f"{ALLOWED_VARIABLE}: {item!r} is no host, address or CIDR block")
        else:
            hosts.add(item.rstrip(".").lower())
    refused = []
    for item in _items(blocked):
        block = _block(item)
        if block is None:
            raise RulesError(f"{BLOCKED_VARIABLE}: {item!r} is no CIDR block")
        refused.append(block)
    networks = tuple(ip_network(block) for block in mesh)
    return AddressRules(networks, frozenset(hosts), tuple(blocks), tuple(refused))


def get_address(text: str) -> Address | None:
    """Of a literal, without brackets; None for a name."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def _items(text: str) -> Iterator[str]:
    return (item.strip() for item in text.split(",") if item.strip())


def _block(text: str) -> Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _meanings(address: Address) -> Iterator[Address]:
    """The address, and the IPv4 address that an IPv6 one stands for: one way around the rules."""
    yield address
    if not isinstance(address, IPv6Address):
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    packed = int(address)
    if address in _NAT64 or packed >> 32 == 0:
        yield IPv4Address(packed & 0xFFFFFFFF)


def _any(addresses: Iterable[Address], blocks: Iterable[Network]) -> bool:
    wanted = tuple(blocks)
    return any(
        address.version == block.version and address in block
        for address in addresses
        for block in wanted
    )
