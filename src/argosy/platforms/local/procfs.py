"""``/proc`` by the process numbers of this pid namespace, whatever namespace it is mounted for.

Usually a mesh mounts a fresh ``/proc``; where the kernel forbids it, the outer one shows outer
numbers, and the last field of ``NSpid`` says which process is meant.
"""

import contextlib
import functools
import os
from pathlib import Path

LISTEN = "0A"
ESTABLISHED = "01"


@functools.cache
def is_own() -> bool:
    """Whether ``/proc`` shows this pid namespace."""
    return Path("/proc/self").readlink().name == str(os.getpid())


def path(pid: int) -> Path:
    """The directory of the process; it does not exist when the process does not."""
    if is_own():
        return Path("/proc", str(pid))
    return _outer().get(pid, Path("/proc/none"))


def pids() -> list[int]:
    """All processes of this pid namespace."""
    if is_own():
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return list(_outer())


def tcp_sockets(pid: int) -> list[tuple[int, str, str]]:
    """Local port, remote address (hexadecimal) and state of each TCP socket of its namespace."""
    found = []
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (path(pid) / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                port = int(fields[1].rpartition(":")[2], 16)
                found.append((port, fields[2].rpartition(":")[0], fields[3]))
    return found


def _outer() -> dict[int, Path]:
    own = os.readlink("/proc/self/ns/pid")
    found = {}
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, StopIteration):
            if name.isdigit() and os.readlink(f"/proc/{name}/ns/pid") == own:
                status = Path("/proc", name, "status").read_text().splitlines()
                line = next(line for line in status if line.startswith("NSpid:"))
                found[int(line.split()[-1])] = Path("/proc", name)
    return found
