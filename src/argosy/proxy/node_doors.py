"""How often a workload may knock at the mesh's own servers.

A TLS handshake costs the control plane more than it costs who asks for it, and comes before anybody
is known. So the kernel counts connections by source address before any of them is accepted: to
every port of the bridge's address, where control plane and Mixer listen. What goes from pod to pod,
or through the mesh's address to somewhere else, does not come by here.
"""

import structlog
from pyroute2.netlink.exceptions import NetlinkError

from argosy.platforms.local import network
from argosy.proxy import capture_nft
from argosy.proxy.capture import (
    Chain,
    Destination,
    Drop,
    InterfaceIn,
    Opening,
    Protocol,
    Rule,
    Ruleset,
    Source,
    SourceOver,
)

PER_SECOND = 20
BURST = 200
"""A proxy with all it does opens some ten connections, and one or two a second when it lost them."""
_BEFORE_TRANSLATION = -150
"""Redirections happen at -100: what is meant for somewhere else is not addressed to the mesh yet."""
log = structlog.get_logger()


def rules() -> Ruleset:
    """Connections from pods to the bridge's address; the node's own come over loopback.

    What is too much is dropped, not refused: a proxy beside a greedy application is late by the
    repetition of its first packet instead of failing, and forged sources cause no answers. The set
    has room for every address that a pod can have, so that nobody can fill it.
    """
    pods, door = str(network.SUBNET), f"{network.GATEWAY}/32"
    limit = SourceOver("callers", PER_SECOND, BURST, network.SUBNET.num_addresses)
    too_often = Rule(
        (
            InterfaceIn(network.BRIDGE),
            Destination(door),
            Protocol("tcp"),
            Opening(),
            Source(pods),
            limit,
        ),
        Drop(),
    )
    chain = Chain("doors", "prerouting", _BEFORE_TRANSLATION, (too_often,), "filter")
    return Ruleset("doors", (chain,))


def guard() -> None:
    """Load the rules into the current namespace. A kernel that cannot is told of in the log."""
    try:
        capture_nft.apply(rules())
    except (OSError, NetlinkError) as error:
        log.warning("doors.unlimited", error=str(error), consequence="no limit of connections")
