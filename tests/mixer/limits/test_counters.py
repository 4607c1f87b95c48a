"""Counters in memory and in a real Redis do the same."""

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from tests.e2e.debian import require

from argosy.mixer.limits.counters import Ask, Counters, CountersError, MemoryCounters
from argosy.mixer.limits.redis_counters import PAUSE_SECONDS, RedisCounters
from argosy.model.rate_limit import Rate
from argosy.testing.certificates import ScratchAuthority
from argosy.testing.running_envoy import free_port

HOUR = timedelta(hours=1)
TWO = Rate(2, HOUR, 2)
FIVE = Rate(5, HOUR, 5)


class RedisServer:
    """Listens at a socket of its own."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.socket = directory / "redis.sock"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        found = require("redis-server")
        arguments = [found.path, "--port", "0", "--save", "", "--unixsocket", str(self.socket)]
        arguments += self._options
        self._process = subprocess.Popen(
            arguments, env=os.environ | found.environment, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(str(self.socket)) == 0:
                    return
            time.sleep(0.01)
        raise AssertionError("Redis does not listen")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest_asyncio.fixture(params=["memory", "redis"])
async def counters(request: pytest.FixtureRequest) -> AsyncIterator[Counters]:
    if request.param == "memory":
        yield MemoryCounters(time.monotonic)
        return
    made = RedisCounters(request.getfixturevalue("redis").url)
    yield made
    await made.close()


async def allowed(counters: Counters, *asks: Ask) -> list[bool]:
    return [one.allowed for one in await counters.take(asks)]


async def test_buckets_are_counted_one_by_one(counters: Counters) -> None:
    a, b = Ask("one:a", TWO), Ask("one:b", TWO)
    assert [await allowed(counters, a) for _ in range(3)] == [[True], [True], [False]]
    assert await allowed(counters, b) == [True]
    (taken,) = await counters.take([b])
    assert (taken.allowed, taken.remaining) == (True, 0)
    assert taken.reset == pytest.approx(3600, abs=2)
    (refused,) = await counters.take([b])
    assert refused.retry == pytest.approx(1800, abs=2)
    assert refused.reset == pytest.approx(3600, abs=2)


async def test_a_refused_request_costs_no_quota(counters: Counters) -> None:
    strict, wide = Ask("all:strict", TWO), Ask("all:wide", FIVE)
    for _ in range(2):
        assert await allowed(counters, strict, wide) == [True, True]
    for _ in range(5):
        assert (await allowed(counters, strict, wide))[0] is False
    assert [await allowed(counters, wide) for _ in range(4)] == [[True]] * 3 + [[False]]


async def test_a_dry_run_counts_whatever_others_say(counters: Counters) -> None:
    strict, tried = Ask("dry:strict", TWO), Ask("dry:tried", FIVE, enforced=False)
    for _ in range(6):
        await counters.take([strict, tried])
    assert await allowed(counters, tried) == [False]
    free = Ask("dry:free", TWO)
    assert await allowed(counters, tried, free) == [False, True], "it refuses nothing itself"


async def test_several_hits(counters: Counters) -> None:
    assert await allowed(counters, Ask("hits", FIVE, 4)) == [True]
    assert await allowed(counters, Ask("hits", FIVE, 2)) == [False]
    assert await allowed(counters, Ask("hits", FIVE, 1)) == [True]


async def test_many_at_once_get_no_more_than_there_is(counters: Counters) -> None:
    rate = Rate(100, HOUR, 100)
    asked = (counters.take([Ask("many", rate)]) for _ in range(300))
    passed = sum(taken[0].allowed for taken in await asyncio.gather(*asked))
    assert passed == 100


async def test_buckets_fill_again(counters: Counters) -> None:
    rate = Rate(20, timedelta(seconds=1), 2)
    assert await allowed(counters, Ask("fill", rate, 2)) == [True]
    assert await allowed(counters, Ask("fill", rate)) == [False]
    await asyncio.sleep(0.06)
    assert await allowed(counters, Ask("fill", rate)) == [True]


async def test_memory_is_bounded() -> None:
    counters = MemoryCounters(lambda: 0.0, max_buckets=100)
    await counters.take([Ask("first", TWO, 2)])
    for number in range(99):
        await counters.take([Ask(str(number), TWO)])
    assert await allowed(counters, Ask("first", TWO)) == [False]
    for number in range(1000):
        await counters.take([Ask(str(number), TWO)])
    assert len(counters) == 100
    assert await allowed(counters, Ask("first", TWO)) == [True], "what is forgotten is full"


async def test_buckets_in_redis_expire_and_are_shared(redis: RedisServer) -> None:
    here, there = RedisCounters(redis.url), RedisCounters(redis.url)
    rate = Rate(20, timedelta(seconds=1), 20)
    assert await allowed(here, Ask("shared", rate, 20)) == [True]
    assert await allowed(there, Ask("shared", rate, 20)) == [False]
    key = "argosy:limit:shared"
    assert 0 < await here._redis.pttl(key) <= 1000
    await asyncio.sleep(1.05)
    assert await here._redis.exists(key) == 0
    await here.close()
    await there.close()


async def test_a_redis_that_dies_is_told_at_once_and_found_again(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    counters = RedisCounters(server.url)
    server.start()
    try:
        assert await allowed(counters, Ask("x", TWO)) == [True]
        server.kill()
        for _ in range(3):
            begun = time.monotonic()
            with pytest.raises(CountersError, match="Redis does not answer"):
                await counters.take([Ask("x", TWO)])
            assert time.monotonic() - begun < 1.0
        server.start()
        await asyncio.sleep(PAUSE_SECONDS)
        assert await allowed(counters, Ask("x", TWO)) == [True]
    finally:
        server.kill()
        await counters.close()


async def test_a_redis_with_tls_proves_the_name_that_it_is_known_by(tmp_path: Path) -> None:
    port, credential = free_port(), ScratchAuthority().credential("counters.default")
    files = {"cert": credential.certificate, "key": credential.key, "ca-cert": credential.roots}
    options = ["--tls-port", str(port), "--tls-auth-clients", "no", "--bind", "127.0.0.1"]
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        options += [f"--tls-{name}-file", str(tmp_path / name)]
    server = RedisServer(tmp_path, *options)
    server.start()
    url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={tmp_path / 'ca-cert'}"
    ours, others = RedisCounters(url, "counters.default"), RedisCounters(url, "other.default")
    try:
        assert await allowed(ours, Ask("x", TWO)) == [True]
        with pytest.raises(CountersError, match=r"other\.default"):
            await others.take([Ask("x", TWO)])
    finally:
        server.kill()
        await ours.close()
        await others.close()
