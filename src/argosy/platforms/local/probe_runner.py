"""Runs one probe: opens the connection inside the pod's namespace, past the capture rules."""

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import assert_never

from argosy.platforms.local import netns, process, procfs, relay
from argosy.platforms.local.probes import Check, Exec, Grpc, HttpGet, Listening, Probe, TcpSocket

_MAX_STATUS_LINE = 4096


@dataclass(frozen=True, slots=True)
class Target:
    """The running container that is probed. ``mark`` is the SO_MARK that capture lets through."""

    netns: int
    address: str
    pid: int
    env: Mapping[str, str]
    mark: int

    def socket(self) -> socket.socket:
        return netns.socket_in(self.netns, mark=self.mark)


@dataclass(frozen=True, slots=True)
class Outcome:
    success: bool
    message: str = ""


async def run(probe: Probe, target: Target) -> Outcome:
    """The outcome within the probe's timeout; every failure is an outcome, none is raised."""
    try:
        async with asyncio.timeout(probe.timeout):
            return await _check(probe.check, target)
    except TimeoutError:
        return Outcome(False, f"no answer within {probe.timeout:g} s")
    except (OSError, process.StartError) as error:
        return Outcome(False, str(error))


async def _check(check: Check, target: Target) -> Outcome:
    match check:
        case HttpGet():
            return await _http_get(check, target)
        case TcpSocket():
            (await _connect(target, check.host, check.port)).close()
            return Outcome(True)
        case Exec(argv):
            return await _exec(argv, target)
        case Grpc():
            return await _grpc(check, target)
        case Listening(ports):
            found = await asyncio.to_thread(_listening, target.pid)
            missing = [port for port in ports if port not in found]
            return Outcome(not missing, f"nothing listens on {missing}" if missing else "")
    assert_never(check)


async def _connect(target: Target, host: str, port: int) -> socket.socket:
    sock = await asyncio.to_thread(target.socket)
    return await relay.connect(sock, (host or target.address, port))


async def _http_get(check: HttpGet, target: Target) -> Outcome:
    sock = await _connect(target, check.host, check.port)
    context = _insecure_tls() if check.scheme.upper() == "HTTPS" else None
    host = check.host or target.address
    reader, writer = await asyncio.open_connection(
        sock=sock, ssl=context, server_hostname=host if context else None
    )
    try:
        headers = {"host": f"{host}:{check.port}", "user-agent": "kube-probe/1.33", "accept": "*/*"}
        headers |= {name.lower(): value for name, value in check.headers}
        lines = [f"GET {check.path or '/'} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        writer.write("\r\n".join([*lines, "connection: close", "", ""]).encode())
        line = (await reader.readline())[:_MAX_STATUS_LINE].split(b" ")
        if len(line) < 2 or not line[0].startswith(b"HTTP/") or not line[1].strip().isdigit():
            return Outcome(False, "the answer is not HTTP")
        status = int(line[1])
        return Outcome(200 <= status < 400, f"HTTP probe failed with statuscode: {status}")
    finally:
        writer.close()


async def _exec(argv: tuple[str, ...], target: Target) -> Outcome:
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    command = process.Command(argv, target.env)
    try:
        made: Callable[[], process.Process] = lambda: process.start_beside(  # noqa: E731
            target.pid, command, (null, null, null)
        )
        started = await asyncio.to_thread(made)
    finally:
        os.close(null)
    try:
        code = await started.wait()
    except asyncio.CancelledError:
        process.kill_session(started.pid)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(started.wait())
        raise
    return Outcome(code == 0, f"{argv[0]} exited with code {code}")


def _listening(pid: int) -> set[int]:
    """TCP ports that some process in the namespace of ``pid`` listens on."""
    return {port for port, _, state in procfs.tcp_sockets(pid) if state == procfs.LISTEN}


def _insecure_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _grpc(check: Grpc, target: Target) -> Outcome:
    """One ``grpc.health.v1.Health/Check`` in hand-made HTTP/2: fixed requests, few frames.

    The answer's headers need not be decoded: only a message that says SERVING counts.
    """
    sock = await _connect(target, "", check.port)
    reader, writer = await asyncio.open_connection(sock=sock)
    try:
        writer.write(_grpc_request(f"{target.address}:{check.port}", check.service))
        body = b""
        while True:
            header = await reader.readexactly(9)
            length, kind, flags = int.from_bytes(header[:3]), header[3], header[4]
            stream = int.from_bytes(header[5:9])
            payload = await reader.readexactly(length)
            if kind == _SETTINGS and not flags & _ACK:
                writer.write(_frame(_SETTINGS, _ACK, 0, b""))
            elif kind == _PING and not flags & _ACK:
                writer.write(_frame(_PING, _ACK, 0, payload))
            elif kind == _DATA and stream == 1:
                body += payload
            elif kind == _GOAWAY or (kind == _RST_STREAM and stream == 1):
                return Outcome(False, "the server refused the gRPC health request")
            if len(body) >= 7 or (
                stream == 1 and flags & _END_STREAM and kind in (_DATA, _HEADERS)
            ):
                serving = body[5:7] == b"\x08\x01"
                return Outcome(serving, "the gRPC health service does not say SERVING")
    except asyncio.IncompleteReadError:
        return Outcome(False, "the connection was closed before the gRPC health answer")
    finally:
        writer.close()


_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_ACK = _END_STREAM = 1
_END_HEADERS = 4


def _grpc_request(authority: str, service: str) -> bytes:
    headers = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", authority),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    )
    # HPACK literals without indexing and without Huffman coding (RFC 7541, 6.2.2).
    block = b"".join(b"\0" + _literal(name) + _literal(value) for name, value in headers)
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    data = b"\0" + struct.pack("!I", len(message)) + message
    return (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + _frame(_SETTINGS, 0, 0, b"")
        + _frame(_HEADERS, _END_HEADERS, 1, block)
        + _frame(_DATA, _END_STREAM, 1, data)
    )


def _varint(number: int) -> bytes:
    """https://protobuf.dev/programming-guides/encoding/#varints"""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*found, number))


def _literal(text: str) -> bytes:
    encoded = text.encode()[:126]
    return bytes((len(encoded),)) + encoded


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload
