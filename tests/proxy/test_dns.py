"""The agent's DNS server, asked by a real DNS client over UDP and TCP."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.proxy.dns import DnsServer, Forward, ForwardError, UdpForwarder
from argosy.proxy.names import NameTable, Record

TABLE = NameTable(
    [
        Record("reviews", "default", ("10.96.0.7",)),
        Record("many", "default", tuple(f"10.244.1.{i}" for i in range(1, 200))),
    ]
)


def _sockets() -> tuple[socket.socket, socket.socket, int]:
    """A UDP and a TCP socket on one free port."""
    for _ in range(50):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        port: int = udp.getsockname()[1]
        try:
            tcp.bind(("127.0.0.1", port))
        except OSError:
            udp.close()
            tcp.close()
            continue
        return udp, tcp, port
    raise AssertionError("no free port pair")


async def _nobody(_: bytes) -> bytes:
    raise ForwardError("nobody")


@asynccontextmanager
async def serving(forward: Forward = _nobody) -> AsyncIterator[int]:
    udp, tcp, port = _sockets()
    server = DnsServer(udp, tcp, lambda name: TABLE.resolve(name, "default"), forward)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(server.run())
        yield port
        running.cancel()


async def ask(port: int, name: str, rdtype: str, *, tcp: bool = False) -> dns.message.Message:
    query = dns.message.make_query(name, rdtype)
    how = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await how(query, "127.0.0.1", port=port, timeout=5)


@pytest.mark.parametrize("tcp", [False, True])
async def test_a_mesh_name(tcp: bool) -> None:
    async with serving() as port:
        reply = await ask(port, "reviews.default.svc.cluster.local.", "A", tcp=tcp)
    assert [str(record) for record in reply.answer[0]] == ["10.96.0.7"]
    assert reply.flags & dns.flags.AA


@pytest.mark.parametrize("rdtype", ["AAAA", "MX", "TXT"])
async def test_no_data_is_not_no_name(rdtype: str) -> None:
    """RFC 2308: NOERROR with an empty answer and a SOA, so that the A record still counts."""
    async with serving() as port:
        reply = await ask(port, "reviews.", rdtype)
    assert reply.rcode() == dns.rcode.NOERROR
    assert not reply.answer
    assert reply.authority[0].rdtype == dns.rdatatype.SOA


async def test_an_unknown_service_does_not_exist() -> None:
    async with serving() as port:
        reply = await ask(port, "nope.default.svc.cluster.local.", "A")
    assert reply.rcode() == dns.rcode.NXDOMAIN


async def test_a_long_answer_is_truncated_and_complete_over_tcp() -> None:
    async with serving() as port:
        short = await ask(port, "many.", "A")
        full = await ask(port, "many.", "A", tcp=True)
    assert short.flags & dns.flags.TC
    assert len(full.answer[0]) == 199


async def test_other_names_go_to_the_machines_resolver() -> None:
    async with serving() as outside_port:
        outside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        outside.bind(("127.0.0.1", 0))
        forwarder = UdpForwarder(outside, [("127.0.0.1", outside_port)], seconds=5)
        async with asyncio.TaskGroup() as tasks:
            receiving = tasks.create_task(forwarder.run())
            query = dns.message.make_query("reviews.", "A")
            reply = dns.message.from_wire(await forwarder(query.to_wire()))
            receiving.cancel()
        outside.close()
    assert reply.id == query.id
    assert [str(record) for record in reply.answer[0]] == ["10.96.0.7"]


async def test_no_resolver_is_a_server_failure() -> None:
    async with serving() as port:
        reply = await ask(port, "example.com.", "A")
    assert reply.rcode() == dns.rcode.SERVFAIL


@given(st.binary(max_size=600))
def test_garbage_gets_an_error_or_silence(query: bytes) -> None:
    udp, tcp, _ = _sockets()
    server = DnsServer(udp, tcp, lambda name: TABLE.resolve(name, "default"), _nobody)
    reply = asyncio.run(server.answer(query, udp=True))
    udp.close()
    tcp.close()
    assert reply is None or reply[:2] == query[:2]
