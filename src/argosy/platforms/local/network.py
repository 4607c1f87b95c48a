"""Links and addresses of the mesh: one bridge, one veth pair per pod.

Every mesh has its own network namespace, so all use the same addresses: pods 10.244.0.0/16, the
bridge (control plane, DNS, default route) 10.244.0.1. Calls block for a few milliseconds.
"""

import ipaddress
from pathlib import Path

from pyroute2.iproute import IPRoute

from argosy.platforms.local import netns
from argosy.platforms.local.subnets import GATEWAY as GATEWAY
from argosy.platforms.local.subnets import SERVICE_SUBNET as SERVICE_SUBNET
from argosy.platforms.local.subnets import SUBNET as SUBNET

BRIDGE = "argosy0"
_BRIDGE_MAC = "02:42:" + ipaddress.IPv4Address(GATEWAY).packed.hex(":")
"""A bridge without one takes the lowest of its links: with each pod that comes or goes it could be
another, and pods that know the old one reach nobody behind the bridge until they ask again."""
_POD_INTERFACE = "eth0"
_SYSCTLS = (
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/ip_unprivileged_port_start", "0"),
    ("net/bridge/bridge-nf-call-iptables", "0"),
    ("net/bridge/bridge-nf-call-ip6tables", "0"),
    ("net/ipv6/conf/all/accept_dad", "0"),
)


class AddressesExhaustedError(Exception):
    """Every address of the subnet is in use."""


class AddressPool:
    """Addresses for pods, handed out in turn so that a freed one is not reused for long."""

    def __init__(self, subnet: ipaddress.IPv4Network = SUBNET) -> None:
        self._first = int(subnet.network_address) + 2
        self._size = subnet.num_addresses - 3
        self._next = 0
        self._used: set[int] = set()

    def take(self) -> str:
        """A free address. Raises AddressesExhaustedError."""
        for _ in range(self._size):
            candidate = self._next
            self._next = (self._next + 1) % self._size
            if candidate not in self._used:
                self._used.add(candidate)
                return str(ipaddress.IPv4Address(self._first + candidate))
        raise AddressesExhaustedError(f"all {self._size} pod addresses are in use")

    def give_back(self, address: str) -> None:
        self._used.discard(int(ipaddress.IPv4Address(address)) - self._first)


def create_bridge() -> None:
    """Bring up loopback and the bridge in the current namespace. Safe to repeat."""
    for key, value in _SYSCTLS:
        _set(key, value)
    with IPRoute() as route:
        route.link("set", index=1, state="up")
        if not route.link_lookup(ifname=BRIDGE):
            route.link("add", ifname=BRIDGE, kind="bridge", br_forward_delay=0)
        (bridge,) = route.link_lookup(ifname=BRIDGE)
        route.link("set", index=bridge, address=_BRIDGE_MAC)
        route.addr("replace", index=bridge, address=GATEWAY, prefixlen=SUBNET.prefixlen)
        route.link("set", index=bridge, state="up")


def attach(pod_netns: int, link: str, address: str) -> None:
    """Connect the pod's namespace to the bridge of the current one and give it its address.

    ``link`` names the bridge's end of the pair, at most 15 characters.
    """
    with IPRoute() as route:
        (bridge,) = route.link_lookup(ifname=BRIDGE)
        peer = {"ifname": _POD_INTERFACE, "net_ns_fd": pod_netns}
        route.link("add", ifname=link, kind="veth", peer=peer)
        (index,) = route.link_lookup(ifname=link)
        route.link("set", index=index, master=bridge, state="up")
    netns.run_in(pod_netns, lambda: _configure(address))


def detach(link: str) -> None:
    """Remove the pair; its other end goes with it. No error when it is gone already."""
    with IPRoute() as route:
        for index in route.link_lookup(ifname=link):
            route.link("del", index=index)


def _configure(address: str) -> None:
    _set("net/ipv4/ip_unprivileged_port_start", "0")
    with IPRoute() as route:
        route.link("set", index=1, state="up")
        (index,) = route.link_lookup(ifname=_POD_INTERFACE)
        route.addr("add", index=index, address=address, prefixlen=SUBNET.prefixlen)
        route.link("set", index=index, state="up")
        route.route("add", dst="default", gateway=GATEWAY)


def _set(key: str, value: str) -> None:
    """Set a sysctl of the current network namespace; a read-only or older kernel is tolerated."""
    try:
        Path("/proc/sys", key).write_text(value)
    except OSError:
        return
