"""The stand-in for envoyproxy/ratelimit as a process: its files, its ports, its answers."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from envoy.service.ratelimit.v3 import rls_pb2
from envoy.type.v3 import ratelimit_unit_pb2

from argosy.testing.running_envoy import free_port

CONFIG = """
domain: d
descriptors:
- {key: path, rate_limit: {unit: minute, requests_per_unit: 1}}
- {key: shadow, rate_limit: {unit: minute, requests_per_unit: 1}, shadow_mode: true}
- {key: never, rate_limit: {unit: week, requests_per_unit: 0}}
"""
OK, OVER = rls_pb2.RateLimitResponse.OK, rls_pb2.RateLimitResponse.OVER_LIMIT
METHOD = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"


class Service:
    def __init__(self, directory: Path) -> None:
        self.config = directory / "ratelimit" / "config"
        self.config.mkdir(parents=True)
        (self.config / "config.yaml").write_text(CONFIG)
        self.log = directory / "log"
        self.web, self.port = free_port(), free_port()
        ours = {
            "RUNTIME_ROOT": str(directory),
            "RUNTIME_SUBDIRECTORY": "ratelimit",
            "HOST": "127.0.0.1",
            "GRPC_HOST": "127.0.0.1",
            "PORT": str(self.web),
            "GRPC_PORT": str(self.port),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "argosy.mixer.limits.service"],
            env=os.environ | ours,
            stderr=self.log.open("wb"),
            stdout=subprocess.DEVNULL,
        )
        self._channel = grpc.insecure_channel(f"127.0.0.1:{self.port}")
        grpc.channel_ready_future(self._channel).result(20)

    def ask(self, *entries: tuple[str, str], limit: int = 0) -> rls_pb2.RateLimitResponse:
        request = rls_pb2.RateLimitRequest(domain="d")
        descriptor = request.descriptors.add()
        for key, value in entries:
            descriptor.entries.add(key=key, value=value)
        if limit:
            descriptor.limit.requests_per_unit = limit
            descriptor.limit.unit = ratelimit_unit_pb2.HOUR
        call = self._channel.unary_unary(
            METHOD,
            rls_pb2.RateLimitRequest.SerializeToString,
            rls_pb2.RateLimitResponse.FromString,
        )
        found: rls_pb2.RateLimitResponse = call(request, timeout=10)
        return found

    def is_told(self, text: str) -> bool:
        """Whether it says so in its log within ten seconds."""
        deadline = time.monotonic() + 10
        while text not in self.log.read_text() and time.monotonic() < deadline:
            time.sleep(0.1)
        return text in self.log.read_text()

    def close(self) -> int:
        self._channel.close()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path)
    yield made
    if made.process.poll() is None:
        made.close()


def test_it_does_as_its_files_say(service: Service) -> None:
    assert httpx.get(f"http://127.0.0.1:{service.web}/healthcheck").text == "OK"
    assert [service.ask(("path", "/a")).overall_code for _ in range(2)] == [OK, OVER]
    assert service.ask(("path", "/b")).overall_code == OK
    assert [service.ask(("shadow", "x")).overall_code for _ in range(2)] == [OK, OK]
    assert service.ask(("never", "x")).overall_code == OVER
    assert service.ask(("else", "x")).overall_code == OK
    assert [service.ask(("else", "y"), limit=1).overall_code for _ in range(2)] == [OK, OVER]

    # Files that cannot be read change nothing and end nothing, whatever stands in them.
    spoiled = service.config / "spoiled.yaml"
    spoiled.write_bytes("domain: caf\u00e9".encode("latin-1"))
    assert service.is_told("spoiled.yaml: it is no UTF-8")
    assert service.ask(("path", "/a")).overall_code == OVER
    spoiled.unlink()

    (service.config / "config.yaml").write_text(CONFIG.replace("path", "PATH"))
    deadline = time.monotonic() + 10
    while service.ask(("path", "/a")).overall_code == OVER and time.monotonic() < deadline:
        time.sleep(0.1)
    assert service.ask(("path", "/a")).overall_code == OK
    assert [service.ask(("PATH", "/a")).overall_code for _ in range(2)] == [OK, OVER]
    assert service.close() == 0


@pytest.mark.parametrize(
    ("spoiled", "said"),
    [(False, "{}/x/config: No such file or directory"), (True, "a.yaml: it is no UTF-8: ")],
)
def test_it_says_what_is_wrong_with_its_files(tmp_path: Path, spoiled: bool, said: str) -> None:
    if spoiled:
        (tmp_path / "x" / "config").mkdir(parents=True)
        (tmp_path / "x" / "config" / "a.yaml").write_bytes(b"domain: \xe9")
    ours = {"RUNTIME_ROOT": str(tmp_path), "RUNTIME_SUBDIRECTORY": "x"}
    done = subprocess.run(
        [sys.executable, "-m", "argosy.mixer.limits.service"],
        env=os.environ | ours,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {said.format(tmp_path)}")
    assert done.stderr.count("\n") == 1
