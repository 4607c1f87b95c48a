"""Tunnels: how opaque bytes pass a forward proxy.

https://istio.io/latest/docs/reference/config/networking/destination-rule/#TrafficPolicy-TunnelSettings
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tunnel:
    """Opaque bytes travel in one HTTP request to a forward proxy, which connects to ``target``.

    ``target`` is ``host:port``. ``post``: by POST instead of CONNECT.
    """

    target: str
    post: bool = False
