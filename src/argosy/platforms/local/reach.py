"""From the mesh's own network namespace to the machine's network and beyond: names and connections.

Names are asked of the machine's resolvers, as those of workloads are that the mesh does not know.
Connections begin on sockets of the machine's network, but for pods, which the bridge leads to.
"""

import asyncio
import ipaddress
import socket
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

from argosy.platforms.local.outside import Outside
from argosy.platforms.local.relay import connect
from argosy.platforms.local.subnets import SUBNET

_QUERY_SECONDS = 2.0
_LOOPBACK = "127.0.0.1"
_TYPES = (dns.rdatatype.A, dns.rdatatype.AAAA)


@dataclass(frozen=True, slots=True)
class LocalReach:
    """``nameservers`` are addresses and ports, asked in this order."""

    outside: Outside
    nameservers: tuple[tuple[str, int], ...]

    async def resolve(self, host: str) -> tuple[str, ...]:
        """IPv4 addresses first. Raises OSError when there is none."""
        if host.rstrip(".").lower() == "localhost":  # RFC 6761: nobody is asked
            return (_LOOPBACK,)
        answers = await asyncio.gather(*(asyncio.to_thread(self._ask, host, t) for t in _TYPES))
        found = tuple(address for addresses, _ in answers for address in addresses)
        if not found:
            reason = next((reason for _, reason in answers if reason), "it has no address")
            raise OSError(f"{host} cannot be resolved: {reason}")
        return found

    async def dial(self, address: str, port: int) -> socket.socket:
        """A connected, non-blocking socket. Raises OSError."""
        parsed = ipaddress.ip_address(address)
        if parsed in SUBNET:
            return await connect(socket.socket(), (address, port))
        family = socket.AF_INET6 if parsed.version == 6 else socket.AF_INET
        return await connect(self.outside.open(family=family), (address, port))

    def _ask(self, host: str, kind: dns.rdatatype.RdataType) -> tuple[tuple[str, ...], str]:
        """Addresses of one kind, or why there are none."""
        reason = "this machine has no resolver"
        try:
            query = dns.message.make_query(host, kind)
        except (dns.exception.DNSException, UnicodeError) as error:
            return (), f"it is no host name ({error})"
        for where, port in self.nameservers:
            try:
                answer = self._query(query, where, port)
            except (dns.exception.DNSException, OSError, EOFError) as error:
                reason = f"{where} does not answer ({type(error).__name__})"
                continue
            if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                reason = f"{where} answers {dns.rcode.to_text(answer.rcode())}"
                continue
            sets = (found for found in answer.answer if found.rdtype == kind)
            return tuple(item.to_text() for found in sets for item in found), ""
        return (), reason

    def _query(self, query: dns.message.Message, where: str, port: int) -> dns.message.Message:
        with self.outside.open(socket.SOCK_DGRAM) as udp:
            udp.setblocking(False)
            answer = dns.query.udp(query, where, timeout=_QUERY_SECONDS, port=port, sock=udp)
        if not answer.flags & dns.flags.TC:
            return answer
        with self.outside.open() as tcp:
            tcp.settimeout(_QUERY_SECONDS)
            tcp.connect((where, port))
            tcp.setblocking(False)
            return dns.query.tcp(query, where, timeout=_QUERY_SECONDS, sock=tcp)
