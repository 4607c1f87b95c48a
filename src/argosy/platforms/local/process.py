"""Processes inside a pod's namespaces.

``start`` forks from a thread that has entered the namespaces, so the child simply inherits them:
no helper program, no code between fork and exec. Nothing here restarts or decides.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import termios
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from argosy.platforms.local import linux, logs, mounts, netns, procfs
from argosy.platforms.local.mounts import View

_CLONE_FS = 0x200


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Where a process runs. ``view`` None shows the machine's file system as it is."""

    netns: int
    host_name: str = ""
    view: View | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """What to run. ``env`` is the complete environment; ``log`` takes stdout and stderr."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str = "/"
    log: Path | None = None


class StartError(Exception):
    """The program could not be started; the text says why."""


@dataclass(slots=True)
class Process:
    """A started process, leader of its own session."""

    popen: "subprocess.Popen[bytes]"
    _pidfd: int = field(default=-1)
    _ended: "asyncio.Future[int] | None" = None

    def __post_init__(self) -> None:
        self._pidfd = os.pidfd_open(self.popen.pid)

    @property
    def pid(self) -> int:
        return self.popen.pid

    async def wait(self) -> int:
        """Its exit code, 128 + n when signal n ended it; the rest of its session is killed.

        Several may wait at once.
        """
        if self._ended is None:
            loop = asyncio.get_running_loop()
            self._ended = loop.create_future()
            loop.add_reader(self._pidfd, self._reap, loop)
        return await asyncio.shield(self._ended)

    def _reap(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._ended is not None
        loop.remove_reader(self._pidfd)
        code = self.popen.wait()
        kill_session(self.pid)
        os.close(self._pidfd)
        self._pidfd = -1
        self._ended.set_result(code if code >= 0 else 128 - code)

    def signal(self, number: int) -> None:
        """Send a signal; no error when it has ended."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    async def stop(self, grace_seconds: float) -> int:
        """SIGTERM, and SIGKILL after ``grace_seconds``; returns the exit code."""
        self.signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                return await self.wait()
        self.signal(signal.SIGKILL)
        return await self.wait()


async def readable(fd: int) -> None:
    """Wait until the descriptor can be read."""
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    loop.add_reader(fd, event.set)
    try:
        await event.wait()
    finally:
        loop.remove_reader(fd)


def start(sandbox: Sandbox, command: Command) -> Process:
    """Start the program in the pod's namespaces. Raises StartError. Blocks a few milliseconds."""

    def enter() -> None:
        linux.setns(sandbox.netns, linux.CLONE_NEWNET)
        if sandbox.host_name:
            linux.unshare(linux.CLONE_NEWUTS)
            linux.set_host_name(sandbox.host_name)
        if sandbox.view is not None:
            mounts.apply(sandbox.view)

    fd = logs.open_log(command.log) if command.log else os.open("/dev/null", os.O_WRONLY)
    try:
        return Process(_start(enter, command, (subprocess.DEVNULL, fd, fd)))
    except mounts.MountError as error:
        raise StartError(str(error)) from error
    finally:
        os.close(fd)


def start_beside(
    pid: int, command: Command, stdio: Sequence[int], *, controlling_terminal: bool = False
) -> Process:
    """Start a program in the network, host name and file system of the running process ``pid``.

    ``stdio`` are its standard input, output and error. With ``controlling_terminal`` its standard
    input, a terminal, becomes that of its session. Raises StartError.
    """
    kinds = {
        "net": linux.CLONE_NEWNET,
        "uts": linux.CLONE_NEWUTS,
        "mnt": linux.CLONE_NEWNS,
    }
    opened: list[int] = []
    there = procfs.path(pid)
    try:
        for name in kinds:
            opened.append(os.open(there / "ns" / name, os.O_RDONLY | os.O_CLOEXEC))
        opened.append(os.open(there / "root", os.O_PATH | os.O_CLOEXEC))

        def enter() -> None:
            linux.unshare(_CLONE_FS)
            for fd, kind in zip(opened, kinds.values(), strict=False):
                linux.setns(fd, kind)
            os.fchdir(opened[-1])
            os.chroot(".")

        return Process(
            _start(enter, command, stdio, _take_terminal if controlling_terminal else None)
        )
    except FileNotFoundError as error:
        raise StartError("the container is not running") from error
    finally:
        for fd in opened:
            os.close(fd)


def _start(
    enter: Callable[[], None],
    command: Command,
    stdio: Sequence[int],
    before_exec: Callable[[], None] | None = None,
) -> "subprocess.Popen[bytes]":
    def fork() -> "subprocess.Popen[bytes]":
        enter()
        stdin, stdout, stderr = stdio
        return subprocess.Popen(
            command.argv,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=command.env,
            cwd=command.cwd,
            start_new_session=True,
            preexec_fn=before_exec,
        )

    try:
        return netns.in_thread(fork)
    except FileNotFoundError as error:
        missing = "working directory" if error.filename == command.cwd else "program"
        raise StartError(f"{missing} {error.filename} not found") from error
    except OSError as error:
        raise StartError(f"cannot run {command.argv[0]}: {error.strerror or error}") from error


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def kill_session(leader: int) -> None:
    """SIGKILL to every process of the session, as when a container's first process ends."""
    for pid in procfs.pids():
        with contextlib.suppress(OSError):
            if os.getsid(pid) == leader:
                os.kill(pid, signal.SIGKILL)


def kill_namespace(netns_fd: int) -> None:
    """SIGKILL to every process in the network namespace, also those that left their session."""
    inode = os.fstat(netns_fd).st_ino
    _kill_where(lambda there: there == inode)


def kill_other_namespaces() -> None:
    """SIGKILL to every process that is in another network namespace than this one."""
    own = os.stat("/proc/self/ns/net").st_ino
    _kill_where(lambda there: there != own)


def _kill_where(condemned: Callable[[int], bool]) -> None:
    for pid in procfs.pids():
        with contextlib.suppress(OSError):
            if condemned((procfs.path(pid) / "ns" / "net").stat().st_ino):
                os.kill(pid, signal.SIGKILL)
