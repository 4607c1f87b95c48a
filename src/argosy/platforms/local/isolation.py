"""The namespaces around a mesh: user (when needed) and pid first, the others in the new process.

As root no user namespace is made; without root, or when root lacks the capabilities (a
container), the user's own id becomes root of a user namespace with that one id mapped.
"""

import errno
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from argosy.platforms.local import linux

_CAP_NET_ADMIN = 12
_CAP_SYS_ADMIN = 21
_SYSCTLS = (
    "kernel/unprivileged_userns_clone",
    "kernel/apparmor_restrict_unprivileged_userns",
    "user/max_user_namespaces",
    "user/max_net_namespaces",
)


class IsolationError(Exception):
    """This machine does not let this user make the namespaces; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a mesh needs of the machine. ``advice``: what to do when it is not there."""

    name: str
    ok: bool
    detail: str
    advice: str = ""


def probe() -> tuple[Finding, ...]:
    """Try everything that a mesh needs, in namespaces that are gone afterwards. Takes 0.3 s."""
    command = [sys.executable, "-m", "argosy.platforms.local.selftest"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=30, check=True, cwd="/")
        return msgspec.json.decode(done.stdout, type=tuple[Finding, ...])
    except subprocess.CalledProcessError as error:
        words = error.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        return (Finding("namespaces", False, words or "the self-test ended early"),)
    except (subprocess.TimeoutExpired, msgspec.DecodeError) as error:
        return (Finding("namespaces", False, str(error)),)


def enter_outer() -> str:
    """Become able to make namespaces; the next child is pid 1 of a new pid namespace.

    Returns the mode, ``root`` or ``rootless``. The process must have a single thread.
    Raises IsolationError.
    """
    try:
        if _has_capabilities():
            linux.unshare(linux.CLONE_NEWPID)
            return "root"
        uid, gid = os.geteuid(), os.getegid()
        linux.unshare(linux.CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
        linux.unshare(linux.CLONE_NEWPID)
    except OSError as error:
        raise IsolationError(advice(error, _sysctls())) from error
    return "rootless"


def enter_inner() -> None:
    """Give this process its own network, mounts, host name and IPC. Raises IsolationError.

    A fresh ``/proc`` is mounted when the kernel allows it; where parts of ``/proc`` are masked, as
    in a container, it does not, and the outer one stays (process numbers there are the outer
    ones, nothing else changes).
    """
    kinds = linux.CLONE_NEWNET | linux.CLONE_NEWNS | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC
    try:
        linux.unshare(kinds)
        linux.mount("none", "/", flags=linux.MS_REC | linux.MS_SLAVE)
    except OSError as error:
        raise IsolationError(advice(error, _sysctls())) from error
    try:
        flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
        linux.mount("proc", "/proc", "proc", flags)
    except OSError:
        return


def advice(error: OSError, sysctls: Mapping[str, str]) -> str:
    """What to tell the user when a namespace was refused. Pure."""
    start = f"this machine does not allow the namespaces that a mesh lives in ({error.strerror}): "
    if sysctls.get("kernel/unprivileged_userns_clone") == "0":
        return start + (
            "unprivileged user namespaces are off. "
            "Run `sudo sysctl -w kernel.unprivileged_userns_clone=1`, or run argosy as root"
        )
    if sysctls.get("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return start + (
            "AppArmor restricts unprivileged user namespaces. "
            "Run `sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or run argosy as "
            "root"
        )
    for key, name in (("user", "user"), ("net", "network")):
        if sysctls.get(f"user/max_{key}_namespaces") == "0" or error.errno == errno.ENOSPC:
            limit = sysctls.get(f"user/max_{key}_namespaces", "unknown")
            if error.errno == errno.ENOSPC or limit == "0":
                return start + (
                    f"the limit of {name} namespaces (user.max_{key}_namespaces = {limit}) is "
                    f"reached. Run `sudo sysctl -w user.max_{key}_namespaces=15000`, or run argosy "
                    "as root"
                )
    return start + (
        "inside a container, start it with `--security-opt seccomp=unconfined --cap-add "
        "SYS_ADMIN --cap-add NET_ADMIN`; otherwise run argosy as root"
    )


def _has_capabilities() -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            effective = int(line.split()[1], 16)
            return all(effective >> bit & 1 for bit in (_CAP_NET_ADMIN, _CAP_SYS_ADMIN))
    return False


def _sysctls() -> dict[str, str]:
    values = {}
    for key in _SYSCTLS:
        try:
            values[key] = Path("/proc/sys", key).read_text().strip()
        except OSError:
            continue
    return values
