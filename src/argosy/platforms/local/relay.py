"""Copies TCP streams between a listening socket and addresses chosen per connection.

End of stream is passed on in each direction by itself, a reset is passed on as a reset, and a slow
side slows the other: at most one buffer per direction is held.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable

import structlog

_BUFFER_BYTES = 64 * 1024
_CONNECT_SECONDS = 5.0
_MAX_CONNECTIONS = 4096
_RESET = struct.pack("ii", 1, 0)

log = structlog.get_logger()

Dial = Callable[[socket.socket], Awaitable[socket.socket | None]]
"""From an accepted connection to the connected, non-blocking socket it goes to; None refuses."""


async def serve(listener: socket.socket, dial: Dial) -> None:
    """Accept and copy until cancelled. The caller owns ``listener``."""
    loop = asyncio.get_running_loop()
    listener.setblocking(False)
    slots = asyncio.Semaphore(_MAX_CONNECTIONS)
    async with asyncio.TaskGroup() as tasks:
        while True:
            await slots.acquire()
            try:
                accepted, _ = await loop.sock_accept(listener)
            except OSError as error:
                log.warning("relay.accept_failed", error=str(error))
                slots.release()
                await asyncio.sleep(0.1)
                continue
            tasks.create_task(_connection(accepted, dial, slots))


async def _connection(accepted: socket.socket, dial: Dial, slots: asyncio.Semaphore) -> None:
    try:
        with accepted:
            accepted.setblocking(False)
            _send_at_once(accepted)
            try:
                target = await dial(accepted)
            except OSError as error:
                log.debug("relay.connect_failed", error=str(error))
                target = None
            if target is None:
                _reset_on_close(accepted)
                return
            with target:
                _send_at_once(target)
                await _copy_both(accepted, target)
    finally:
        slots.release()


def _send_at_once(sock: socket.socket) -> None:
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def connect(sock: socket.socket, address: tuple[str, int]) -> socket.socket:
    """Connect a socket within a bounded time; closes it on failure. Raises OSError."""
    sock.setblocking(False)
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException as error:
        sock.close()
        if isinstance(error, TimeoutError):
            raise OSError(f"no answer from {address[0]}:{address[1]}") from error
        raise
    return sock


async def _copy_both(one: socket.socket, other: socket.socket) -> None:
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_copy(one, other))
            tasks.create_task(_copy(other, one))
    except* OSError:
        _reset_on_close(one)
        _reset_on_close(other)


async def _copy(source: socket.socket, target: socket.socket) -> None:
    """Copy one direction to its end. Raises OSError when either side breaks."""
    loop = asyncio.get_running_loop()
    buffer = bytearray(_BUFFER_BYTES)
    view = memoryview(buffer)
    while count := await loop.sock_recv_into(source, buffer):
        await loop.sock_sendall(target, view[:count])
    target.shutdown(socket.SHUT_WR)


def _reset_on_close(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
