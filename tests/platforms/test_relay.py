"""The relay between real sockets on loopback."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator

import pytest

from argosy.platforms.local import relay


class Rig:
    """A relay from ``front`` to ``back``."""

    def __init__(self) -> None:
        self.front = socket.create_server(("127.0.0.1", 0))
        self.back = socket.create_server(("127.0.0.1", 0))
        self.back.setblocking(False)

    async def dial(self, _: socket.socket) -> socket.socket | None:
        return await relay.connect(socket.socket(), self.back.getsockname())

    async def pair(self) -> tuple[socket.socket, socket.socket]:
        """A client's end and the server's end of one relayed connection."""
        loop = asyncio.get_running_loop()
        client = socket.socket()
        client.setblocking(False)
        await loop.sock_connect(client, self.front.getsockname())
        server, _ = await loop.sock_accept(self.back)
        server.setblocking(False)
        return client, server


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(relay.serve(made.front, made.dial))
        yield made
        serving.cancel()
    made.front.close()
    made.back.close()


async def read(sock: socket.socket, size: int = 65536) -> bytes:
    async with asyncio.timeout(5):
        return await asyncio.get_running_loop().sock_recv(sock, size)


async def test_an_end_of_stream_is_passed_on_in_one_direction(rig: Rig) -> None:
    loop = asyncio.get_running_loop()
    client, server = await rig.pair()
    with client, server:
        await loop.sock_sendall(client, b"question")
        client.shutdown(socket.SHUT_WR)
        assert await read(server) == b"question"
        assert await read(server) == b""
        await loop.sock_sendall(server, b"answer")
        assert await read(client) == b"answer"
        server.close()
        assert await read(client) == b""


async def test_a_reset_is_passed_on_as_a_reset(rig: Rig) -> None:
    client, server = await rig.pair()
    with server:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        with pytest.raises(ConnectionResetError):
            await read(server)


async def test_much_data_arrives_whole_and_a_slow_reader_slows(rig: Rig) -> None:
    loop = asyncio.get_running_loop()
    client, server = await rig.pair()
    data = bytes(range(256)) * 64 * 1024
    with client, server:
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(loop.sock_sendall(client, data))
            await asyncio.sleep(0.3)
            assert not sending.done(), "16 MiB cannot be in flight"
            received = bytearray()
            while len(received) < len(data):
                received += await read(server, 1 << 20)
        assert received == data


async def test_nobody_to_dial_resets() -> None:
    front = socket.create_server(("127.0.0.1", 0))

    async def nobody(_: socket.socket) -> None:
        return None

    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(relay.serve(front, nobody))
        with socket.socket() as client:
            client.setblocking(False)
            await asyncio.get_running_loop().sock_connect(client, front.getsockname())
            with pytest.raises(ConnectionResetError):
                await read(client)
        serving.cancel()
    front.close()
