"""Servers that begin as real ones do, for tests of protocols that a sidecar does not know.

protocol_servers.py mysql PORT,...            the server speaks first: handshake v10
protocol_servers.py postgres PORT,...         the client asks for TLS first, and is told no
protocol_servers.py tls PORT,... CERT KEY     TLS of the application's own, with HTTP/1.1 inside
protocol_servers.py udp PORT,...              echoes datagrams
protocol_servers.py websocket PORT,...        a web page, and at /ws WebSocket echo
"""

import asyncio
import base64
import hashlib
import json
import ssl
import struct
import sys
from typing import cast

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter

MYSQL_VERSION = b"8.4.0"
_WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def mysql_packet(number: int, payload: bytes) -> bytes:
    """https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html"""
    return struct.pack("<I", len(payload))[:3] + bytes((number,)) + payload


async def mysql(reader: Reader, writer: Writer) -> None:
    """The handshake (protocol 10), OK for whoever logs in, and OK to every command."""
    capabilities = 0x0000_0001 | 0x0000_0200 | 0x0000_8000 | 0x0008_0000
    greeting = (
        b"\x0a" + MYSQL_VERSION + b"\0"
        + struct.pack("<I", 7) + b"12345678" + b"\0"
        + struct.pack("<H", capabilities & 0xFFFF) + b"\x21" + struct.pack("<H", 2)
        + struct.pack("<H", capabilities >> 16) + b"\x15" + bytes(10)
        + b"123456789012\0" + b"mysql_native_password\0"
    )  # fmt: skip
    writer.write(mysql_packet(0, greeting))
    while True:
        head = await reader.readexactly(4)
        await reader.readexactly(int.from_bytes(head[:3], "little"))
        writer.write(mysql_packet(head[3] + 1, b"\0\0\0\2\0\0\0"))
        await writer.drain()


async def postgres(reader: Reader, writer: Writer) -> None:
    """https://www.postgresql.org/docs/current/protocol-flow.html"""
    (length,) = struct.unpack("!I", await reader.readexactly(4))
    if length == 8:  # SSLRequest
        assert await reader.readexactly(4) == b"\x04\xd2\x16\x2f"
        writer.write(b"N")
        (length,) = struct.unpack("!I", await reader.readexactly(4))
    await reader.readexactly(length - 4)
    ready = b"Z" + struct.pack("!I", 5) + b"I"
    writer.write(b"R" + struct.pack("!II", 8, 0) + ready)
    while True:
        kind = await reader.readexactly(1)
        (length,) = struct.unpack("!I", await reader.readexactly(4))
        await reader.readexactly(length - 4)
        if kind == b"X":
            return
        writer.write(b"C" + struct.pack("!I", 13) + b"SELECT 1\0" + ready)
        await writer.drain()


async def http(reader: Reader, writer: Writer) -> None:
    """Says what the TLS around it was."""
    connection = writer.get_extra_info("ssl_object")
    await reader.readuntil(b"\r\n\r\n")
    found = {"tls": connection.version(), "sni": connection.server_name_seen}
    body = json.dumps(found).encode()
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
    await writer.drain()


class _Seen(ssl.SSLObject):
    """Knows the name that the client asked for."""

    server_name_seen: str = ""


async def websocket(reader: Reader, writer: Writer) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    pairs = (line.partition(": ") for line in head.split("\r\n"))
    headers = {name.lower(): value for name, _, value in pairs}
    if headers.get("upgrade", "").lower() != "websocket":
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
        await writer.drain()
        return
    key = headers["sec-websocket-key"] + _WEBSOCKET_GUID
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
    writer.write(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
    )
    while True:
        opcode, length = await reader.readexactly(2)
        mask = await reader.readexactly(4)
        text = await reader.readexactly(length & 0x7F)
        if opcode & 0xF == 8:
            return
        plain = bytes(b ^ mask[i % 4] for i, b in enumerate(text))
        writer.write(bytes((opcode, len(plain))) + plain)
        await writer.drain()


class _Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self._transport.sendto(b"udp:" + data, address)


async def main(kind: str, ports: list[int], files: list[str]) -> None:
    context = None
    serve = {"mysql": mysql, "postgres": postgres, "tls": http, "websocket": websocket}.get(kind)
    if kind == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
        context.sslobject_class = _Seen

        def named(connection: object, name: str | None, _: ssl.SSLContext) -> None:
            connection.server_name_seen = name or ""  # type: ignore[attr-defined]

        context.sni_callback = named  # type: ignore[assignment]  # the stub wants SSLSocket only

    async def connected(reader: Reader, writer: Writer) -> None:
        assert serve is not None
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    for port in ports:
        if kind == "udp":
            loop = asyncio.get_running_loop()
            await loop.create_datagram_endpoint(_Datagrams, local_addr=("0.0.0.0", port))
        else:
            await asyncio.start_server(connected, "0.0.0.0", port, ssl=context, backlog=512)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], [int(port) for port in sys.argv[2].split(",")], sys.argv[3:]))
