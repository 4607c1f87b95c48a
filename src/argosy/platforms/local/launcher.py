"""Starting and stopping a mesh from the machine's side.

``launch`` returns when the control plane and the node answer. A mesh in the foreground ends with
the process that launched it, by whatever signal; a detached one goes on until ``stop``.
"""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from argosy.platforms.local import linux, logs, network
from argosy.platforms.local.enter import EnterSpec
from argosy.platforms.local.state import AlreadyRunningError, MeshDirectory, Published
from argosy.platforms.local.supervisor import ChildSpec, PublishedSocket

ADS_PORT = 15012
MIXER_PORT = 15004
"""Istio's port for Mixer with mutual TLS, as it was."""

METRICS_PORT = 15014
STOP_SECONDS = 30.0
"""How long pods may take, all together, when the mesh is stopped."""


class LaunchError(Exception):
    """The mesh did not start; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Publish:
    """Make a service's port reachable on this machine; ``host_port`` 0 takes a free one."""

    namespace: str
    service: str
    port: int
    host_port: int = 0
    address: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """``authority`` is a directory with Istio's ``cacerts`` files. ``seconds`` bounds the start.

    ``api``: address and port of this machine where the API is served with TLS; port 0 is a free one.
    ``children`` replaces what runs inside (for tests). Without ``mixer`` nothing collects telemetry.
    """

    mesh: str = "default"
    publish: tuple[Publish, ...] = ()
    images: tuple[Path, ...] = ()
    detach: bool = False
    keep_files: bool = False
    seconds: float = 60.0
    log_level: str = "info"
    children: tuple[ChildSpec, ...] | None = None
    authority: Path | None = None
    api: tuple[str, int] | None = None
    mixer: bool = True


@dataclass(slots=True)
class Mesh:
    """A mesh that this process launched."""

    directory: MeshDirectory
    published: tuple[Published, ...]
    process: "subprocess.Popen[bytes]"
    _lifeline: int

    def wait(self, seconds: float | None = None) -> int | None:
        """Its exit code once it has ended; None when it still runs after ``seconds``."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, seconds: float = STOP_SECONDS + 10) -> None:
        """End it gracefully; what remains after ``seconds`` is killed. Returns when it is gone."""
        self.process.send_signal(signal.SIGTERM)
        if self.wait(seconds) is None:
            self.kill()
        self._close()

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()
        self._close()

    def _close(self) -> None:
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1


def launch(options: LaunchOptions) -> Mesh:
    """Start a mesh and wait until it answers.

    Raises AlreadyRunningError, MeshNameError, LaunchError. Files that a killed run of the same
    name left are removed first. Blocks for a second or so.
    """
    directory = MeshDirectory.of(options.mesh)
    lock_fd = directory.acquire()
    sockets: list[socket.socket] = []
    try:
        keep = {directory.store.name, directory.authority.name} if options.keep_files else set()
        directory.clear(frozenset(keep))
        published = []
        for wanted in options.publish:
            what = f"service {wanted.namespace}/{wanted.service}"
            listener = _listen(wanted.address, wanted.host_port, what)
            sockets.append(listener)
            published.append(PublishedSocket(listener.fileno(), _published(wanted, listener)))
        api = None if options.api is None else _listen(*options.api, "the mesh's API")
        if api is not None:
            sockets.append(api)
        return _start(options, directory, lock_fd, tuple(published), api)
    finally:
        os.close(lock_fd)
        for listener in sockets:
            listener.close()


def stop(name: str, seconds: float = STOP_SECONDS + 10) -> bool:
    """End the mesh of this name, whoever launched it; False when none runs. Blocks.

    Files of a run that was killed are removed too. What remains after ``seconds`` is killed.
    """
    directory = MeshDirectory.of(name)
    if not directory.path.is_dir():
        return False
    was_running = directory.is_running()
    if was_running:
        _end(directory, seconds)
    with contextlib.suppress(AlreadyRunningError, FileNotFoundError):
        lock_fd = directory.acquire()
        directory.remove()
        os.close(lock_fd)
    return was_running


def default_children(
    options: LaunchOptions, directory: MeshDirectory, api_fd: int = -1
) -> tuple[ChildSpec, ...]:
    """The control plane, Mixer and the node. The last is stopped first, so Mixer hears the end."""
    api = () if api_fd < 0 else ("--api-fd", str(api_fd))
    mixer = f"{network.GATEWAY}:{MIXER_PORT}"
    common = ("--directory", str(directory.path))
    images = tuple(part for path in options.images for part in ("--images", str(path.absolute())))
    return (
        ChildSpec(
            name="control-plane",
            argv=(
                *(sys.executable, "-m", "argosy.server", *common),
                *("--ads-address", f"{network.GATEWAY}:{ADS_PORT}", *api),
                *("--metrics-address", f"{network.GATEWAY}:{METRICS_PORT}"),
                *(("--ca", str(options.authority.absolute())) if options.authority else ()),
                *(("--mixer",) if options.mixer else ()),
            ),
            descriptors=() if api_fd < 0 else (api_fd,),
            log=str(directory.control_plane_log),
            ready_socket=str(directory.api_socket),
            outside=True,
        ),
        *([_mixer(directory, mixer)] if options.mixer else []),
        ChildSpec(
            name="node",
            argv=(
                *(sys.executable, "-m", "argosy.proxy.node", *common),
                *("--ads-address", f"{network.GATEWAY}:{ADS_PORT}", *images),
                *(("--mixer-address", mixer) if options.mixer else ()),
            ),
            log=str(directory.node_log),
            ready_socket=str(directory.node_socket),
            outside=True,
            published=True,
            stop_seconds=STOP_SECONDS,
        ),
    )


def _mixer(directory: MeshDirectory, address: str) -> ChildSpec:
    return ChildSpec(
        name="mixer",
        argv=(
            *(sys.executable, "-m", "argosy.mixer"),
            *("--directory", str(directory.path), "--address", address),
        ),
        log=str(directory.mixer_log),
        essential=False,
    )


def _start(
    options: LaunchOptions,
    directory: MeshDirectory,
    lock_fd: int,
    published: tuple[PublishedSocket, ...],
    api: socket.socket | None,
) -> Mesh:
    report_read, report_write = os.pipe2(os.O_CLOEXEC)
    lifeline_read, lifeline_write = (-1, -1) if options.detach else os.pipe2(os.O_CLOEXEC)
    children = options.children
    api_fd = -1 if api is None else api.fileno()
    if children is None:
        children = default_children(options, directory, api_fd)
    spec = EnterSpec(
        name=directory.name,
        path=str(directory.path),
        sockets=str(directory.sockets),
        lock_fd=lock_fd,
        report_fd=report_write,
        lifeline_fd=lifeline_read,
        published=published,
        children=children,
        keep_files=options.keep_files,
        api="" if api is None else _api_url(api),
    )
    passed = [lock_fd, report_write, *(p.fd for p in published)]
    if not options.detach:
        passed.append(lifeline_read)
    if api is not None:
        passed.append(api_fd)
    log_fd = logs.open_log(directory.supervisor_log)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "argosy.platforms.local.enter", msgspec.json.encode(spec)],
            stdin=subprocess.DEVNULL,
            stdout=log_fd,
            stderr=log_fd,
            cwd="/",
            pass_fds=passed,
            start_new_session=True,
        )
    finally:
        for fd in (log_fd, report_write, lifeline_read):
            if fd >= 0:
                os.close(fd)
    mesh = Mesh(directory, tuple(p.published for p in published), process, lifeline_write)
    try:
        _wait_ready(report_read, directory, options.seconds)
    except BaseException:
        mesh.kill()
        raise
    finally:
        os.close(report_read)
    record = directory.read_record()
    if record is not None:
        directory.write_record(msgspec.structs.replace(record, ready=True))
    return mesh


def _wait_ready(report_fd: int, directory: MeshDirectory, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    received = b""
    while not received.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([report_fd], [], [], left)[0]:
            raise LaunchError(
                f"the mesh did not answer within {seconds:.0f} s. The control plane says:\n"
                + _indented(logs.tail(directory.control_plane_log))
                + "\nand the node:\n"
                + _indented(logs.tail(directory.node_log))
            )
        chunk = os.read(report_fd, 4096)
        if not chunk:
            raise LaunchError(
                "the mesh ended while it started:\n"
                + _indented(logs.tail(directory.supervisor_log))
            )
        received += chunk
    kind, _, rest = received.decode(errors="replace").strip().partition(" ")
    if kind == "refused":
        raise LaunchError(rest)
    if kind == "failed":
        log, _, what = rest.partition(" ")
        raise LaunchError(f"{what}. The end of {log}:\n{_indented(logs.tail(Path(log)))}")


def _end(directory: MeshDirectory, seconds: float) -> None:
    record = directory.read_record()
    if record is None:
        raise LaunchError(f"mesh {directory.name!r} is just starting: try again in a moment")
    pid = record.pid
    if linux.process_start_time(pid) != record.start_time:
        return
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        if not select.select([pidfd], [], [], seconds)[0]:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            select.select([pidfd], [], [], 5.0)
    finally:
        os.close(pidfd)


def _listen(address: str, port: int, what: str) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
    except OSError as error:
        listener.close()
        raise LaunchError(
            f"cannot listen on {address}:{port} for {what} ({error.strerror}): "
            "choose another port, or 0 for a free one"
        ) from error
    listener.listen(1024)
    return listener


def _api_url(listener: socket.socket) -> str:
    address, port, *_ = listener.getsockname()
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(address, address)
    return f"https://{f'[{host}]' if ':' in host and '[' not in host else host}:{port}"


def _published(wanted: Publish, listener: socket.socket) -> Published:
    return Published(
        wanted.namespace,
        wanted.service,
        wanted.port,
        wanted.address,
        int(listener.getsockname()[1]),
    )


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines()) or "    (nothing)"
