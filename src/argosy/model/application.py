"""Where a sidecar finds the application that it stands beside."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OwnAddress:
    """At the address that the client dialled; ``port`` None: at that port too."""

    port: int | None = None


@dataclass(frozen=True, slots=True)
class Loopback:
    """``address`` is 127.0.0.1 or ::1."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """``path`` begins with ``/``, or ``@`` for one without a file."""

    path: str


ApplicationEndpoint = OwnAddress | Loopback | UnixSocket

OWN_ADDRESS = OwnAddress()
