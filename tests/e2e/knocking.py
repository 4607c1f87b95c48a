"""Run inside a workload: TCP connections as fast as they can be made, until standard input ends.

knocking.py HOST:PORT: a line of JSON for each round, ``{"tried", "connected", "seconds"}``.
"""

import json
import select
import selectors
import socket
import sys
import time

AT_ONCE = 300
ROUND_SECONDS = 0.5


def main() -> None:
    host, _, port = sys.argv[1].rpartition(":")
    while True:
        began = time.monotonic()
        connected = knock((host, int(port)))
        line = {"tried": AT_ONCE, "connected": connected, "seconds": time.monotonic() - began}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        if select.select([sys.stdin], [], [], 0)[0]:
            return


def knock(address: tuple[str, int]) -> int:
    selector, connected = selectors.DefaultSelector(), 0
    callers = [socket.socket() for _ in range(AT_ONCE)]
    deadline = time.monotonic() + ROUND_SECONDS
    for caller in callers:
        caller.setblocking(False)
        caller.connect_ex(address)
        selector.register(caller, selectors.EVENT_WRITE)
    while selector.get_map() and time.monotonic() < deadline:
        for key, _ in selector.select(0.05):
            selector.unregister(key.fileobj)
            failed = key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # type: ignore[union-attr]
            connected += not failed
    for caller in callers:
        caller.close()
    return connected


if __name__ == "__main__":
    main()
