"""Sockets of the machine's own network, for processes inside the mesh.

The mesh's network namespace has no way out. The process that stays outside makes sockets on
request and passes them in; a socket belongs to the namespace where it was made, so its user then
connects from there. Wire: one byte asking (``t`` TCP, ``u`` UDP, upper case for IPv6), answered by
one byte with the descriptor attached, or ``!`` with none.
"""

import os
import socket
import threading

ENVIRONMENT = "ARGOSY_OUTSIDE_FD"
_KINDS = {
    b"t": (socket.AF_INET, socket.SOCK_STREAM),
    b"u": (socket.AF_INET, socket.SOCK_DGRAM),
    b"T": (socket.AF_INET6, socket.SOCK_STREAM),
    b"U": (socket.AF_INET6, socket.SOCK_DGRAM),
}


def answer(channel: socket.socket) -> bool:
    """Serve one request that is waiting on the channel; False when the other side is gone."""
    try:
        request = channel.recv(1)
    except OSError:
        return False
    if not request:
        return False
    try:
        with socket.socket(*_KINDS[request]) as made:
            socket.send_fds(channel, [request], [made.fileno()])
    except (OSError, KeyError):
        channel.send(b"!")
    return True


class OutsideError(OSError):
    """The process outside does not answer, or could not make the socket."""


class Outside:
    """The inside end: makes sockets of the machine's network. Calls block for microseconds."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._lock = threading.Lock()

    @classmethod
    def from_environment(cls) -> "Outside | None":
        """The channel that the supervisor passed to this process, if it did."""
        fd = os.environ.get(ENVIRONMENT)
        return cls(socket.socket(fileno=int(fd))) if fd else None

    def open(
        self,
        kind: socket.SocketKind = socket.SOCK_STREAM,
        family: socket.AddressFamily = socket.AF_INET,
    ) -> socket.socket:
        """A fresh, blocking socket of the machine's network. Raises OutsideError."""
        request = next(code for code, value in _KINDS.items() if value == (family, kind))
        with self._lock:
            self._channel.settimeout(5.0)
            self._channel.send(request)
            _, fds, _, _ = socket.recv_fds(self._channel, 1, 1)
        if not fds:
            raise OutsideError(f"no {family.name} {kind.name} socket of the machine's network")
        return socket.socket(fileno=fds[0])
