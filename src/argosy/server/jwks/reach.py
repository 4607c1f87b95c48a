"""What the control plane reaches, and how it is told why keys are not there. Imports little."""

import asyncio
import socket
from typing import Protocol


class FetchError(Exception):
    """There are no keys from a place now; the text says why, for the person who named the place."""


class Reach(Protocol):
    """What is reached from here."""

    async def resolve(self, host: str) -> tuple[str, ...]:
        """The addresses of a name. Raises OSError when it has none."""
        ...

    async def dial(self, address: str, port: int) -> socket.socket:
        """A connected, non-blocking socket. Raises OSError."""
        ...


class SystemReach:
    """As any program: the system's names and network."""

    async def resolve(self, host: str) -> tuple[str, ...]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return tuple(dict.fromkeys(str(where[0]) for *_, where in found))

    async def dial(self, address: str, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (address, port))
        except BaseException:
            sock.close()
            raise
        return sock
