"""Run inside a workload: answers by path and counts what came, in a file that outlives it.

counting_server.py PORT DIRECTORY

/ok: 200. /fail: 500. /reset: the connection is closed without an answer. /flaky: 503 the first of each
two times. In DIRECTORY each process has one file of its own with the number of requests it was sent.
"""

import asyncio
import os
import sys
from pathlib import Path

_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
_FAIL = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n\r\nfail"
_AGAIN = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 5\r\n\r\nagain"


class Counter:
    def __init__(self, directory: Path) -> None:
        self._file = os.open(
            directory / f"{os.uname().nodename}-{os.getpid()}", os.O_RDWR | os.O_CREAT
        )
        self._count = -1
        self._flaky = 0
        self.seen()

    def seen(self) -> None:
        self._count += 1
        os.pwrite(self._file, f"{self._count:20}".encode(), 0)

    def is_flaky(self) -> bool:
        self._flaky += 1
        return self._flaky % 2 == 1


class Connection(asyncio.Protocol):
    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            self._counter.seen()
            path = head.split(b" ", 2)[1]
            if path == b"/reset":
                self._transport.abort()
                return
            if path == b"/fail":
                self._transport.write(_FAIL)
            elif path == b"/flaky" and self._counter.is_flaky():
                self._transport.write(_AGAIN)
            else:
                self._transport.write(_OK)


async def main() -> None:
    counter = Counter(Path(sys.argv[2]))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(counter), "0.0.0.0", int(sys.argv[1]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
