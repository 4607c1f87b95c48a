"""The agent's DNS server: mesh names answered, all other queries passed on unmodified.

One ``DnsServer`` serves the two sockets (UDP and TCP, port 15053) of one workload's namespace;
the name table behind it is shared. Unlike Envoy's ``dns_filter`` it answers NODATA for a known
name without records of the type (RFC 2308), and TCP.
"""

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import structlog

from argosy.proxy.names import Addresses, Alias, Answer, NoSuchName, NotOurs

TTL_SECONDS = 5
"""As Kubernetes' DNS: endpoints of headless services change."""
_TCP_IDLE_SECONDS = 10.0
_MAX_TCP_CONNECTIONS = 64
_MAX_PENDING = 512
_UDP_LIMIT = 512
_MAX_ALIASES = 8

Resolve = Callable[[str], Answer]
Forward = Callable[[bytes], Awaitable[bytes]]

log = structlog.get_logger()


class ForwardError(Exception):
    """No resolver of the machine answered."""


class DnsServer:
    """Serves one workload. ``resolve`` knows the workload's namespace; ``forward`` asks outside."""

    def __init__(
        self, udp: socket.socket, tcp: socket.socket, resolve: Resolve, forward: Forward
    ) -> None:
        self._udp = udp
        self._tcp = tcp
        self._resolve = resolve
        self._forward = forward
        self._slots = asyncio.Semaphore(_MAX_PENDING)
        self._tcp_slots = asyncio.Semaphore(_MAX_TCP_CONNECTIONS)

    async def run(self) -> None:
        """Serve until cancelled; closes both sockets."""
        server = await asyncio.start_server(self._serve_tcp, sock=self._tcp)
        async with server:
            try:
                async with asyncio.TaskGroup() as tasks:
                    await self._serve_udp(tasks)
            finally:
                self._udp.close()

    async def _serve_udp(self, tasks: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        self._udp.setblocking(False)
        while True:
            try:
                query, client = await loop.sock_recvfrom(self._udp, 65535)
            except OSError:  # an ICMP error of an earlier answer; the socket goes on
                continue
            await self._slots.acquire()
            tasks.create_task(self._answer_udp(query, client))

    async def _answer_udp(self, query: bytes, client: tuple[str, int]) -> None:
        try:
            reply = await self.answer(query, udp=True)
            if reply is not None:
                with contextlib.suppress(OSError):
                    await asyncio.get_running_loop().sock_sendto(self._udp, reply, client)
        finally:
            self._slots.release()

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            async with self._tcp_slots:
                while True:
                    async with asyncio.timeout(_TCP_IDLE_SECONDS):
                        (length,) = struct.unpack("!H", await reader.readexactly(2))
                        query = await reader.readexactly(length)
                    reply = await self.answer(query, udp=False)
                    if reply is None:
                        break
                    writer.write(struct.pack("!H", len(reply)) + reply)
                    await writer.drain()
        writer.close()

    async def answer(self, query: bytes, *, udp: bool) -> bytes | None:
        """The reply to one query in wire format; None when it is not a DNS message at all."""
        try:
            message = dns.message.from_wire(query)
        except (dns.exception.DNSException, ValueError):
            return _format_error(query)
        if message.flags & dns.flags.QR:
            return None
        if len(message.question) != 1:
            return _reply(message, dns.rcode.FORMERR)
        question = message.question[0]
        name = question.name.to_text(omit_final_dot=True)
        match self._resolve(name):
            case Addresses(addresses):
                response = _authoritative(message)
                _add_addresses(response, question.name, question.rdtype, addresses)
                return _to_wire(response, message, udp=udp)
            case Alias(host):
                return await self._follow(message, host, udp=udp)
            case NoSuchName():
                return _reply(message, dns.rcode.NXDOMAIN, authority=question.name)
            case NotOurs():
                try:
                    return await self._forward(query)
                except ForwardError as error:
                    log.debug("dns.forward_failed", name=name, error=str(error))
                    return _reply(message, dns.rcode.SERVFAIL)

    async def _follow(self, message: dns.message.Message, host: str, *, udp: bool) -> bytes:
        """The alias and what it stands for, which may be an alias again."""
        question = message.question[0]
        response = _authoritative(message)
        owner = question.name
        for _ in range(_MAX_ALIASES):
            target = dns.name.from_text(host)
            response.answer.append(
                dns.rrset.from_text(
                    owner, TTL_SECONDS, dns.rdataclass.IN, dns.rdatatype.CNAME, target.to_text()
                )
            )
            match self._resolve(host):
                case Alias(further):
                    owner, host = target, further
                    continue
                case Addresses(addresses):
                    _add_addresses(response, target, question.rdtype, addresses)
                case NoSuchName():
                    response.set_rcode(dns.rcode.NXDOMAIN)
                case NotOurs():
                    query = dns.message.make_query(target, question.rdtype)
                    try:
                        found = dns.message.from_wire(await self._forward(query.to_wire()))
                    except (ForwardError, dns.exception.DNSException) as error:
                        log.debug("dns.forward_failed", name=host, error=str(error))
                        return _reply(message, dns.rcode.SERVFAIL)
                    response.set_rcode(found.rcode())
                    response.answer.extend(found.answer)
            return _to_wire(response, message, udp=udp)
        return _reply(message, dns.rcode.SERVFAIL)


class UdpForwarder:
    """Passes queries on to the machine's resolvers through one UDP socket.

    The socket is made in the machine's own network namespace, from which workloads are cut off.
    Queries carry a random id of ours; an answer counts only from the server asked, with that id.
    """

    def __init__(
        self,
        sock: socket.socket,
        nameservers: Sequence[tuple[str, int]],
        *,
        seconds: float = 2.0,
    ) -> None:
        self._sock = sock
        self._nameservers = tuple(nameservers)
        self._seconds = seconds
        self._pending: dict[tuple[int, tuple[str, int]], asyncio.Future[bytes]] = {}
        self._random = random.SystemRandom()

    async def run(self) -> None:
        """Receive answers until cancelled."""
        loop = asyncio.get_running_loop()
        self._sock.setblocking(False)
        while True:
            try:
                reply, (address, port, *_) = await loop.sock_recvfrom(self._sock, 65535)
            except OSError:
                continue
            if len(reply) >= 12:
                waiting = self._pending.get((int.from_bytes(reply[:2]), (address, port)))
                if waiting is not None and not waiting.done():
                    waiting.set_result(reply)

    async def __call__(self, query: bytes) -> bytes:
        """The first resolver's answer, tried in order. Raises ForwardError when none answers."""
        for nameserver in self._nameservers:
            with contextlib.suppress(OSError, TimeoutError):
                return await self._ask(nameserver, query)
        asked = ", ".join(f"{address}:{port}" for address, port in self._nameservers)
        raise ForwardError(f"no answer from {asked or 'any resolver'}")

    async def _ask(self, nameserver: tuple[str, int], query: bytes) -> bytes:
        if len(self._pending) >= _MAX_PENDING:
            raise OSError("too many queries are waiting")
        loop = asyncio.get_running_loop()
        while (key := (self._random.randrange(65536), nameserver)) in self._pending:
            pass
        self._pending[key] = loop.create_future()
        try:
            await loop.sock_sendto(self._sock, key[0].to_bytes(2) + query[2:], nameserver)
            async with asyncio.timeout(self._seconds):
                reply = await self._pending[key]
        finally:
            del self._pending[key]
        return query[:2] + reply[2:]


def _authoritative(message: dns.message.Message) -> dns.message.Message:
    response = dns.message.make_response(message, recursion_available=True)
    response.flags |= dns.flags.AA
    return response


def _add_addresses(
    response: dns.message.Message,
    name: dns.name.Name,
    rdtype: dns.rdatatype.RdataType,
    addresses: Sequence[str],
) -> None:
    records = _records(addresses, rdtype)
    if records:
        response.answer.append(
            dns.rrset.from_text(name, TTL_SECONDS, dns.rdataclass.IN, rdtype, *records)
        )
    else:
        response.authority.append(_start_of_authority(name))


def _to_wire(response: dns.message.Message, message: dns.message.Message, *, udp: bool) -> bytes:
    limit = max(message.payload, _UDP_LIMIT) if udp else 65535
    try:
        return response.to_wire(max_size=limit)
    except dns.exception.TooBig:
        response.answer.clear()
        response.flags |= dns.flags.TC
        return response.to_wire()


def _records(addresses: Sequence[str], rdtype: dns.rdatatype.RdataType) -> list[str]:
    if rdtype == dns.rdatatype.A:
        return [a for a in addresses if ":" not in a]
    if rdtype == dns.rdatatype.AAAA:
        return [a for a in addresses if ":" in a]
    return []


def _start_of_authority(name: dns.name.Name) -> dns.rrset.RRset:
    """Lets resolvers cache the negative answer for a short time (RFC 2308)."""
    text = f"ns.dns.{name} hostmaster.{name} 1 7200 1800 86400 {TTL_SECONDS}"
    return dns.rrset.from_text(name, TTL_SECONDS, dns.rdataclass.IN, dns.rdatatype.SOA, text)


def _reply(
    message: dns.message.Message, rcode: dns.rcode.Rcode, authority: dns.name.Name | None = None
) -> bytes:
    response = dns.message.make_response(message, recursion_available=True)
    response.set_rcode(rcode)
    if authority is not None:
        response.authority.append(_start_of_authority(authority))
    return response.to_wire()


def _format_error(query: bytes) -> bytes | None:
    """FORMERR for what has at least a header, so that the client does not wait."""
    if len(query) < 12 or query[2] & 0x80:
        return None
    return query[:2] + bytes((0x80 | (query[2] & 0x79), 0x80 | dns.rcode.FORMERR)) + bytes(8)
