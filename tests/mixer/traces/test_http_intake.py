"""Spans by HTTP over mutual TLS: real sockets, real certificates."""

import asyncio
import errno
import gzip
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from argosy import xds
from argosy.base.log import Secret
from argosy.mixer.traces.http_intake import (
    MAX_BODY_BYTES,
    MAX_CONNECTIONS_OF_ADDRESS,
    MAX_READ_BYTES_OF_ADDRESS,
    Answer,
    HttpIntake,
    Posted,
)
from argosy.testing.certificates import Credential, ScratchAuthority

REVIEWS = "spiffe://cluster.local/ns/default/sa/bookinfo-reviews"


class Desk:
    """Keeps what was posted."""

    def __init__(self, authority: ScratchAuthority) -> None:
        self.authority = authority
        self.credential = authority.credential("mixer.istio-system.svc")
        self.posted: list[Posted] = []
        self.failing: list[Exception] = []
        self.intake = HttpIntake(self.credentials, self.take)

    def credentials(self) -> xds.Credentials:
        own = self.credential
        if getattr(self, "_made_of", None) is not own:
            self._made_of = own
            self._made = xds.Credentials(
                Secret(own.key.encode()), own.certificate.encode(), own.roots.encode()
            )
        return self._made

    async def take(self, posted: Posted) -> Answer:
        if self.failing:
            raise self.failing.pop()
        self.posted.append(posted)
        return Answer(202, b"thanks")


@asynccontextmanager
async def served(desk: Desk) -> AsyncIterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    port: int = listener.getsockname()[1]
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(desk.intake.serve(listener))
        try:
            yield port
        finally:
            task.cancel()


def trusting(credential: Credential | None, roots: str, directory: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=roots)
    if credential is not None:
        file = directory / "client.pem"
        file.write_text(credential.key + credential.certificate)
        context.load_cert_chain(file)
    return context


@pytest.fixture
def desk() -> Desk:
    return Desk(ScratchAuthority())


Ask = Callable[[httpx.AsyncClient], Awaitable[None]]


async def ask(desk: Desk, credential: Credential | None, directory: Path, what: Ask) -> None:
    context = trusting(credential, desk.credential.roots, directory)
    async with (
        served(desk) as port,
        httpx.AsyncClient(verify=context, base_url=f"https://127.0.0.1:{port}") as client,
    ):
        await what(client)


async def test_what_is_posted_arrives_with_who_sent_it(desk: Desk, tmp_path: Path) -> None:
    reviews = desk.authority.credential(REVIEWS)

    async def what(client: httpx.AsyncClient) -> None:
        for body in (b"[1]", b"[2]"):
            answer = await client.post(
                "/api/v2/spans?x=1",
                content=body,
                headers={"content-type": "application/json; charset=utf-8"},
            )
            assert (answer.status_code, answer.content) == (202, b"thanks")
        packed = gzip.compress(b"[3]")
        await client.post("/v1/traces", content=packed, headers={"content-encoding": "gzip"})

    await ask(desk, reviews, tmp_path, what)
    assert [one.body for one in desk.posted] == [b"[1]", b"[2]", b"[3]"]
    assert [one.path for one in desk.posted] == ["/api/v2/spans"] * 2 + ["/v1/traces"]
    assert desk.posted[0].content_type == "application/json"
    sent = ssl.PEM_cert_to_DER_cert(desk.posted[0].certificate.decode())
    assert sent == ssl.PEM_cert_to_DER_cert(
        reviews.certificate.partition("-----END")[0] + "-----END CERTIFICATE-----\n"
    )


@pytest.mark.parametrize("stranger", [True, False], ids=["of a stranger", "none"])
async def test_without_a_certificate_of_the_mesh_nothing_is_read(
    desk: Desk, tmp_path: Path, stranger: bool
) -> None:
    credential = ScratchAuthority().credential(REVIEWS) if stranger else None

    async def what(client: httpx.AsyncClient) -> None:
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError, httpx.ConnectError)):
            await client.post("/api/v2/spans", content=b"[]")

    await ask(desk, credential, tmp_path, what)
    assert desk.posted == []


async def test_what_is_too_large_is_refused(desk: Desk, tmp_path: Path) -> None:
    """Also what only becomes so when it is unpacked."""
    large = b"x" * (MAX_BODY_BYTES + 1)

    async def what(client: httpx.AsyncClient) -> None:
        assert (await client.post("/v1/traces", content=large)).status_code == 413
        packed = gzip.compress(large)
        answer = await client.post(
            "/v1/traces", content=packed, headers={"content-encoding": "gzip"}
        )
        assert answer.status_code == 413
        assert (await client.get("/v1/traces")).status_code == 405
        assert (await client.post("/v1/traces", content=b"ok")).status_code == 202

    await ask(desk, desk.authority.credential(REVIEWS), tmp_path, what)
    assert [one.body for one in desk.posted] == [b"ok"]


async def test_a_new_certificate_is_shown_to_the_next_connection(
    desk: Desk, tmp_path: Path
) -> None:
    context = trusting(desk.authority.credential(REVIEWS), desk.credential.roots, tmp_path)

    async def shown(port: int) -> bytes | None:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        found: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return found

    async with served(desk) as port:
        before = await shown(port)
        assert await shown(port) == before
        desk.credential = desk.authority.credential("mixer.istio-system.svc")
        assert await shown(port) != before


async def test_what_nobody_foresaw_costs_one_answer(desk: Desk, tmp_path: Path) -> None:
    desk.failing = [RecursionError("too deep"), KeyError("x")]

    async def what(client: httpx.AsyncClient) -> None:
        with capture_logs() as logs:
            codes = [(await client.post("/v1/traces", content=b"[]")).status_code for _ in range(3)]
        assert codes == [500, 500, 202]
        assert [line["event"] for line in logs] == ["spans.not_taken"] * 2

    await ask(desk, desk.authority.credential(REVIEWS), tmp_path, what)
    assert desk.intake.failed == 2


async def test_a_connection_that_fails_costs_no_other(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither credentials that cannot be used nor a listener without descriptors end the intake."""
    context = trusting(desk.authority.credential(REVIEWS), desk.credential.roots, tmp_path)
    loop = asyncio.get_running_loop()
    accept, failing = loop.sock_accept, [OSError(errno.EMFILE, "too many open files")]

    async def sock_accept(listener: socket.socket) -> Any:
        if failing:
            raise failing.pop()
        return await accept(listener)

    monkeypatch.setattr(loop, "sock_accept", sock_accept)
    good, desk.credential = desk.credential, replace(desk.credential, roots="no certificate")
    async with served(desk) as port:
        with capture_logs() as logs, pytest.raises((ConnectionError, ssl.SSLError)):
            await asyncio.open_connection("127.0.0.1", port, ssl=context)
        assert "spans.not_accepted" in [line["event"] for line in logs]
        desk.credential = good
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.close()


async def test_one_sender_takes_no_more_connections_than_its_share(
    desk: Desk, tmp_path: Path
) -> None:
    """Not even ones that say nothing. Those of another address are served."""
    context = trusting(desk.authority.credential(REVIEWS), desk.credential.roots, tmp_path)
    async with served(desk) as port, AsyncExitStack() as opened:
        for _ in range(MAX_CONNECTIONS_OF_ADDRESS):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            opened.callback(writer.close)
        await eventually(lambda: desk.intake.connections == MAX_CONNECTIONS_OF_ADDRESS)
        with capture_logs() as logs:
            for _ in range(5):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                opened.callback(writer.close)
                with suppress(ConnectionResetError):
                    assert await reader.read() == b""
        assert [line["refused"] for line in logs] == [1, 2, 4]
        _, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, local_addr=("127.0.0.2", 0)
        )
        opened.callback(writer.close)


async def test_one_sender_holds_no_more_bodies_than_its_share(desk: Desk, tmp_path: Path) -> None:
    context = trusting(desk.authority.credential(REVIEWS), desk.credential.roots, tmp_path)
    size = 3 << 20
    head = b"POST /v1/traces HTTP/1.1\r\nhost: m\r\ncontent-length: %d\r\n\r\n" % size
    async with served(desk) as port, AsyncExitStack() as opened:

        async def post(address: str, content: bytes) -> asyncio.StreamReader:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=context, local_addr=(address, 0)
            )
            opened.callback(writer.close)
            writer.write(head + content)
            await writer.drain()
            return reader

        held = MAX_READ_BYTES_OF_ADDRESS // size
        for _ in range(held):
            await post("127.0.0.1", bytes(size - 1))
        await eventually(lambda: desk.intake.bytes_being_read == held * (size - 1))
        assert (await (await post("127.0.0.1", bytes(size))).readline()).split()[1] == b"503"
        assert (await (await post("127.0.0.2", bytes(size))).readline()).split()[1] == b"202"


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110  # sockets tell of no event
            await asyncio.sleep(0.01)
