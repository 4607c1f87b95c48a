"""Where a mesh keeps its files: ``${XDG_STATE_HOME:-~/.local/state}/argosy/NAME``, mode 0700.

A running mesh holds an exclusive flock on ``lock``. The kernel drops it when the last process of
the mesh ends, so a directory without a holder is a leftover, however the mesh ended.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

_SOCKET_PATH_LIMIT = 107
"""Bytes that ``sun_path`` holds besides its final NUL (unix(7))."""
_LONGEST_SOCKET = "mixer.sock"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?")
_LOCK_PATIENCE_SECONDS = 0.5


class MeshNameError(ValueError):
    """The name cannot name a mesh."""


class AlreadyRunningError(Exception):
    """Another process runs a mesh of this name."""


class Published(msgspec.Struct, frozen=True, rename="camel"):
    """A port of this machine that leads to a port of a service in the mesh."""

    namespace: str
    service: str
    port: int
    address: str
    host_port: int

    @property
    def url(self) -> str:
        """As a client on this machine dials it; port 443 is HTTPS by custom."""
        scheme = "https" if self.port == 443 else "http"
        return f"{scheme}://{self.address}:{self.host_port}"


class MeshRecord(msgspec.Struct, frozen=True, rename="camel"):
    """``mesh.json``: what runs. ``pid`` is the outermost process of the mesh, on the host."""

    name: str
    pid: int
    start_time: int
    mode: str
    detached: bool
    gateway: str
    subnet: str
    published: tuple[Published, ...] = ()
    ready: bool = False
    api: str = ""
    """The URL of the API's TLS door; empty without one."""


@dataclass(frozen=True, slots=True)
class MeshDirectory:
    """The layout. ``sockets`` differs from ``path`` only where paths would be too long."""

    name: str
    path: Path
    sockets: Path

    @classmethod
    def of(cls, name: str) -> "MeshDirectory":
        """The directory of the mesh of this name; touches no file. Raises MeshNameError."""
        if not _NAME.fullmatch(name):
            raise MeshNameError(
                f"{name!r} cannot name a mesh: use up to 42 lower-case letters, digits and dashes"
            )
        return cls.at(state_parent() / name)

    @classmethod
    def at(cls, path: Path) -> "MeshDirectory":
        """The layout of this directory, whose last part is the mesh's name; touches no file."""
        sockets = path
        if len(os.fsencode(path / _LONGEST_SOCKET)) > _SOCKET_PATH_LIMIT:
            digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
            sockets = _runtime_parent() / digest
        return cls(path.name, path, sockets)

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def record(self) -> Path:
        return self.path / "mesh.json"

    @property
    def api_socket(self) -> Path:
        return self.sockets / "api.sock"

    @property
    def node_socket(self) -> Path:
        return self.sockets / "node.sock"

    @property
    def exec_socket(self) -> Path:
        return self.sockets / "exec.sock"

    @property
    def mixer_socket(self) -> Path:
        return self.sockets / "mixer.sock"

    @property
    def admin_token(self) -> Path:
        return self.path / "admin.token"

    @property
    def mixer_token(self) -> Path:
        """By which Mixer is known to the control plane."""
        return self.path / "mixer.token"

    @property
    def mixer(self) -> Path:
        """What Mixer keeps."""
        return self.path / "mixer"

    @property
    def tokens(self) -> Path:
        """Digests of the API's other tokens."""
        return self.path / "tokens.json"

    @property
    def store(self) -> Path:
        return self.path / "store.db"

    @property
    def fetched_keys(self) -> Path:
        return self.path / "keys.json"

    @property
    def authority(self) -> Path:
        return self.path / "ca"

    @property
    def certificate_service(self) -> Path:
        """Says where inside the mesh the certificate service listens: host:port."""
        return self.path / "certificate-service"

    @property
    def pods(self) -> Path:
        return self.path / "pods"

    @property
    def supervisor_log(self) -> Path:
        return self.path / "supervisor.log"

    @property
    def control_plane_log(self) -> Path:
        return self.path / "control-plane.log"

    @property
    def mixer_log(self) -> Path:
        return self.path / "mixer.log"

    @property
    def node_log(self) -> Path:
        return self.path / "node.log"

    def pod(self, namespace: str, name: str) -> Path:
        """Envoy's working directory and the logs of one pod."""
        return self.pods / namespace / name

    def acquire(self) -> int:
        """Make the directory, take its lock and return the lock's file descriptor.

        Raises AlreadyRunningError when a mesh of this name runs. Closing every copy of the
        descriptor (exit does) lets go of the lock.
        """
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.chmod(0o700)
        fd = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + _LOCK_PATIENCE_SECONDS
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_same_file(fd, self.lock):
                    return fd
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(fd)
                    raise AlreadyRunningError(self._already_running()) from None
                time.sleep(0.02)
                continue
            os.close(fd)
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def is_running(self) -> bool:
        """Whether some process holds the lock."""
        try:
            fd = os.open(self.lock, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def clear(self, keep: frozenset[str] = frozenset()) -> None:
        """Remove what an earlier run left, but the lock and the entries named in ``keep``."""
        for entry in self.path.iterdir():
            if entry.name not in keep | {self.lock.name}:
                remove_tree(entry)
        if self.sockets != self.path:
            remove_tree(self.sockets)
            self.sockets.parent.mkdir(mode=0o700, exist_ok=True)
            _require_private(self.sockets.parent)
            self.sockets.mkdir(mode=0o700)

    def remove(self) -> None:
        """Remove the directory; the caller holds its lock."""
        if self.sockets != self.path:
            remove_tree(self.sockets)
        remove_tree(self.path)

    def read_record(self) -> MeshRecord | None:
        try:
            return msgspec.json.decode(self.record.read_bytes(), type=MeshRecord)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def write_record(self, record: MeshRecord) -> None:
        write_private(self.record, msgspec.json.format(msgspec.json.encode(record), indent=2))

    def _already_running(self) -> str:
        record = self.read_record()
        pid = f" (pid {record.pid})" if record else ""
        return (
            f"mesh {self.name!r} is already running{pid}: "
            f"stop it with `argosy down --mesh {self.name}`, or start another with --mesh NAME"
        )


def state_parent() -> Path:
    """The directory of all meshes of this user."""
    if override := os.environ.get("ARGOSY_STATE_DIR"):
        return Path(override).absolute()
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "argosy"


def mesh_names() -> tuple[str, ...]:
    """Meshes that have a directory, running or not, sorted."""
    parent = state_parent()
    if not parent.is_dir():
        return ()
    return tuple(sorted(p.name for p in parent.iterdir() if (p / "lock").exists()))


def write_private(path: Path, content: bytes) -> None:
    """Replace the file atomically; only its owner can read it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
    temporary.replace(path)


def private_socket(path: Path) -> socket.socket:
    """A UNIX socket in the place of whatever was there, for its owner only; it does not listen yet."""
    path.unlink(missing_ok=True)
    found = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        found.bind(str(path))
    except OSError:
        found.close()
        raise
    finally:
        os.umask(before)
    return found


def remove_tree(path: Path) -> None:
    """Remove a file or directory, also where overlayfs left directories of mode 000."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return

    def retry(function: Callable[..., Any], name: str, error: Any) -> None:
        if issubclass(error[0], FileNotFoundError):
            return
        with contextlib.suppress(OSError):
            Path(name).chmod(0o700)
        Path(name).parent.chmod(0o700)
        if function is os.unlink:
            Path(name).unlink(missing_ok=True)
        else:
            shutil.rmtree(name, ignore_errors=True)

    shutil.rmtree(path, onerror=retry)


def _runtime_parent() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and len(runtime) < 60 and os.access(runtime, os.W_OK):
        return Path(runtime) / "argosy"
    return Path("/tmp") / f"argosy-{os.geteuid()}"


def _require_private(path: Path) -> None:
    status = path.lstat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise PermissionError(f"{path} belongs to somebody else or is open to others: remove it")


def _is_same_file(fd: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(fd)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
