"""The load generator counts what a server saw, and times from when a request was due."""

import os
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from bench.load import BadAnswerError, Burst, Target, answer, run
from bench.process_facts import cpu_seconds, find, ticks, usage


@dataclass
class Served:
    """What a server saw. ``statuses`` are given in turn; ``pieces`` splits each answer."""

    statuses: tuple[int, ...] = (200,)
    seconds: float = 0.0
    pieces: int = 1
    requests: list[bytes] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, request: bytes) -> int:
        with self.lock:
            self.requests.append(request)
            return self.statuses[(len(self.requests) - 1) % len(self.statuses)]


@contextmanager
def server(served: Served) -> Iterator[Target]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while True:
                lines = []
                while (line := self.rfile.readline()) not in (b"\r\n", b""):
                    lines.append(line)
                if not lines:
                    return
                status = served.take(b"".join(lines))
                time.sleep(served.seconds)
                whole = b"HTTP/1.1 %d X\r\nServer: tiny\r\nContent-Length: 5\r\n\r\nhello" % status
                size = -(-len(whole) // served.pieces)
                for at in range(0, len(whole), size):
                    self.wfile.write(whole[at : at + size])
                    self.wfile.flush()
                    if served.pieces > 1:
                        time.sleep(0.002)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 64

    with Server(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        host, port = listening.server_address[:2]
        try:
            yield Target(str(host), int(port), "tiny.example", "/path")
        finally:
            listening.shutdown()
            thread.join()


def test_closed_loop_counts_every_answer() -> None:
    served = Served()
    with server(served) as target:
        found = run(Burst(target, connections=4, rate=0, seconds=0.2, warm_up=0))
    assert found["requests"] == len(served.requests) > 4
    assert found["failures"] == found["late"] == 0
    assert served.requests[0] == b"GET /path HTTP/1.1\r\nHost: tiny.example\r\n"


def test_warm_up_is_not_counted() -> None:
    served = Served()
    with server(served) as target:
        found = run(Burst(target, connections=2, rate=100, seconds=0.1, warm_up=0.1))
    assert found["requests"] == 10
    assert len(served.requests) == 20


def test_open_loop_sends_what_the_rate_says() -> None:
    served = Served()
    with server(served) as target:
        found = run(Burst(target, connections=4, rate=200, seconds=0.5, warm_up=0))
    assert found["requests"] == len(served.requests) == 100
    assert found["seconds"] == pytest.approx(0.5, abs=0.2)


def test_open_loop_counts_time_in_the_queue() -> None:
    # One connection and 20 ms an answer: 20 requests due within 0.1 s take at least 0.4 s, so
    # the last waits 0.3 s although its own answer came in 20 ms.
    served = Served(seconds=0.02)
    with server(served) as target:
        found = run(Burst(target, connections=1, rate=200, seconds=0.1, warm_up=0))
    latency = found["microseconds"]
    assert isinstance(latency, dict)
    assert found["requests"] == 20
    assert latency["p99"] > 280_000
    assert latency["p50"] > 140_000


def test_other_statuses_are_failures() -> None:
    with server(Served(statuses=(200, 503, 200, 200))) as target:
        found = run(Burst(target, connections=1, rate=400, seconds=0.1, warm_up=0))
    assert (found["requests"], found["failures"]) == (30, 10)


def test_answers_in_pieces() -> None:
    with server(Served(pieces=7)) as target:
        found = run(Burst(target, connections=2, rate=100, seconds=0.2, warm_up=0))
    assert (found["requests"], found["failures"]) == (20, 0)


def test_a_closed_connection_is_said() -> None:
    class Closing(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1000)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Closing) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        target = Target("127.0.0.1", int(listening.server_address[1]), "x")
        with pytest.raises(BadAnswerError, match="closed"):
            run(Burst(target, connections=1, rate=0, seconds=0.1, warm_up=0))
        listening.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-le", (0, 0)),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", (200, 41)),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length:12\r\nserver: envoy\r\n\r\nnot", (404, 72)),
    ],
)
def test_answer(text: bytes, expected: tuple[int, int]) -> None:
    assert answer(text) == expected


def test_an_answer_without_length_is_refused() -> None:
    with pytest.raises(BadAnswerError, match="content-length"):
        answer(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")


def test_usage_of_this_process() -> None:
    before = cpu_seconds(os.getpid())
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    used = usage(os.getpid())
    assert 0.08 < used.cpu - before < 1
    assert 0 < used.anonymous < used.rss


def test_ticks_of_a_process_with_an_odd_name() -> None:
    # proc(5): fields 14 and 15 are utime and stime; the name in parentheses may hold anything.
    text = "12 (a ) 9 b) S 1 12 12 0 -1 4194304 100 0 0 0 700 35 0 0 20 0 3 0 5 0 0"
    assert ticks(text) == 735


def test_find_by_program_and_argument() -> None:
    program = os.path.basename(os.fsdecode(open("/proc/self/cmdline", "rb").read().split(b"\0")[0]))  # noqa: SIM115, PTH
    assert os.getpid() in find(program, os.getcwd())
    assert find(program, "no such argument anywhere") == []
