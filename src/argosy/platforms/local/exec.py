"""Running a program beside a container's, with the caller's own terminal, pipes or files.

Server and client of ``exec.sock``. The client sends one JSON request, length first, with its
standard input, output and error attached (SCM_RIGHTS); the program uses those directly, nothing is
copied. The server answers with one JSON reply. A client that goes away takes the program with it;
while it runs, the client may send single bytes: each is the number of a signal to pass on.
"""

import asyncio
import contextlib
import fcntl
import hmac
import os
import pty
import select
import signal
import socket
import struct
import termios
import tty
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

import msgspec
import structlog

from argosy.platforms.local import process

_MAX_REQUEST = 1 << 20
_STDIO = 3
log = structlog.get_logger()


class ExecRequest(msgspec.Struct, frozen=True, rename="camel"):
    """``container`` empty is the pod's first; ``terminal``: standard input is a terminal that the
    program may control."""

    token: str
    namespace: str
    pod: str
    argv: tuple[str, ...]
    container: str = ""
    terminal: bool = False


class ExecReply(msgspec.Struct, frozen=True, rename="camel"):
    """``exit_code`` when it ran, else ``error``."""

    exit_code: int = -1
    error: str = ""


class ExecError(Exception):
    """The program could not be run; the text says why."""


Start = Callable[[ExecRequest, tuple[int, ...]], Awaitable[process.Process]]
"""Starts the program on the three descriptors. Raises ExecError or StartError."""


async def serve(listener: socket.socket, token: str, start: Start) -> None:
    """Serve until cancelled."""
    loop = asyncio.get_running_loop()
    listener.setblocking(False)
    async with asyncio.TaskGroup() as tasks:
        while True:
            connection, _ = await loop.sock_accept(listener)
            connection.setblocking(False)
            tasks.create_task(_connection(connection, token, start))


async def _connection(connection: socket.socket, token: str, start: Start) -> None:
    loop = asyncio.get_running_loop()
    with connection:
        try:
            async with asyncio.timeout(10):
                request, fds = await _receive(connection)
            try:
                reply = await _run(connection, request, fds, token, start)
            finally:
                for fd in fds:
                    os.close(fd)
            await loop.sock_sendall(connection, msgspec.json.encode(reply))
        except (OSError, TimeoutError, msgspec.DecodeError) as error:
            log.debug("exec.dropped", error=str(error))


async def _receive(connection: socket.socket) -> tuple[ExecRequest, tuple[int, ...]]:
    await process.readable(connection.fileno())
    received, fds, _, _ = socket.recv_fds(connection, _MAX_REQUEST, _STDIO)
    try:
        while len(received) < 4 or len(received) < 4 + struct.unpack("!I", received[:4])[0]:
            more = await asyncio.get_running_loop().sock_recv(connection, _MAX_REQUEST)
            if not more or len(received) > _MAX_REQUEST:
                raise OSError("the request is not complete")
            received += more
        return msgspec.json.decode(received[4:], type=ExecRequest), tuple(fds)
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise


async def _run(
    connection: socket.socket,
    request: ExecRequest,
    fds: tuple[int, ...],
    token: str,
    start: Start,
) -> ExecReply:
    if not hmac.compare_digest(request.token.encode(), token.encode()):
        return ExecReply(error="the token is not this mesh's: read it from admin.token")
    if len(fds) != _STDIO or not request.argv:
        return ExecReply(error="an exec request has a command and three descriptors")
    try:
        started = await start(request, fds)
    except (ExecError, process.StartError) as error:
        return ExecReply(error=str(error))
    async with asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(_pass_signals(connection, started))
        try:
            return ExecReply(exit_code=await started.wait())
        except asyncio.CancelledError:
            process.kill_session(started.pid)
            raise
        finally:
            listening.cancel()


async def _pass_signals(connection: socket.socket, started: process.Process) -> None:
    loop = asyncio.get_running_loop()
    while received := await loop.sock_recv(connection, 16):
        for number in received:
            started.signal(number)
    process.kill_session(started.pid)


def run(
    path: Path,
    token: str,
    namespace: str,
    pod: str,
    argv: Sequence[str],
    *,
    container: str | None = None,
) -> int:
    """The client: run the program with this process's streams and return its exit code; blocks.

    Interrupts and terminations of the caller are passed on to the program meanwhile; with a
    terminal on both ends the program gets a terminal of its own. Raises ExecError.
    """
    terminal = os.isatty(0) and os.isatty(1)
    request = ExecRequest(
        token=token,
        namespace=namespace,
        pod=pod,
        argv=tuple(argv),
        container=container or "",
        terminal=terminal,
    )
    with socket.socket(socket.AF_UNIX) as connection:
        if terminal:
            reply = _run_in_terminal(connection, path, request)
        else:
            _send(connection, path, request, (0, 1, 2))
            with _signals_to(connection):
                reply = b""
                while chunk := connection.recv(65536):
                    reply += chunk
    if not reply:
        raise ExecError("the mesh ended while the command ran")
    answer = msgspec.json.decode(reply, type=ExecReply)
    if answer.error:
        raise ExecError(answer.error)
    return answer.exit_code


def _send(
    connection: socket.socket, path: Path, request: ExecRequest, stdio: tuple[int, int, int]
) -> None:
    try:
        connection.connect(str(path))
        body = msgspec.json.encode(request)
        socket.send_fds(connection, [struct.pack("!I", len(body)) + body], stdio)
    except (FileNotFoundError, ConnectionError) as error:
        raise ExecError(f"no mesh answers on {path}: is `argosy up` running?") from error


def _run_in_terminal(connection: socket.socket, path: Path, request: ExecRequest) -> bytes:
    """Give the program a pseudo-terminal, and copy between it and the caller's own terminal."""
    master, slave = pty.openpty()
    before = termios.tcgetattr(0)

    def resize(*_: object) -> None:
        size = fcntl.ioctl(1, termios.TIOCGWINSZ, bytes(8))
        fcntl.ioctl(master, termios.TIOCSWINSZ, size)

    resize()
    previous = signal.signal(signal.SIGWINCH, resize)
    try:
        _send(connection, path, request, (slave, slave, slave))
        os.close(slave)
        tty.setraw(0, termios.TCSADRAIN)  # What was typed ahead is for the program.
        return _copy_terminal(connection, master)
    finally:
        termios.tcsetattr(0, termios.TCSAFLUSH, before)
        signal.signal(signal.SIGWINCH, previous)
        os.close(master)


def _copy_terminal(connection: socket.socket, master: int) -> bytes:
    """Until the reply has come and the terminal is empty; returns the reply."""
    reply = b""
    watched: list[int | socket.socket] = [0, master, connection]
    while master in watched or connection in watched:
        readable, _, _ = select.select(watched, [], [])
        if master in readable:
            try:
                output = os.read(master, 65536)
            except OSError:  # EIO: the last process has closed its end
                output = b""
            if output:
                os.write(1, output)
            else:
                watched.remove(master)
        if 0 in readable:
            typed = os.read(0, 4096)
            if typed:
                os.write(master, typed)
            else:
                watched.remove(0)
        if connection in readable:
            chunk = connection.recv(65536)
            reply += chunk
            if not chunk:
                watched.remove(connection)
    return reply


@contextlib.contextmanager
def _signals_to(connection: socket.socket) -> Iterator[None]:
    def send(number: int, _: FrameType | None) -> None:
        with contextlib.suppress(OSError):
            connection.send(bytes((number,)))

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, send) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
