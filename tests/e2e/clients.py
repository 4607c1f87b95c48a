"""Run inside a workload: clients of many protocols, driven line by line over standard input.

A line is ``{"call": name, ...arguments}``; the answer is one line, ``{"value": ...}`` or
``{"error": ...}``. Sockets opened with ``connect`` stay open between calls.
"""

import base64
import hashlib
import json
import os
import selectors
import socket
import ssl
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import httpx

from argosy.testing import raw_http as raw_http_client

Json = dict[str, Any]
SECONDS = 15.0
_open: dict[int, socket.socket] = {}


def http(
    url: str,
    method: str = "GET",
    headers: Json | None = None,
    size: int | None = None,
    count: int = 1,
    parallel: int = 1,
    http2: bool = False,
    fresh: bool = False,
    timeout: float = SECONDS,
    chunked: bool = False,
    ca: str = "",
    pair: tuple[str, str] | None = None,
    follow: bool = False,
    proxy: str = "",
    server_name: str = "",
) -> list[Json]:
    """``count`` requests, ``parallel`` at a time; ``size`` is that of the body to send, of ``x``.

    Without a status there was no answer, and ``error`` says why. Bodies over 64 KiB come as
    their length and SHA-256. ``ca`` is the file of those to trust for https, ``pair`` the files
    of a certificate and key to show. ``follow``: redirects are, and ``history`` are their statuses.
    ``proxy`` is the URL of an HTTP proxy to ask, ``server_name`` the server's if not the URL's host.
    """
    limits = httpx.Limits(max_keepalive_connections=0 if fresh else None)
    content: Any = None if size is None else b"x" * size
    if chunked and content is not None:
        content = [content[i : i + 1000] for i in range(0, len(content), 1000)]
    trusted = ssl.create_default_context(cafile=ca) if ca else True
    if pair is not None and isinstance(trusted, ssl.SSLContext):
        trusted.load_cert_chain(*pair)
    with httpx.Client(
        http1=not http2,
        http2=http2,
        timeout=timeout,
        limits=limits,
        trust_env=False,
        verify=trusted,
        follow_redirects=follow,
        proxy=proxy or None,
    ) as client:

        def request(_: int) -> Json:
            sent = iter(content) if isinstance(content, list) else content
            try:
                extra = {"sni_hostname": server_name} if server_name else None
                answer = client.request(
                    method, url, headers=headers, content=sent, extensions=extra
                )
            except httpx.HTTPError as error:
                return {"status": 0, "error": f"{type(error).__name__}: {error}"}
            found: Json = {
                "status": answer.status_code,
                "headers": dict(answer.headers),
                "version": answer.http_version,
                "length": len(answer.content),
                "history": [earlier.status_code for earlier in answer.history],
            }
            if len(answer.content) > 65536:
                found["sha256"] = hashlib.sha256(answer.content).hexdigest()
            else:
                found["body"] = answer.text
            return found

        if parallel == 1:
            return [request(i) for i in range(count)]
        with ThreadPoolExecutor(parallel) as pool:
            return list(pool.map(request, range(count)))


def connect(host: str, port: int) -> int:
    """A connection that stays; its number."""
    opened = socket.create_connection((host, port), timeout=SECONDS)
    _open[opened.fileno()] = opened
    return opened.fileno()


def send(connection: int, text: str) -> None:
    _open[connection].sendall(text.encode("latin-1"))


def receive(connection: int, count: int, timeout: float = SECONDS) -> str:
    """Exactly ``count`` bytes, or fewer when the peer has ended or the time is over."""
    found = b""
    _open[connection].settimeout(timeout)
    try:
        while len(found) < count:
            data = _open[connection].recv(count - len(found))
            if not data:
                break
            found += data
    except TimeoutError:
        pass
    except ConnectionResetError:
        if not found:
            raise
    return found.decode("latin-1")


def ends(connections: list[int], count: int, timeout: float = SECONDS) -> list[float | None]:
    """When the peer ends them, in seconds from now; they bring no data.

    None: not in the time given, nor until ``count`` of them had ended.
    """
    started = time.monotonic()
    found: dict[int, float] = {}
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(_open[connection], selectors.EVENT_READ)
        while len(found) < count and (left := started + timeout - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                found[key.fd] = time.monotonic() - started
                selector.unregister(key.fd)
    return [found.get(connection) for connection in connections]


def half_close(connection: int) -> None:
    _open[connection].shutdown(socket.SHUT_WR)


def close(connection: int) -> None:
    _open.pop(connection).close()


def exchange(
    host: str, port: int, text: str, end_first: bool = False, timeout: float = SECONDS
) -> str:
    """Send, and read all that comes; the sending side ends after the first byte of the answer.

    ``end_first``: it ends at once. While Envoy detects a connection's protocol it takes an early
    end for a client that is gone, so that is not for ports without a declared protocol.
    """
    connection = connect(host, port)
    try:
        send(connection, text)
        first = "" if end_first else receive(connection, 1, timeout)
        half_close(connection)
        return first + receive(connection, 1 << 24, timeout)
    finally:
        close(connection)


def raw_http(host: str, port: int, text: str) -> str:
    """Bytes of HTTP/1.1 as they are, and all that the server says until it closes."""
    connection = connect(host, port)
    try:
        send(connection, text)
        return receive(connection, 1 << 24)
    finally:
        close(connection)


def statuses(host: str, port: int, requests: list[Json], http2: bool = False) -> list[int]:
    """Of requests that are sent as they are, each by a connection of its own; 0: no answer.

    A request has ``method``, ``target`` and ``headers``, pairs; by HTTP/2 also ``host``.
    """
    found = []
    host = socket.gethostbyname(host)
    for one in requests:
        method, target = one["method"], one["target"]
        headers = [(name, value) for name, value in one["headers"]]
        connection = raw_http_client.connect(port, host=host)
        if http2:
            with raw_http_client.Http2(connection) as second:
                found.append(second.request(method, target, one["host"], headers).status)
        else:
            with raw_http_client.Http1(connection) as first:
                found.append(first.request(method, target, headers).status)
    return found


def websocket(
    host: str, port: int, authority: str, messages: list[str], path: str = "/websocket/echo"
) -> Json:
    """A WebSocket: the answer's head, and the echo of each message."""
    connection = connect(host, port)
    key = base64.b64encode(os.urandom(16)).decode()
    try:
        send(
            connection,
            f"GET {path} HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n",
        )
        head = ""
        while not head.endswith("\r\n\r\n"):
            byte = receive(connection, 1)
            if not byte:
                break
            head += byte
        accept = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
        echoes = []
        if head.startswith("HTTP/1.1 101"):
            for message in messages:
                payload = message.encode("latin-1")
                assert len(payload) < 126, "short messages only"
                mask = b"\x01\x02\x03\x04"
                masked = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
                frame = bytes((0x81, 0x80 | len(payload))) + mask + masked
                send(connection, frame.decode("latin-1"))
                opcode, length = receive(connection, 2).encode("latin-1")
                assert opcode == 0x81, f"not a text frame: {opcode:#x}"
                echoes.append(receive(connection, length))
        return {
            "head": head,
            "accepted": base64.b64encode(accept).decode() in head,
            "echoes": echoes,
        }
    finally:
        close(connection)


def lookup(name: str, kind: str = "A", tcp: bool = False, server: str = "") -> Json:
    """One DNS query as it is, without a search list, to the workload's name server."""
    if not server:
        with open("/etc/resolv.conf") as file:
            server = next(line.split()[1] for line in file if line.startswith("nameserver"))
    query = dns.message.make_query(name, kind)
    ask = dns.query.tcp if tcp else dns.query.udp
    answer = ask(query, server, timeout=SECONDS)
    return {
        "rcode": dns.rcode.to_text(answer.rcode()),
        "answers": sorted(item.to_text() for rrset in answer.answer for item in rrset),
        "authority": [dns.rdatatype.to_text(rrset.rdtype) for rrset in answer.authority],
        "truncated": bool(answer.flags & dns.flags.TC),
    }


def addresses(name: str) -> list[str]:
    """What the C library says, with its search list."""
    found = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
    return sorted({str(item[4][0]) for item in found})


def tls12(host: str, port: int, pair: tuple[str, str], cipher: str, alpn: str) -> str:
    """A handshake in TLS 1.2 with one cipher suite to offer; the one that was agreed on."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(cipher)
    context.set_alpn_protocols([alpn])
    context.load_cert_chain(*pair)
    with (
        socket.create_connection((host, port), timeout=SECONDS) as opened,
        context.wrap_socket(opened) as secured,
    ):
        return (secured.cipher() or ("",))[0]


def mysql(host: str, port: int, timeout: float = SECONDS) -> Json:
    """Log in as a MySQL client does, which waits for the server's first packet, and ping."""
    connection = connect(host, port)
    try:

        def packet() -> bytes:
            head = receive(connection, 4, timeout).encode("latin-1")
            length = int.from_bytes(head[:3], "little")
            return receive(connection, length, timeout).encode("latin-1")

        greeting = packet()
        if not greeting:
            return {"greeting": ""}
        login = b"\x01\x82\x08\x00" + bytes(4) + b"\x21" + bytes(23) + b"root\0\0"
        send(connection, (len(login).to_bytes(3, "little") + b"\1" + login).decode("latin-1"))
        logged_in = packet()[:1] == b"\0"
        send(connection, "\1\0\0\0\x0e")
        version = greeting[1 : greeting.index(b"\0")].decode()
        return {"greeting": version, "login": logged_in, "ping": packet()[:1] == b"\0"}
    finally:
        close(connection)


def postgres(host: str, port: int) -> Json:
    """Begin as libpq does: ask for TLS, then log in, then a query."""
    connection = connect(host, port)
    try:
        send(connection, "\0\0\0\x08\x04\xd2\x16\x2f")
        tls = receive(connection, 1)
        start = b"\0\3\0\0user\0postgres\0\0"
        send(connection, ((len(start) + 4).to_bytes(4, "big") + start).decode("latin-1"))
        answer = receive(connection, 15)
        query = b"select 1\0"
        send(connection, "Q" + ((len(query) + 4).to_bytes(4, "big") + query).decode("latin-1"))
        return {"tls": tls, "login": answer[0] + answer[9], "query": receive(connection, 14)[:1]}
    finally:
        close(connection)


def udp(host: str, port: int, text: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.settimeout(SECONDS)
        opened.sendto(text.encode(), (host, port))
        return opened.recv(65536).decode()


def main() -> None:
    known: tuple[Callable[..., Any], ...] = (
        http,
        connect,
        send,
        receive,
        ends,
        half_close,
        close,
        exchange,
        raw_http,
        statuses,
        websocket,
        tls12,
        mysql,
        postgres,
        udp,
        lookup,
        addresses,
    )
    calls = {function.__name__: function for function in known}
    for line in sys.stdin:
        arguments = json.loads(line)
        try:
            result = {"value": calls[arguments.pop("call")](**arguments)}
        except Exception as error:  # noqa: BLE001  (told to the test, which judges it)
            result = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
