"""An HTTP/1.1 load generator that runs inside a workload, and what it costs others there.

``python -m bench.load`` reads commands as JSON lines on standard input and answers each with one
line, so that one process makes all bursts of a run. A burst is either an open loop at a fixed
rate, evenly spaced, with latency counted from when a request was due, or a closed loop in which
every connection asks again as soon as it has its answer. Imports nothing of Argosy.
"""

import gc
import json
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field

from bench.figures import percentile
from bench.process_facts import cpu_seconds, find, machine_busy, usage

_DRAIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Target:
    """``authority`` is the Host header."""

    host: str
    port: int
    authority: str
    path: str = "/"

    @property
    def request(self) -> bytes:
        return f"GET {self.path} HTTP/1.1\r\nHost: {self.authority}\r\n\r\n".encode()


@dataclass(frozen=True, slots=True)
class Burst:
    """``rate`` in requests a second; 0 is a closed loop."""

    target: Target
    connections: int
    rate: float
    seconds: float
    warm_up: float = 0.2


@dataclass(slots=True)
class Tally:
    """What came back. Latencies in seconds; ``late`` is how many requests were never sent."""

    latencies: list[float] = field(default_factory=list)
    failures: int = 0
    late: int = 0
    seconds: float = 0.0

    @property
    def requests(self) -> int:
        return len(self.latencies)


class BadAnswerError(Exception):
    """The answer is not one that this generator can count."""


class Connection:
    """One keep-alive connection with at most one request under way."""

    __slots__ = ("_buffer", "due", "fd", "socket")

    def __init__(self, target: Target) -> None:
        self.socket = socket.create_connection((target.host, target.port), timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.fd = self.socket.fileno()
        self.due = 0.0
        self._buffer = b""

    def send(self, request: bytes, due: float) -> None:
        self.due = due
        if self.socket.send(request) != len(request):
            raise BadAnswerError("the peer does not read")

    def receive(self) -> int:
        """The status of the answer, or 0 while it is not complete."""
        data = self.socket.recv(65536)
        if not data:
            raise BadAnswerError("the peer closed a connection")
        buffer = self._buffer + data if self._buffer else data
        status, size = answer(buffer)
        if size == 0 or len(buffer) < size:
            self._buffer = buffer
            return 0
        if len(buffer) > size:
            raise BadAnswerError("more than was asked for")
        self._buffer = b""
        return status


def answer(buffer: bytes) -> tuple[int, int]:
    """Status and whole length of the answer that starts here; 0 and 0 while unknown."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return 0, 0
    head = buffer[:end].lower()
    at = head.find(b"\r\ncontent-length:")
    if at < 0:
        raise BadAnswerError(f"an answer without content-length: {head[:200]!r}")
    stop = head.find(b"\r\n", at + 2)
    length = int(head[at + 17 : stop if stop >= 0 else end])
    return int(head[9:12]), end + 4 + length


def closed_loop(connections: Sequence[Connection], request: bytes, seconds: float) -> Tally:
    """Every connection as fast as it goes."""
    tally = Tally()
    by_fd = {connection.fd: connection for connection in connections}
    clock = time.perf_counter
    with select.epoll() as poller:
        start = clock()
        end = start + seconds
        for connection in connections:
            poller.register(connection.fd, select.EPOLLIN)
            connection.send(request, clock())
        busy = len(connections)
        while busy:
            ready = poller.poll(_DRAIN_SECONDS)
            if not ready:
                tally.failures += busy
                break
            for fd, _ in ready:
                connection = by_fd[fd]
                status = connection.receive()
                if not status:
                    continue
                now = clock()
                _count(tally, status, now - connection.due)
                if now < end:
                    connection.send(request, now)
                else:
                    busy -= 1
                    tally.seconds = now - start
    return tally


def open_loop(
    connections: Sequence[Connection], request: bytes, rate: float, seconds: float
) -> Tally:
    """``rate`` requests a second, evenly spaced, on whichever connection is free."""
    tally = Tally()
    by_fd = {connection.fd: connection for connection in connections}
    idle = deque(connections)
    waiting: deque[float] = deque()
    total = round(rate * seconds)
    made = 0
    clock = time.perf_counter
    start = clock()
    give_up = start + seconds + _DRAIN_SECONDS
    while tally.requests + tally.failures < total:
        now = clock()
        while made < total and start + made / rate <= now:
            waiting.append(start + made / rate)
            made += 1
        while waiting and idle:
            idle.popleft().send(request, waiting.popleft())
        if now > give_up:
            tally.late = len(waiting)
            tally.failures += len(connections) - len(idle)
            break
        due = start + made / rate if made < total else give_up
        # select takes microseconds; epoll rounds up to milliseconds.
        ready, _, _ = select.select(list(by_fd), (), (), max(0.0, due - clock()))
        for fd in ready:
            connection = by_fd[fd]
            status = connection.receive()
            if status:
                _count(tally, status, clock() - connection.due)
                idle.append(connection)
    tally.seconds = clock() - start
    return tally


def _count(tally: Tally, status: int, latency: float) -> None:
    if status == 200:
        tally.latencies.append(latency)
    else:
        tally.failures += 1


def run(burst: Burst, pids: Sequence[int] = ()) -> dict[str, object]:
    """One burst after its warm-up: counts, latencies in microseconds, CPU seconds by process."""
    request = burst.target.request
    with _connected(burst) as connections, _no_collection():
        if burst.warm_up:
            _loop(burst, connections, request, burst.warm_up)
        busy, before = machine_busy(), {pid: cpu_seconds(pid) for pid in pids}
        own, start = time.process_time(), time.perf_counter()
        tally = _loop(burst, connections, request, burst.seconds)
        elapsed, own = time.perf_counter() - start, time.process_time() - own
        cpu = {str(pid): cpu_seconds(pid) - before[pid] for pid in pids}
        busy = machine_busy() - busy
    ordered = sorted(tally.latencies)
    return {
        "requests": tally.requests,
        "failures": tally.failures,
        "late": tally.late,
        "seconds": tally.seconds,
        "microseconds": {
            name: percentile(ordered, share) * 1e6
            for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
        }
        if ordered
        else {},
        "cpu": cpu,
        "generator_cpu": own,
        "elapsed": elapsed,
        "machine_busy": busy,
    }


def _loop(burst: Burst, connections: Sequence[Connection], request: bytes, seconds: float) -> Tally:
    if burst.rate:
        return open_loop(connections, request, burst.rate, seconds)
    return closed_loop(connections, request, seconds)


@contextmanager
def _connected(burst: Burst) -> Iterator[list[Connection]]:
    with ExitStack() as sockets:
        made = [Connection(burst.target) for _ in range(burst.connections)]
        for connection in made:
            sockets.enter_context(connection.socket)
        yield made


@contextmanager
def _no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _command(given: dict[str, object]) -> object:
    match given:
        case {"do": "find", "program": str(program), "argument": str(argument)}:
            return find(program, argument)
        case {"do": "usage", "pid": int(pid)}:
            return asdict(usage(pid))
        case {"do": "burst", "target": dict(target), "pids": list(pids), **rest}:
            burst = Burst(target=Target(**target), **rest)  # type: ignore[arg-type]  # from JSON
            try:
                return run(burst, pids)
            except (BadAnswerError, OSError) as error:
                return {"error": f"{type(error).__name__}: {error}"}
    raise AssertionError(f"no such command: {given}")


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(_command(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
