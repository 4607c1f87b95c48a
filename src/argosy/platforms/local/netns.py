"""Network namespaces held by file descriptors; nothing is named in ``/run/netns``.

A namespace lives as long as a descriptor, a process or a socket of it does. Work inside a
namespace is done by a thread made for it, which then ends: no thread ever has to come back.
"""

import os
import socket
import threading
from collections.abc import Callable
from typing import TypeVar

from argosy.platforms.local import linux

T = TypeVar("T")


def create() -> int:
    """A descriptor of a new, empty network namespace. Blocks for about a millisecond."""

    def make() -> int:
        linux.unshare(linux.CLONE_NEWNET)
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    return in_thread(make)


def current() -> int:
    """A descriptor of the calling thread's network namespace."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def run_in(netns: int, action: Callable[[], T]) -> T:
    """Do ``action`` inside the namespace, in a thread of its own; blocks. Its error is raised."""

    def enter() -> T:
        linux.setns(netns, linux.CLONE_NEWNET)
        return action()

    return in_thread(enter)


def socket_in(
    netns: int,
    family: socket.AddressFamily = socket.AF_INET,
    kind: socket.SocketKind = socket.SOCK_STREAM,
    *,
    mark: int | None = None,
) -> socket.socket:
    """A socket of that namespace, where it stays; usable from any thread.

    ``mark`` is set as SO_MARK before the socket is used, for the capture rules to know it.
    """
    made = run_in(netns, lambda: socket.socket(family, kind))
    if mark is not None:
        made.setsockopt(socket.SOL_SOCKET, linux.SO_MARK, mark)
    return made


def in_thread(action: Callable[[], T]) -> T:
    """Do ``action`` in a new thread and wait for it; what it unshares dies with the thread."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(action())
        except BaseException as error:  # noqa: BLE001  (raised again in the caller's thread)
            errors.append(error)

    thread = threading.Thread(target=run, name="namespace", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
