"""HTTP clients that send what they are told, byte by byte, for asking a proxy about odd requests."""

import socket
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType

import h2.config
import h2.connection
import h2.events

Headers = Sequence[tuple[str, str]]
SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Status 0: the connection or the stream was closed without an answer."""

    status: int
    body: bytes = b""


NO_ANSWER = Answer(0)
_STATUS: object = ":status"
"""Texts, since the connection decodes them."""


def connect(
    port: int, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", server_name: str = ""
) -> socket.socket:
    raw = socket.create_connection((host, port), timeout=SECONDS)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return raw if tls is None else tls.wrap_socket(raw, server_hostname=server_name or None)


class Http1:
    """A connection that is kept for as long as the other end keeps it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._read = b""

    def __enter__(self) -> "Http1":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.close()

    def request(self, method: str, target: str, headers: Headers) -> Answer:
        """Characters are bytes (latin-1); nothing is added but the end of the headers."""
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
        return self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")

    def send(self, data: bytes) -> Answer:
        """One request as it is, and its answer, whose length must be given."""
        try:
            self._connection.sendall(data)
            while b"\r\n\r\n" not in self._read:
                self._receive()
            head, _, self._read = self._read.partition(b"\r\n\r\n")
            length = 0
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            while len(self._read) < length:
                self._receive()
        except OSError:
            return NO_ANSWER
        body, self._read = self._read[:length], self._read[length:]
        return Answer(int(head.split()[1]), body)

    def _receive(self) -> None:
        data = self._connection.recv(65536)
        if not data:
            raise ConnectionResetError
        self._read += data


class Http2:
    """A connection without checks of what is sent. One stream at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._state = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=True,
                header_encoding="latin-1",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self._state.initiate_connection()
        self._flush()

    def __enter__(self) -> "Http2":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.close()

    def request(self, method: str, path: str, authority: str, headers: Headers = ()) -> Answer:
        pseudo = [(":method", method), (":scheme", "http"), (":path", path)]
        return self.stream([*pseudo, (":authority", authority), *headers])

    def stream(self, headers: Iterable[tuple[str, str]], *, end: bool = True) -> Answer:
        """``end`` False: the stream stays open, as that of a WebSocket."""
        number = self._state.get_next_available_stream_id()
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        self._state.send_headers(number, encoded, end_stream=end)
        self._flush()
        status, body = 0, b""
        while True:
            try:
                data = self._connection.recv(65536)
            except OSError:
                return NO_ANSWER
            if not data:
                return NO_ANSWER
            for event in self._state.receive_data(data):
                match event:
                    case h2.events.ResponseReceived(stream_id=of) if of == number:
                        (status,) = (int(v) for name, v in event.headers if name == _STATUS)
                        if not end:
                            self._flush()
                            return Answer(status)
                    case h2.events.DataReceived(stream_id=of):
                        self._state.acknowledge_received_data(
                            event.flow_controlled_length or 0, of or number
                        )
                        body += event.data or b""
                    case h2.events.StreamEnded(stream_id=of) if of == number:
                        self._flush()
                        return Answer(status, body)
                    case h2.events.StreamReset(stream_id=of) if of == number:
                        self._flush()
                        return NO_ANSWER
                    case h2.events.ConnectionTerminated():
                        return NO_ANSWER
            self._flush()

    def _flush(self) -> None:
        self._connection.sendall(self._state.data_to_send())
