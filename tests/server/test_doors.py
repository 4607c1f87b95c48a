"""The API's two doors, on real sockets: what they refuse before anybody has said who he is."""

import asyncio
import os
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.applications import Starlette

from argosy.base.names import TrustDomain
from argosy.citadel.identity import SpiffeId, identity_of
from argosy.citadel.refusal import RefusedError
from argosy.citadel.signer import (
    Authority,
    Credential,
    create_intermediate,
    create_root,
    pem,
    private_pem,
    server_credential,
    sign_workload,
)
from argosy.server import doors
from argosy.server.doors import Door, MemberDoor, OwnerDoor, TlsDoor, is_owner, tls_context

AS_NOBODY = """
import os, socket, sys
os.setgid(65534); os.setuid(65534)
client = socket.socket(socket.AF_UNIX)
client.settimeout(10)
try:
    client.connect(sys.argv[1])
    client.sendall(b"GET /healthz HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
    print(client.recv(12))
except ConnectionError:
    print(b"")
"""


@asynccontextmanager
async def serving(door: Door) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group, asyncio.timeout(60):
        group.create_task(door.serve())
        while not door.started:  # noqa: ASYNC110  # uvicorn has no event for it.
            await asyncio.sleep(0.01)
        try:
            yield
        finally:
            door.should_exit = True


def listening() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    return listener


@pytest.fixture
def authority() -> Authority:
    """An intermediate, as every mesh has one: what is served must lead to its root."""
    domain, now = TrustDomain("cluster.local"), datetime.now(UTC)
    return create_intermediate(create_root(domain, now), domain, now)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """Where everybody can look, which is not so of pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def credential(authority: Authority) -> Credential:
    return server_credential(authority, ("localhost", "127.0.0.1"), datetime.now(UTC))


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=pem(authority.root))


def test_owners() -> None:
    assert is_owner(1000, 1000)
    assert is_owner(0, 1000), "root may do everything anyway"
    assert not is_owner(1001, 1000)
    assert not is_owner(65534, 0), "whoever has no name in this user namespace"


async def test_the_owners_socket(app: Starlette, tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    async with serving(OwnerDoor(app, path)):
        assert path.stat().st_mode & 0o777 == 0o600
        transport = httpx.AsyncHTTPTransport(uds=str(path))
        async with httpx.AsyncClient(transport=transport, base_url="http://argosy") as client:
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.get("/version")).status_code == 401, "a token is needed too"
            long = {"x": "a" * (1 << 20)}
            assert (await client.get("/healthz", headers=long)).status_code in (400, 431)
    assert not path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_another_user_is_refused_whatever_the_mode(
    app: Starlette, open_directory: Path
) -> None:
    path = open_directory / "api.sock"
    async with serving(OwnerDoor(app, path)):
        path.chmod(0o777)
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", AS_NOBODY, str(path)],
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout.strip() == "b''"


async def test_tls_with_the_meshs_certificate(app: Starlette, authority: Authority) -> None:
    """A renewed certificate is shown at the next handshake."""
    current = [credential(authority)]
    listener = listening()
    port = listener.getsockname()[1]
    door = TlsDoor(app, listener, tls_context(lambda: current[0]))

    def shown() -> str:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as opened,
            trusting(authority).wrap_socket(opened, server_hostname="localhost") as secured,
        ):
            return str((secured.getpeercert() or {})["serialNumber"])

    async with serving(door):
        async with httpx.AsyncClient(
            base_url=f"https://127.0.0.1:{port}", verify=trusting(authority)
        ) as client:
            refused = await client.get("/version")
            assert (refused.status_code, refused.json()["reason"]) == (401, "Unauthorized")
            mine = {"Authorization": "Bearer admin-token"}
            assert (await client.get("/version", headers=mine)).status_code == 200
        first = await asyncio.to_thread(shown)
        current[0] = credential(authority)
        assert await asyncio.to_thread(shown) != first
        with pytest.raises(httpx.ConnectError):
            async with httpx.AsyncClient() as stranger:
                await stranger.get(f"https://127.0.0.1:{port}/version")
        with pytest.raises(httpx.HTTPError):
            async with httpx.AsyncClient() as plain:
                await plain.get(f"http://127.0.0.1:{port}/version")


async def test_who_keeps_a_connection_unused_loses_it(
    app: Starlette, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a head, nothing at all, or the second head: others are served meanwhile."""
    monkeypatch.setattr(doors, "HEAD_SECONDS", 0.5)
    monkeypatch.setattr(doors, "MAX_CONNECTIONS", 4)
    listener = listening()
    port = listener.getsockname()[1]
    own = credential(authority)
    whole = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    async with serving(TlsDoor(app, listener, tls_context(lambda: own))):

        async def opened(first: bytes) -> asyncio.StreamReader:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=trusting(authority)
            )
            writer.write(first)
            writers.append(writer)
            return reader

        writers: list[asyncio.StreamWriter] = []
        slow = [await opened(first) for first in (b"", b"GET /he", whole + b"GET /he")]
        # One place is left for an honest client, and then none.
        honest = await opened(whole)
        assert (await honest.readline()).startswith(b"HTTP/1.1 200")
        fifth = await opened(whole)
        assert await ended(fifth) == b""
        answers = [await ended(reader) for reader in slow]
        assert [answer[:12] for answer in answers] == [b"", b"", b"HTTP/1.1 200"]
        again = await opened(whole)
        assert (await again.readline()).startswith(b"HTTP/1.1 200")
        for writer in writers:
            writer.close()


async def ended(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the connection ends, as it must."""
    found = b""
    async with asyncio.timeout(20):
        try:
            while data := await reader.read(65536):
                found += data
        except OSError:  # it was reset
            pass
    return found


async def test_the_open_endpoint_takes_small_bodies_only(api: httpx.AsyncClient) -> None:
    path = "/istio.v1.auth/certificates"
    large = {"csr": "x" * 70_000, "token": "workload-token"}
    assert (await api.post(path, json=large)).status_code == 413
    assert (await api.post(path, json={**large, "csr": "x"})).status_code == 200
    for length in ("²", "9" * 30, "-1", "1e3"):
        headers = [(b"content-length", length.encode())]
        refused = await api.post(path, content=b"{}", headers=headers)
        assert refused.status_code == 400


def member(authority: Authority, tmp_path: Path, name: str = "prometheus") -> ssl.SSLContext:
    """A client's, with a workload's certificate of that authority, which trusts its root."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, hashes.SHA256())
    csr = request.public_bytes(serialization.Encoding.PEM).decode()
    identity = SpiffeId.of(TrustDomain("cluster.local"), "default", name)
    issued = sign_workload(authority, csr, identity, datetime.now(UTC))
    file = tmp_path / f"{name}-{issued.serial:x}.pem"
    file.write_text(private_pem(key).decode() + "".join(issued.chain[:-1]))
    context = trusting(authority)
    context.load_cert_chain(file)
    return context


async def test_the_members_door(app: Starlette, authority: Authority, tmp_path: Path) -> None:
    domain, now = TrustDomain("cluster.local"), datetime.now(UTC)
    other = create_intermediate(create_root(domain, now), domain, now)
    roots = [pem(authority.root)]
    own = credential(authority)

    seen: list[tuple[x509.Certificate, ...]] = []

    def authenticate(chain: Sequence[x509.Certificate]) -> None:
        seen.append(tuple(chain[1:]))
        if identity_of(chain[0]).service_account == "revoked":
            raise RefusedError(401, "the client's certificate is revoked")

    context = tls_context(lambda: own, lambda: roots[0])
    door = MemberDoor(app, "127.0.0.1:0", context, authenticate)

    async def ask(client: ssl.SSLContext) -> int:
        """0: refused."""
        async with httpx.AsyncClient(verify=client) as http:
            try:
                return (await http.get(f"https://127.0.0.1:{door.port}/healthz")).status_code
            except (httpx.ReadError, httpx.RemoteProtocolError, httpx.ConnectError):
                return 0

    async with serving(door):
        assert await ask(member(authority, tmp_path)) == 200
        assert seen == [(authority.certificate,)], "what stands between it and the root"
        assert await ask(trusting(authority)) == 0, "no certificate"
        stranger = member(other, tmp_path)
        stranger.load_verify_locations(cadata=pem(authority.root))
        assert await ask(stranger) == 0, "of another authority"
        assert await ask(member(authority, tmp_path, "revoked")) == 0
        roots[0] = pem(other.root)
        assert await ask(stranger) == 200, "the roots have changed"
        assert await ask(member(authority, tmp_path)) == 0
