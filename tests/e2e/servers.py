"""Small servers that the tests run as workloads.

servers.py any PORT,...   HTTP/1.1, h2c and opaque bytes on one port, told apart by the first bytes;
                          after the bytes "deaf" its kernel answers nothing on that connection
servers.py greeting PORT  speaks first, then echoes, as MySQL and SMTP begin
An address may stand before a port (127.0.0.1:8081); unix:PATH is a UNIX socket.

servers.py recorder PORT  HTTP/1.1, as strictly as can be: tells what was read, and all it ever read
servers.py flaky PORT     HTTP/1.1: fails a request as often as it asks for, by its x-case
"""

import asyncio
import collections
import ctypes
import fcntl
import json
import os
import socket
import struct
import sys
import termios
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import h2.config
import h2.connection
import h2.events

GREETING = b"5.7.0-greeting\n"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_METHODS = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"OPTIONS ")
_SO_ATTACH_FILTER = 26

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter


def description(protocol: str, path: str, headers: dict[str, str], writer: Writer) -> bytes:
    found = {
        "connection": (writer.get_extra_info("peername") or ("", 0))[1],
        "protocol": protocol,
        "path": path,
        "headers": headers,
        "hostname": os.environ.get("HOSTNAME", ""),
        "version": os.environ.get("SERVICE_VERSION", ""),
    }
    return json.dumps(found).encode()


async def serve_any(reader: Reader, writer: Writer) -> None:
    first = await reader.read(65536)
    if _PREFACE.startswith(first[: len(_PREFACE)]) and first:
        await serve_h2(first, reader, writer)
    elif first.startswith(_METHODS):
        await serve_http1(first, reader, writer)
    else:
        while first:
            writer.write(b"raw:" + first)
            await writer.drain()
            if first == b"deaf":
                await fall_silent(writer)
            first = await reader.read(65536)


async def fall_silent(writer: Writer) -> None:
    """Once the peer has all, its packets are dropped before TCP sees them: not one is acknowledged.

    A socket filter that is the one instruction "return 0"; https://docs.kernel.org/networking/filter.html
    """
    connection = writer.get_extra_info("socket")

    def unacknowledged() -> int:
        answer = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * 4)
        return int.from_bytes(answer, sys.byteorder)

    while unacknowledged():  # noqa: ASYNC110  (the kernel has no event for it)
        await asyncio.sleep(0.01)
    nothing = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))
    program = struct.pack("HP", 1, ctypes.addressof(nothing))
    connection.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


async def serve_http1(first: bytes, reader: Reader, writer: Writer) -> None:
    """Requests without bodies."""
    while True:
        while b"\r\n\r\n" not in first:
            more = await reader.read(65536)
            if not more:
                return
            first += more
        head, _, first = first.partition(b"\r\n\r\n")
        line, *rest = head.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (item.partition(": ") for item in rest)
        }
        body = description("HTTP/1.1", line.split()[1], headers, writer)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()


async def serve_h2(first: bytes, reader: Reader, writer: Writer) -> None:
    """h2c by prior knowledge; request bodies are counted. ``x-after``: seconds until the answer.

    ``x-deaf``: after the answer nothing is read, and so no PING answered, on that connection.
    """
    h2_connection = h2.connection.H2Connection(
        h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
    )
    h2_connection.initiate_connection()
    heads: dict[int, dict[str, str]] = {}
    received: collections.Counter[int] = collections.Counter()
    data = first
    deaf = False
    while data:
        for event in h2_connection.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                heads[event.stream_id or 0] = {str(k): str(v) for k, v in event.headers or ()}
            elif isinstance(event, h2.events.DataReceived):
                stream, length = event.stream_id or 0, event.flow_controlled_length or 0
                received[stream] += len(event.data or b"")
                if length:
                    h2_connection.acknowledge_received_data(length, stream)
            elif isinstance(event, h2.events.StreamEnded):
                stream = event.stream_id or 0
                headers = heads.pop(stream)
                headers["x-received"] = str(received.pop(stream, 0))
                deaf = deaf or "x-deaf" in headers
                await asyncio.sleep(float(headers.get("x-after", "0")))
                body = description("HTTP/2", headers[":path"], headers, writer)
                h2_connection.send_headers(
                    stream, [(":status", "200"), ("content-length", str(len(body)))]
                )
                h2_connection.send_data(stream, body, end_stream=True)
        writer.write(h2_connection.data_to_send())
        await writer.drain()
        if deaf:
            await asyncio.Event().wait()
        data = await reader.read(65536)


async def serve_greeting(reader: Reader, writer: Writer) -> None:
    writer.write(GREETING)
    await writer.drain()
    while data := await reader.read(65536):
        writer.write(b"echo:" + data)
        await writer.drain()


class Flaky:
    """A request says how often it fails (``x-fail: N``), with what (``x-with: 503``), and when.

    ``x-with: reset`` closes the connection; ``x-after`` are seconds. Tries are counted by
    ``x-case``; the answer tells how many there were, and ``/tries/CASE`` asks for it. Without
    ``x-case``, one host name (``x-host``) fails always.
    """

    def __init__(self) -> None:
        self._tries: collections.Counter[str] = collections.Counter()

    async def serve(self, reader: Reader, writer: Writer) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            line, *rest = head.decode("latin-1").strip().split("\r\n")
            headers = {n.lower(): v for n, _, v in (item.partition(": ") for item in rest)}
            path = line.split()[1]
            status = 200
            if path.startswith("/tries/"):
                tries = self._tries[path.removeprefix("/tries/")]
            else:
                case = headers.get("x-case", "")
                self._tries[case] += 1
                tries = self._tries[case]
                failing = headers.get("x-host") == os.environ["HOSTNAME"]
                if failing or tries <= int(headers.get("x-fail", "0")):
                    await asyncio.sleep(float(headers.get("x-after", "0")))
                    if headers["x-with"] == "reset":
                        return
                    status = int(headers["x-with"])
            body = json.dumps({"tries": tries, "hostname": os.environ.get("HOSTNAME", "")}).encode()
            writer.write(
                b"HTTP/1.1 %d x\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body)
            )
            await writer.drain()


class Recorder:
    """HTTP/1.1 with bodies, read by the letter of RFC 9112: anything else ends the connection.

    The answer is what was read: the first line, the header lines and the body, as they came.
    ``GET /record`` tells the first lines of all requests so far but its own kind.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []

    async def serve(self, reader: Reader, writer: Writer) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            line, *rest = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
            fields = [(n.lower(), v.strip()) for n, _, v in (item.partition(":") for item in rest)]
            body = await self._body(reader, fields)
            if line.startswith("GET /record "):
                answer = json.dumps(self._lines).encode()
            else:
                self._lines.append(line)
                found = {"line": line, "fields": fields, "body": body.decode("latin-1")}
                answer = json.dumps(found).encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(answer), answer))
            await writer.drain()

    async def _body(self, reader: Reader, fields: list[tuple[str, str]]) -> bytes:
        lengths = [value for name, value in fields if name == "content-length"]
        codings = [value for name, value in fields if name == "transfer-encoding"]
        if codings:
            assert codings == ["chunked"], fields
            assert not lengths, fields
            parts = []
            while size := int(await reader.readuntil(b"\r\n"), 16):
                parts.append(await reader.readexactly(size))
                assert await reader.readexactly(2) == b"\r\n"
            while await reader.readuntil(b"\r\n") != b"\r\n":
                pass
            return b"".join(parts)
        assert len(lengths) < 2, fields
        return await reader.readexactly(int(lengths[0])) if lengths else b""


async def main(kind: str, ports: list[str]) -> None:
    serve: dict[str, Callable[[Reader, Writer], Awaitable[None]]] = {
        "any": serve_any,
        "greeting": serve_greeting,
        "flaky": Flaky().serve,
        "recorder": Recorder().serve,
    }

    async def connected(reader: Reader, writer: Writer) -> None:
        try:
            await serve[kind](reader, writer)
        except (OSError, ValueError, AssertionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    for place in ports:
        host, _, port = place.rpartition(":")
        if host == "unix":
            await asyncio.start_unix_server(connected, port)
        else:
            await asyncio.start_server(connected, host or "0.0.0.0", int(port), backlog=512)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2].split(",")))
