"""The limit of connections to the mesh's own servers, as text and in the kernel."""

import errno
import json
import os
import selectors
import shutil
import socket
import subprocess
import sys
import time
from typing import Any

import pytest
import structlog.testing

from argosy.platforms.local import netns, network
from argosy.proxy import capture, capture_nft, node_doors

ATTEMPTS = 400


def test_only_what_pods_begin_at_the_meshs_own_address_is_counted() -> None:
    lines = [line.strip() for line in capture.text(node_doors.rules()).splitlines()]
    assert "type ipv4_addr; size 65536; flags dynamic,timeout; timeout 10s;" in lines
    assert "type filter hook prerouting priority -150; policy accept;" in lines
    (rule,) = [line for line in lines if line.endswith("drop")]
    assert rule == (
        'iifname "argosy0" ip daddr 10.244.0.1/32 meta l4proto tcp '
        "tcp flags & (syn | ack) == syn ip saddr 10.244.0.0/16 update @callers "
        "{ ip saddr timeout 10s limit rate over 20/second burst 200 packets } drop"
    )


def test_a_kernel_that_cannot_is_told_of_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: capture.Ruleset) -> None:
        raise OSError(errno.EOPNOTSUPP, "nf_tables: Operation not supported")

    monkeypatch.setattr(capture_nft, "apply", refused)
    with structlog.testing.capture_logs() as logs:
        node_doors.guard()
    assert [(one["log_level"], one["event"]) for one in logs] == [("warning", "doors.unlimited")]


@pytest.mark.e2e
@pytest.mark.parametrize("mode", [("-n",), ("-Ur", "-n")], ids=["root", "user namespace"])
def test_the_kernel_counts_each_address_for_itself(mode: tuple[str, ...]) -> None:
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("unshare (util-linux) is not installed")
    if mode == ("-n",) and os.geteuid() != 0:
        pytest.skip("needs root")
    argv = [unshare, *mode, sys.executable, __file__]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["at first"] == ATTEMPTS, "nothing else limits"
    most = node_doors.BURST + node_doors.PER_SECOND * seen["seconds"] + 1
    assert node_doors.BURST <= seen["greedy"] <= most, seen
    assert seen["another"] == 100
    assert seen["own"] == ATTEMPTS, "the mesh's own processes"
    assert seen["elsewhere"] == ATTEMPTS, "another address of the same namespace"
    assert seen["after a pause"] == node_doors.PER_SECOND // 2, seen


def _knock(address: tuple[str, int], count: int) -> int:
    """How many of ``count`` connections are there before the kernel repeats a first packet."""
    selector, there = selectors.DefaultSelector(), 0
    callers = [socket.socket() for _ in range(count)]
    for caller in callers:
        caller.setblocking(False)
        caller.connect_ex(address)
        selector.register(caller, selectors.EVENT_WRITE)
    deadline = time.monotonic() + 0.4
    while there < count and time.monotonic() < deadline:
        for key, _ in selector.select(0.05):
            selector.unregister(key.fileobj)
            there += 1
    for caller in callers:
        caller.close()
    return there


def _kernel() -> dict[str, Any]:
    network.create_bridge()
    greedy, another = netns.create(), netns.create()
    network.attach(greedy, "greedy", "10.244.0.2")
    network.attach(another, "another", "10.244.0.3")
    with (
        socket.create_server((network.GATEWAY, 0), backlog=4096) as door,
        netns.run_in(
            another, lambda: socket.create_server(("10.244.0.3", 0), backlog=4096)
        ) as elsewhere,
    ):
        address, other = door.getsockname(), elsewhere.getsockname()
        seen: dict[str, Any] = {}
        seen["at first"] = netns.run_in(greedy, lambda: _knock(address, ATTEMPTS))
        node_doors.guard()
        began = time.monotonic()
        seen["greedy"] = netns.run_in(greedy, lambda: _knock(address, ATTEMPTS))
        seen["seconds"] = time.monotonic() - began
        return seen | _others(greedy, another, address, other)


def _others(
    greedy: int, another: int, address: tuple[str, int], other: tuple[str, int]
) -> dict[str, Any]:
    seen = {"another": netns.run_in(another, lambda: _knock(address, 100))}
    seen["own"] = _knock(address, ATTEMPTS)
    seen["elsewhere"] = netns.run_in(greedy, lambda: _knock(other, ATTEMPTS))
    time.sleep(1)
    few = node_doors.PER_SECOND // 2
    seen["after a pause"] = netns.run_in(greedy, lambda: _knock(address, few))
    return seen


if __name__ == "__main__":
    json.dump(_kernel(), sys.stdout)
