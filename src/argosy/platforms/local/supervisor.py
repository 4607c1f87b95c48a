"""Pid 1 of a mesh: brings up its network, runs the control plane and the node, reaps orphans.

It keeps its children running (with backoff), so the death of one never ends the others, and with
them the data plane. When it ends, the kernel ends everything else. It is one thread and one loop.
"""

import contextlib
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog

from argosy.platforms.local import linux, logs, network, outside
from argosy.platforms.local.backoff import Backoff
from argosy.platforms.local.state import Published

PUBLISHED_ENVIRONMENT = "ARGOSY_PUBLISHED"
FAILED_EXIT_CODE = 3
_START_ATTEMPTS = 3
_POLL_SECONDS = 0.02
_LOG_CHECK_SECONDS = 5.0
_log = structlog.get_logger()


class ChildSpec(msgspec.Struct, frozen=True):
    """A process that pid 1 keeps running.

    ``ready_socket`` is the UNIX socket on which it answers when it is ready. ``outside``: it
    inherits a channel of its own for sockets of the host. ``published``: it inherits the published
    listening sockets.
    ``descriptors`` are further ones that it inherits. One that is not ``essential`` is started
    when the others are ready: the mesh neither waits for it nor fails with it.
    """

    name: str
    argv: tuple[str, ...]
    log: str
    ready_socket: str = ""
    outside: bool = False
    published: bool = False
    descriptors: tuple[int, ...] = ()
    stop_seconds: float = 5.0
    essential: bool = True


class PublishedSocket(msgspec.Struct, frozen=True):
    """A listening socket of the host, by its descriptor number, and where it leads."""

    fd: int
    published: Published


@dataclass(slots=True)
class _Child:
    spec: ChildSpec
    backoff: Backoff = field(
        default_factory=lambda: Backoff(initial=0.2, maximum=10, reset_after=60)
    )
    process: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0
    start_at: float = 0.0
    failures: int = 0
    ready: bool = False
    kill_at: float | None = None


class Supervisor:
    """Runs ``children`` until told to stop; ``run`` returns the exit code of the mesh.

    ``channels`` are descriptors by the name of the child that asks on them.
    """

    def __init__(
        self,
        children: tuple[ChildSpec, ...],
        *,
        guard_fd: int,
        report_fd: int,
        channels: Mapping[str, int],
        published: tuple[PublishedSocket, ...] = (),
    ) -> None:
        self._children = [_Child(spec) for spec in children]
        self._guard_fd = guard_fd
        self._report_fd = report_fd
        self._channels = channels
        self._published = published
        self._stopping = False
        self._reported = False
        self._next_log_check = 0.0
        self._exit_code: int | None = None
        self._wake_fd = -1

    def run(self) -> int:
        """Keep the children running until a signal. Raises OSError when the network fails."""
        self._wake_fd = _wake_on_signals()
        linux.set_host_name("argosy")
        network.create_bridge()
        while self._exit_code is None:
            self._step()
        return self._exit_code

    def _step(self) -> None:
        now = time.monotonic()
        if not self._stopping:
            for child in self._children:
                may_start = child.spec.essential or self._reported
                if may_start and child.process is None and now >= child.start_at:
                    self._start(child, now)
        else:
            self._stop_next(now)
            if self._exit_code is not None:
                return
        if not self._reported:
            self._report_ready()
        if now >= self._next_log_check:
            self._next_log_check = now + _LOG_CHECK_SECONDS
            for child in self._children:
                logs.keep_bounded(Path(child.spec.log))
        readable, _, _ = select.select([self._wake_fd, self._guard_fd], [], [], self._timeout(now))
        if self._guard_fd in readable:
            self._exit_code = 1
            return
        if self._wake_fd in readable:
            for number in os.read(self._wake_fd, 64):
                self._on_signal(number)
        self._reap()

    def _timeout(self, now: float) -> float:
        if not self._reported and not self._stopping:
            return _POLL_SECONDS
        waits = [self._next_log_check]
        waits += [c.start_at for c in self._children if c.process is None and not self._stopping]
        waits += [c.kill_at for c in self._children if c.kill_at is not None and c.process]
        return min(max(min(waits) - now, 0.0), 5.0)

    def _on_signal(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            if self._stopping:
                _log.warning("supervisor.killed")
                self._exit_code = 0
            else:
                _log.info("supervisor.stopping")
                self._stopping = True

    def _start(self, child: _Child, now: float) -> None:
        environment = dict(os.environ)
        descriptors = list(child.spec.descriptors)
        if child.spec.outside:
            channel = self._channels[child.spec.name]
            descriptors.append(channel)
            environment[outside.ENVIRONMENT] = str(channel)
        if child.spec.published:
            descriptors += [p.fd for p in self._published]
            environment[PUBLISHED_ENVIRONMENT] = msgspec.json.encode(self._published).decode()
        log_fd = logs.open_log(Path(child.spec.log))
        try:
            child.process = subprocess.Popen(
                child.spec.argv,
                stdin=subprocess.DEVNULL,
                stdout=log_fd,
                stderr=log_fd,
                env=environment,
                pass_fds=descriptors,
                start_new_session=True,
            )
            child.started = now
        except OSError as error:
            self._ended(child, now, f"did not start: {error}")
        finally:
            os.close(log_fd)

    def _reap(self) -> None:
        """Collect every ended process: own children, and orphans that became children of pid 1."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for child in self._children:
                if child.process is not None and child.process.pid == pid:
                    code = os.waitstatus_to_exitcode(status)
                    child.process.returncode = code
                    self._ended(child, time.monotonic(), f"ended with code {code}")

    def _ended(self, child: _Child, now: float, how: str) -> None:
        ran = now - child.started if child.process is not None else 0.0
        child.process = None
        child.kill_at = None
        if self._stopping:
            return
        child.failures += 1
        delay = child.backoff.after_run(ran)
        child.start_at = now + delay
        _log.warning("supervisor.child.ended", child=child.spec.name, how=how, restart_in=delay)
        if not self._reported and child.spec.essential and child.failures >= _START_ATTEMPTS:
            self._report(f"failed {child.spec.log} {child.spec.name} {how}, again and again")
            self._exit_code = FAILED_EXIT_CODE

    def _stop_next(self, now: float) -> None:
        """Stop the children one after the other, the last first; each within its time."""
        for child in reversed(self._children):
            if child.process is None:
                continue
            if child.kill_at is None:
                child.kill_at = now + child.spec.stop_seconds
                child.process.send_signal(signal.SIGTERM)
            elif now >= child.kill_at:
                _log.warning("supervisor.child.killed", child=child.spec.name)
                child.process.kill()
                child.kill_at = now + 1.0
            return
        self._exit_code = 0

    def _report_ready(self) -> None:
        essential = [child for child in self._children if child.spec.essential]
        for child in essential:
            if not child.ready and child.process is not None:
                path = child.spec.ready_socket
                child.ready = not path or _answers(path)
        if all(child.ready for child in essential):
            self._report("ready")
            self._reported = True

    def _report(self, line: str) -> None:
        with contextlib.suppress(OSError):
            os.write(self._report_fd, f"{line}\n".encode())


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(path) == 0


def _wake_on_signals() -> int:
    """A descriptor on which the number of each arriving signal can be read as a byte."""
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    return read_fd
