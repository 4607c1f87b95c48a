"""Which traffic of a pod its annotations keep from the proxy. Pure.

https://istio.io/latest/docs/reference/config/annotations/ (``traffic.sidecar.istio.io/...``). A list
that cannot be understood is left out as a whole and said, so that traffic is captured as without it.
"""

import ipaddress
from collections.abc import Callable, Mapping

from argosy.proxy.capture import Interception

PREFIX = "traffic.sidecar.istio.io/"
_ALL = "*"
_INTERFACE_LENGTH = 15
"""Linux's IFNAMSIZ without the end."""


def interception(annotations: Mapping[str, str]) -> tuple[Interception, tuple[str, ...]]:
    """What the annotations say, and the mistakes in them as texts for a person."""
    mistakes: list[str] = []

    def items(name: str, valid: Callable[[str], str | None]) -> tuple[str, ...] | None:
        """None: nothing is said, or nothing that can be understood."""
        text = annotations.get(PREFIX + name, _ALL).strip()
        if text == _ALL and (name.startswith("include") or PREFIX + name not in annotations):
            return None
        words = [word.strip() for word in text.split(",") if word.strip()]
        found = [valid(word) for word in words]
        for word, value in zip(words, found, strict=True):
            if value is None:
                mistakes.append(f"{PREFIX}{name}: {word!r} is not {_FORMS[valid]}")
                return None
        return tuple(value for value in found if value is not None)

    def ports(name: str) -> tuple[int, ...] | None:
        found = items(name, _port)
        return None if found is None else tuple(map(int, found))

    found = Interception(
        outbound_networks=items("includeOutboundIPRanges", _network),
        outbound_networks_excluded=items("excludeOutboundIPRanges", _network) or (),
        outbound_ports=ports("includeOutboundPorts") or (),
        outbound_ports_excluded=ports("excludeOutboundPorts") or (),
        inbound_ports=ports("includeInboundPorts"),
        inbound_ports_excluded=ports("excludeInboundPorts") or (),
        interfaces_excluded=items("excludeInterfaces", _interface) or (),
    )
    return found, tuple(mistakes)


def _port(text: str) -> str | None:
    return text if text.isdecimal() and 0 < int(text) < 65536 else None


def _network(text: str) -> str | None:
    """As Istio's injector: an address with a prefix length; bits beyond it are dropped."""
    if "/" not in text:
        return None
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return None


def _interface(text: str) -> str | None:
    return text if len(text) <= _INTERFACE_LENGTH and "/" not in text and text.isascii() else None


_FORMS: Mapping[Callable[[str], str | None], str] = {
    _port: "a port from 1 to 65535",
    _network: "a network such as 10.0.0.0/8",
    _interface: "the name of a network interface",
}
