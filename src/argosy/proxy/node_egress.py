"""The way out: TCP from workloads to addresses outside the mesh.

The mesh's network has no route to the machine's. What leaves the bridge for an address outside is
redirected to this relay, which continues it on a socket of the machine's own network. It works
without privileges there, and adds no link or rule to the machine. Other protocols do not get out.
"""

import asyncio
import socket
import struct
from dataclasses import dataclass

from argosy.platforms.local import network, relay
from argosy.platforms.local.outside import Outside
from argosy.proxy import capture_nft
from argosy.proxy.capture import Chain, Destination, InterfaceIn, Protocol, Redirect, Rule, Ruleset

_SO_ORIGINAL_DST = 80
_PRIORITY = -100


def rules(port: int) -> Ruleset:
    """What comes from the bridge for neither a pod nor a service goes to ``port``."""
    outside = Rule(
        (
            InterfaceIn(network.BRIDGE),
            Destination(str(network.SUBNET), negate=True),
            Destination(str(network.SERVICE_SUBNET), negate=True),
            Protocol("tcp"),
        ),
        Redirect(port),
    )
    return Ruleset("egress", (Chain("egress", "prerouting", _PRIORITY, (outside,)),))


@dataclass(frozen=True, slots=True)
class Egress:
    outside: Outside

    async def serve(self) -> None:
        """Relay until cancelled. Raises OSError and NetlinkError when it cannot begin."""
        with socket.create_server((network.GATEWAY, 0), backlog=1024) as listener:
            await asyncio.to_thread(capture_nft.apply, rules(listener.getsockname()[1]))
            await relay.serve(listener, self._dial)

    async def _dial(self, accepted: socket.socket) -> socket.socket | None:
        address = original_destination(accepted)
        return await relay.connect(self.outside.open(), address)


def original_destination(accepted: socket.socket) -> tuple[str, int]:
    """Where a redirected IPv4 connection was going (netfilter's SO_ORIGINAL_DST)."""
    raw = accepted.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, 16)
    port, address = struct.unpack("!2xH4s8x", raw)
    return socket.inet_ntoa(address), port
