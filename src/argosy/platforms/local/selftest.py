"""``python -m argosy.platforms.local.selftest``: what this machine allows, as JSON findings.

Makes the namespaces of a mesh, tries in them what a mesh does, and ends.
"""

import os
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.nftables.main import NFTables

from argosy.platforms.local import isolation, linux, mounts, netns, network
from argosy.platforms.local.isolation import Finding

_INET = 1


def main() -> int:
    try:
        mode = isolation.enter_outer()
    except isolation.IsolationError as error:
        return _print([Finding("namespaces", False, "refused", str(error))])
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_fd)
        with os.fdopen(write_fd, "wb") as report:
            report.write(msgspec.json.encode(_inside(mode)))
        os._exit(0)
    os.close(write_fd)
    with os.fdopen(read_fd, "rb") as report:
        findings = msgspec.json.decode(report.read() or b"[]", type=list[Finding])
    os.waitpid(pid, 0)
    return _print(findings or [Finding("namespaces", False, "the new process ended early")])


def _print(findings: list[Finding]) -> int:
    sys.stdout.buffer.write(msgspec.json.encode(findings))
    return 0


def _inside(mode: str) -> list[Finding]:
    try:
        isolation.enter_inner()
    except isolation.IsolationError as error:
        return [Finding("namespaces", False, "refused", str(error))]
    how = "as root" if mode == "root" else "in a user namespace, without root"
    return [
        Finding("namespaces", True, f"network, process and mount namespaces work {how}"),
        _try(
            "bridge and links",
            _network,
            "a bridge and a veth pair work",
            "Load the kernel modules: sudo modprobe -a bridge veth",
        ),
        _try(
            "traffic capture",
            _capture,
            "nftables redirection works",
            "Load the kernel modules: sudo modprobe -a nf_tables nft_nat nft_redir nft_chain_nat",
        ),
        _try("socket marks", _mark, "SO_MARK works", "The kernel must let the mesh set SO_MARK."),
        _try(
            "volumes",
            _volumes,
            "mount paths that this machine does not have can be shown",
            "Without overlayfs, a volume's mount path must exist on this machine.",
        ),
    ]


def _try(name: str, action: Callable[[], None], detail: str, advice: str) -> Finding:
    try:
        action()
    except (OSError, NetlinkError, mounts.MountError) as error:
        return Finding(name, False, str(error), advice)
    return Finding(name, True, detail)


def _network() -> None:
    network.create_bridge()
    made = netns.create()
    network.attach(made, "selftest", "10.244.0.2")
    os.close(made)


def _capture() -> None:
    with NFTables(nfgen_family=_INET) as nft:
        nft.table("add", name="selftest")
        nft.chain(
            "add", table="selftest", name="c", hook="output", type="nat", policy=1, priority=-100
        )


def _mark() -> None:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, linux.SO_MARK, 1)


def _volumes() -> None:
    with tempfile.TemporaryDirectory() as directory:
        scratch, volume = Path(directory, "scratch"), Path(directory, "volume")
        scratch.mkdir()
        volume.mkdir()
        mount = mounts.Mount(volume, "/etc/argosy-selftest/volume")
        netns.in_thread(lambda: mounts.apply(mounts.View((mount,), scratch=scratch)))


if __name__ == "__main__":
    sys.exit(main())
