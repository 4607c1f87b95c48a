"""Servers of opaque bytes that the tests run as workloads.

tcp_servers.py who PORT     says who it is, and who calls, once something came
tcp_servers.py proxy PORT   a forward proxy: HTTP/1.1 CONNECT, or POST to the host that is named

The proxy prints a line for each tunnel, as Squid does: the method, the target, a status.
"""

import asyncio
import json
import os
import sys

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


async def who(reader: Reader, writer: Writer) -> None:
    if not await reader.read(65536):
        return
    peer = writer.get_extra_info("peername")[0]
    writer.write(json.dumps({"hostname": os.environ.get("HOSTNAME", ""), "peer": peer}).encode())
    await writer.drain()
    while await reader.read(65536):
        pass


async def proxy(reader: Reader, writer: Writer) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    line, *rest = head.decode("latin-1").strip().split("\r\n")
    method, target, _ = line.split()
    headers = {name.lower(): value for name, _, value in (item.partition(": ") for item in rest)}
    chunked = method == "POST"
    host, _, port = (headers["host"] if chunked else target).rpartition(":")
    upstream, upstream_writer = await asyncio.open_connection(host, int(port))
    sys.stdout.write(f"TCP_TUNNEL/200 {method} {host}:{port}\n")
    sys.stdout.flush()
    framing = "transfer-encoding: chunked\r\n" if chunked else ""
    writer.write(f"HTTP/1.1 200 OK\r\n{framing}\r\n".encode())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(
            _copy_chunks(reader, upstream_writer) if chunked else _copy(reader, upstream_writer)
        )
        tasks.create_task(_copy(upstream, writer, chunked=chunked))


async def _copy(source: Reader, to: Writer, *, chunked: bool = False) -> None:
    while data := await source.read(65536):
        to.write(b"%x\r\n%s\r\n" % (len(data), data) if chunked else data)
        await to.drain()
    if chunked:
        to.write(b"0\r\n\r\n")
    elif to.can_write_eof():
        to.write_eof()


async def _copy_chunks(source: Reader, to: Writer) -> None:
    while size := int(await source.readuntil(b"\r\n"), 16):
        to.write(await source.readexactly(size))
        await source.readexactly(2)
        await to.drain()
    to.write_eof()


async def main(kind: str, port: int) -> None:
    serve = {"who": who, "proxy": proxy}[kind]

    async def connected(reader: Reader, writer: Writer) -> None:
        try:
            await serve(reader, writer)
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    await asyncio.start_server(connected, "0.0.0.0", port, backlog=512)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
