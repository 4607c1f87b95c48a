"""Which resolvers the machine asks for names."""

import ipaddress
from collections.abc import Mapping
from pathlib import Path

import structlog

ENVIRONMENT = "ARGOSY_NAMESERVERS"
"""Resolvers to ask instead of the machine's: ``ADDRESS[:PORT]``, separated by commas."""

_PORT = 53
log = structlog.get_logger()


def nameservers_of_the_machine(environment: Mapping[str, str]) -> tuple[tuple[str, int], ...]:
    """Address and port of each; none when nothing says."""
    chosen = environment.get(ENVIRONMENT)
    if chosen is not None:
        return addresses(chosen)
    return tuple((address, _PORT) for address in nameservers(Path("/etc/resolv.conf")))


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
