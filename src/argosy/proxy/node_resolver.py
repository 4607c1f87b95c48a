"""Names outside the mesh: the machine's own resolvers, asked from the machine's network."""

import ipaddress
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from argosy.platforms.local.outside import Outside, OutsideError
from argosy.proxy import dns

ENVIRONMENT = "ARGOSY_NAMESERVERS"
"""Resolvers to ask instead of the machine's: ``ADDRESS[:PORT]``, separated by commas."""

_PORT = 53
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Resolver:
    """Call it to forward a query; ``run`` receives the answers until cancelled."""

    _forward: Callable[[bytes], Awaitable[bytes]]
    run: Callable[[], Awaitable[None]]

    async def __call__(self, query: bytes) -> bytes:
        return await self._forward(query)


def resolver(outside: Outside | None) -> Resolver:
    """The machine's resolvers; one that always fails when there is no way out."""
    chosen = os.environ.get(ENVIRONMENT)
    if chosen is None:
        servers = tuple((a, _PORT) for a in nameservers(Path("/etc/resolv.conf")))
    else:
        servers = addresses(chosen)
    try:
        if outside is not None and servers:
            forwarder = dns.UdpForwarder(outside.open(socket.SOCK_DGRAM), servers)
            return Resolver(forwarder, forwarder.run)
    except OutsideError as error:
        log.warning("dns.no_way_out", error=str(error))
    return Resolver(_refuse, _nothing)


def nameservers(path: Path) -> tuple[str, ...]:
    """The IPv4 resolvers of a ``resolv.conf``; none when it cannot be read."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return ()
    words = [line.split() for line in lines]
    found = [w[1] for w in words if len(w) > 1 and w[0] == "nameserver"]
    return tuple(a for a in found if ":" not in a and _is_address(a))


def addresses(text: str) -> tuple[tuple[str, int], ...]:
    """What ``ARGOSY_NAMESERVERS`` says; items that are no IPv4 addresses are left out."""
    found = []
    for item in text.split(","):
        address, _, port = item.strip().partition(":")
        if _is_address(address) and (port or "53").isdigit():
            found.append((address, int(port or _PORT)))
        elif address:
            log.warning("dns.nameserver_ignored", nameserver=item.strip())
    return tuple(found)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


async def _refuse(_: bytes) -> bytes:
    raise dns.ForwardError("this machine has no resolver that the mesh can reach")


async def _nothing() -> None:
    return
