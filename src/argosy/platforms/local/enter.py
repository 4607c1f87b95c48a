"""``python -m argosy.platforms.local.enter SPEC``: the outermost process of a mesh.

It enters the user namespace, makes pid 1 of the mesh (``supervisor``), and stays in the machine's
network to hand sockets in (``outside``). It ends with pid 1 and then removes the mesh's files;
pid 1 dies with it, and both die with the launcher unless the mesh is detached.
"""

import contextlib
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import structlog

from argosy.base import log
from argosy.platforms.local import isolation, linux, network, outside
from argosy.platforms.local.state import MeshDirectory, MeshRecord
from argosy.platforms.local.supervisor import (
    FAILED_EXIT_CODE,
    ChildSpec,
    PublishedSocket,
    Supervisor,
)

_log = structlog.get_logger()


class EnterSpec(msgspec.Struct, frozen=True):
    """What the launcher hands over; ``*_fd`` are inherited descriptors.

    ``api`` is the URL of the API's TLS door, if there is one.
    ``lifeline_fd`` reads end-of-file when the launcher is gone; -1 when detached.
    """

    name: str
    path: str
    sockets: str
    lock_fd: int
    report_fd: int
    lifeline_fd: int
    published: tuple[PublishedSocket, ...]
    children: tuple[ChildSpec, ...]
    keep_files: bool
    api: str = ""

    @property
    def directory(self) -> MeshDirectory:
        return MeshDirectory(self.name, Path(self.path), Path(self.sockets))


def main() -> int:
    log.configure()
    spec = msgspec.json.decode(sys.argv[1], type=EnterSpec)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        mode = isolation.enter_outer()
    except isolation.IsolationError as error:
        os.write(spec.report_fd, f"refused {error}\n".encode())
        return FAILED_EXIT_CODE
    spec.directory.write_record(_record(spec, mode))
    pairs = {
        child.name: socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for child in spec.children
        if child.outside
    }
    guard_read, guard_write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(guard_write)
        for ours, _ in pairs.values():
            ours.close()
        channels = {name: theirs.fileno() for name, (_, theirs) in pairs.items()}
        os._exit(_pid_one(spec, guard_read, channels))
    os.close(guard_read)
    for _, theirs in pairs.values():
        theirs.close()
    os.close(spec.report_fd)
    code = _attend(pid, spec.lifeline_fd, [ours for ours, _ in pairs.values()])
    if code != FAILED_EXIT_CODE and not spec.keep_files:
        spec.directory.remove()
    return code


def _pid_one(spec: EnterSpec, guard_fd: int, channels: Mapping[str, int]) -> int:
    try:
        linux.die_with_parent(signal.SIGKILL)
        if spec.lifeline_fd >= 0:
            os.close(spec.lifeline_fd)
        isolation.enter_inner()
        return Supervisor(
            spec.children,
            guard_fd=guard_fd,
            report_fd=spec.report_fd,
            channels=channels,
            published=spec.published,
        ).run()
    except isolation.IsolationError as error:
        os.write(spec.report_fd, f"refused {error}\n".encode())
    except Exception as error:  # noqa: BLE001  (the last frame of pid 1: it is reported)
        _log.exception("supervisor.failed")
        with contextlib.suppress(OSError):
            os.write(spec.report_fd, f"failed {spec.path}/supervisor.log {error}\n".encode())
    return FAILED_EXIT_CODE


def _attend(pid: int, lifeline_fd: int, channels: Sequence[socket.socket]) -> int:
    """Serve pid 1 and pass signals on to it until it ends; returns its exit code."""
    pidfd = os.pidfd_open(pid)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: signal.pidfd_send_signal(pidfd, received))
    watched: list[int | socket.socket] = [pidfd, *channels]
    if lifeline_fd >= 0:
        watched.append(lifeline_fd)
    while True:
        readable, _, _ = select.select(watched, [], [])
        if pidfd in readable:
            _, status = os.waitpid(pid, 0)
            return max(os.waitstatus_to_exitcode(status), 0)
        if lifeline_fd in readable:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            watched.remove(lifeline_fd)
        for channel in channels:
            if channel in readable and not outside.answer(channel):
                watched.remove(channel)


def _record(spec: EnterSpec, mode: str) -> MeshRecord:
    return MeshRecord(
        name=spec.name,
        pid=os.getpid(),
        start_time=linux.process_start_time(os.getpid()) or 0,
        mode=mode,
        detached=spec.lifeline_fd < 0,
        gateway=network.GATEWAY,
        subnet=str(network.SUBNET),
        published=tuple(p.published for p in spec.published),
        api=spec.api,
    )


if __name__ == "__main__":
    sys.exit(main())
