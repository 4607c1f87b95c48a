"""Names outside the mesh: the machine's own resolvers, asked from the machine's network."""

import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from argosy.platforms.local.nameservers import nameservers_of_the_machine
from argosy.platforms.local.outside import Outside, OutsideError
from argosy.proxy import dns

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
    servers = nameservers_of_the_machine(os.environ)
    try:
        if outside is not None and servers:
            forwarder = dns.UdpForwarder(outside.open(socket.SOCK_DGRAM), servers)
            return Resolver(forwarder, forwarder.run)
    except OutsideError as error:
        log.warning("dns.no_way_out", error=str(error))
    return Resolver(_refuse, _nothing)


async def _refuse(_: bytes) -> bytes:
    raise dns.ForwardError("this machine has no resolver that the mesh can reach")


async def _nothing() -> None:
    return
