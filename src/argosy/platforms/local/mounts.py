"""A container's view of the file system: the machine's own, with volumes mounted over it.

``apply`` runs in a thread that has its own mount namespace (and its own root and working
directory), so nothing of it is visible elsewhere, and it all goes with the container's processes.

A mount path that the machine does not have is made without touching the machine: an overlay over
the deepest directory that exists, or, for a path directly under ``/``, a new root of bind mounts.
"""

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from argosy.platforms.local import linux

_LOCKED_FLAGS = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
_RESOLVER_SOCKETS = (
    "/run/systemd/resolve/io.systemd.Resolve",
    "/run/nscd/socket",
    "/run/avahi-daemon/socket",
)
"""Sockets through which the C library would ask the machine's resolver, past the mesh's DNS."""


class MountError(Exception):
    """A volume cannot be mounted here; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Mount:
    """Show ``source`` (a file or directory) at ``target``."""

    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """``keep`` lists directories that the program needs, even where a volume would hide them.

    ``scratch`` is an empty directory for this container's overlays.
    """

    mounts: tuple[Mount, ...] = ()
    files: tuple[Mount, ...] = ()
    keep: tuple[Path, ...] = ()
    scratch: Path | None = None


def apply(view: View) -> None:
    """Give the calling thread its own mount namespace with this view. Raises MountError."""
    try:
        linux.unshare(linux.CLONE_NEWNS)
        linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    except OSError as error:
        raise MountError(f"no mount namespace for the container: {error}") from error
    ordered = sorted(view.mounts, key=lambda m: (m.target.count("/"), m.target))
    with contextlib.ExitStack() as opened:
        # A mount may hide what later ones need: everything is opened before the first.
        kept = _open_kept(view.keep, ordered, opened)
        sources = {m.source: _open(m.source, opened) for m in (*ordered, *view.files)}
        _make_mount_points(ordered, view.scratch)
        for mount in ordered:
            _bind(mount, sources[mount.source])
            _show_kept(mount, kept)
        for file in view.files:
            if Path(file.target).exists():
                _bind(file, sources[file.source])
    for path in _RESOLVER_SOCKETS:
        if Path(path).exists():
            with contextlib.suppress(OSError):
                linux.mount("/dev/null", path, flags=linux.MS_BIND)


def _open(path: Path, opened: contextlib.ExitStack) -> int:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise MountError(f"cannot mount {path}: {error.strerror}") from error
    opened.callback(os.close, fd)
    return fd


def _make_mount_points(mounts: list[Mount], scratch: Path | None) -> None:
    targets: list[str] = []
    overlaid: set[str] = set()
    for mount in mounts:
        target = os.path.normpath(mount.target)
        under_volume = any(target.startswith(f"{t}/") for t in targets)
        targets.append(target)
        if under_volume or Path(target).exists():
            continue
        if scratch is None:
            raise MountError(f"{target} does not exist on this machine")
        base = _deepest_directory(target)
        try:
            if not overlaid:
                linux.mount("tmpfs", str(scratch), "tmpfs", linux.MS_NOSUID | linux.MS_NODEV)
            if base not in overlaid:
                number = len(overlaid)
                overlaid.add(base)
                if base == "/":
                    _new_root(scratch / f"root{number}")
                else:
                    _overlay(base, scratch / str(number))
            _make_point(target, directory=mount.source.is_dir())
        except OSError as error:
            raise MountError(
                f"{target} does not exist on this machine and cannot be made in the container's "
                f"view ({error}): create the directory, or run as root"
            ) from error


def _deepest_directory(target: str) -> str:
    path = Path(target)
    while not path.is_dir():
        path = path.parent
    return str(path)


def _overlay(base: str, scratch: Path) -> None:
    upper, work = scratch / "upper", scratch / "work"
    for directory in (scratch, upper, work):
        directory.mkdir()
    upper.chmod(Path(base).stat().st_mode & 0o7777)
    layers = f"lowerdir={base},upperdir={upper},workdir={work}"
    try:
        linux.mount("overlay", base, "overlay", data=f"{layers},userxattr")
    except OSError:
        linux.mount("overlay", base, "overlay", data=layers)


def _new_root(root: Path) -> None:
    """A root directory that shows every entry of ``/`` and takes new ones; enter it."""
    root.mkdir()
    for entry in Path("/").iterdir():
        there = root / entry.name
        if entry.is_symlink():
            there.symlink_to(entry.readlink())
        elif entry.is_dir():
            there.mkdir()
            linux.mount(str(entry), str(there), flags=linux.MS_BIND | linux.MS_REC)
        elif entry.is_file():
            there.touch()
            linux.mount(str(entry), str(there), flags=linux.MS_BIND)
    os.chroot(root)
    os.chdir("/")


def _make_point(target: str, *, directory: bool) -> None:
    if directory:
        Path(target).mkdir(parents=True, exist_ok=True)
    else:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).touch()


def _bind(mount: Mount, source: int) -> None:
    target = os.path.normpath(mount.target)
    try:
        if not Path(target).exists():
            _make_point(target, directory=stat.S_ISDIR(os.fstat(source).st_mode))
        _bind_fd(source, target)
        if mount.read_only:
            locked = os.statvfs(target).f_flag & _LOCKED_FLAGS
            flags = linux.MS_BIND | linux.MS_REMOUNT | linux.MS_RDONLY | locked
            linux.mount("none", target, flags=flags)
    except OSError as error:
        raise MountError(f"cannot mount a volume on {target}: {error}") from error


def _bind_fd(source: int, target: str) -> None:
    flags = linux.MS_BIND | linux.MS_REC
    linux.mount(f"/proc/thread-self/fd/{source}", target, flags=flags)


def _open_kept(
    keep: tuple[Path, ...], mounts: list[Mount], opened: contextlib.ExitStack
) -> dict[Path, int]:
    """Descriptors of the kept directories that a mount would hide."""
    hidden = {p for p in keep for m in mounts if p != Path(m.target) and p.is_relative_to(m.target)}
    outermost = [p for p in hidden if not any(q != p and p.is_relative_to(q) for q in hidden)]
    return {p: _open(p, opened) for p in outermost if p.exists()}


def _show_kept(mount: Mount, kept: dict[Path, int]) -> None:
    for path, fd in kept.items():
        if not path.is_relative_to(mount.target):
            continue
        try:
            path.mkdir(parents=True, exist_ok=True)
            _bind_fd(fd, str(path))
        except OSError as error:
            raise MountError(
                f"the volume on {mount.target} hides {path}, which the program needs ({error})"
            ) from error
