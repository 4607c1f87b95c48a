"""Servers that are configured themselves, without a proxy."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerListener:
    """A gRPC server's socket. ``name`` is what it asks for; ``mtls``: nothing else is taken."""

    name: str
    address: str
    port: int
    mtls: bool
