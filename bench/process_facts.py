"""What a process has used, read from /proc: CPU time of all its threads and its memory.

Imports nothing of Argosy: the load generator runs it inside workloads.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """``cpu`` in seconds (user and system), ``rss`` and ``anonymous`` in bytes."""

    cpu: float
    rss: int
    anonymous: int


def usage(pid: int) -> Usage:
    """Raises ``OSError`` when there is no such process."""
    status = _fields(Path(f"/proc/{pid}/status").read_text())
    return Usage(cpu_seconds(pid), _kilobytes(status["VmRSS"]), _kilobytes(status["RssAnon"]))


def cpu_seconds(pid: int) -> float:
    """utime + stime of the threads that live now.

    The scheduler's count in nanoseconds where the kernel has it, else clock ticks of 10 ms.
    """
    total = 0
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                total += int((thread / "schedstat").read_text().split()[0])
    except (OSError, ValueError):
        total = 0
    return total / 1e9 if total else ticks(Path(f"/proc/{pid}/stat").read_text()) / _TICK


def ticks(stat: str) -> int:
    """utime + stime from the text of /proc/PID/stat (proc(5)); the name may hold anything."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def find(program: str, argument: str) -> list[int]:
    """The processes of this program, by process id, that have ``argument`` in their command line
    or in their working directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            argv = [os.fsdecode(part) for part in (entry / "cmdline").read_bytes().split(b"\0")]
            if argv[0].rpartition("/")[2] == program and any(
                argument in text for text in (*argv[1:], os.readlink(entry / "cwd"))
            ):
                found.append(int(entry.name))
    return sorted(found)


def machine_busy() -> float:
    """Seconds that all processors together have been busy since the start (proc(5), /proc/stat)."""
    user, nice, system, _idle, _iowait, irq, softirq, steal, *_ = (
        int(field) for field in Path("/proc/stat").read_text().partition("\n")[0].split()[1:]
    )
    return (user + nice + system + irq + softirq + steal) / _TICK


def _fields(text: str) -> dict[str, str]:
    return {
        key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())
    }


def _kilobytes(value: str) -> int:
    return int(value.split()[0]) * 1024
