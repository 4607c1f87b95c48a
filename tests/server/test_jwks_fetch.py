"""Fetching keys from a real web server on this machine, as it answers and as it misbehaves."""

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from argosy.base.jwks import read_key_set
from argosy.model.request_authn import KeySource
from argosy.server.jwks.addresses import address_rules
from argosy.server.jwks.dialing import Endpoint, GuardedBackend
from argosy.server.jwks.fetch import Fetcher
from argosy.server.jwks.reach import FetchError, SystemReach
from argosy.testing.certificates import ScratchAuthority
from argosy.testing.tokens import Issuer

KEYS = Issuer("https://issuer.example.com").key_set()
WAIT = timedelta(seconds=5)


@dataclass
class Site:
    port: int
    answers: dict[str, tuple[int, dict[str, str], str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def site() -> Iterator[Site]:
    found = Site(0)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            if self.path == "/slow":
                found.release.wait(20)
            status, headers, body = found.answers.get(self.path, (404, {}, ""))
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode("latin-1"))

        def log_message(self, *_: object) -> None:
            """What was asked is kept."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.port = int(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield found
        found.release.set()
        server.shutdown()
        thread.join()


class Names(SystemReach):
    """Every name is this machine's."""

    async def resolve(self, host: str) -> tuple[str, ...]:
        if host.endswith(".invalid"):
            raise OSError(f"{host} cannot be resolved")
        return ("169.254.169.254", "127.0.0.1") if host.startswith("rebind") else ("127.0.0.1",)


def fetcher(allowed: str = "127.0.0.1", **pods: tuple[Endpoint, ...]) -> Fetcher:
    rules = address_rules(("10.244.0.0/16",), allowed, "")
    backend = GuardedBackend(rules, Names(), lambda host, _: pods.get(host.partition(".")[0]))
    return Fetcher(backend, ssl.create_default_context())


async def reason(source: KeySource, wait: timedelta = WAIT, allowed: str = "127.0.0.1") -> str:
    with pytest.raises(FetchError) as raised:
        await fetcher(allowed).fetch(source, wait)
    return str(raised.value)


async def test_a_key_set(site: Site) -> None:
    site.answers["/keys?a=b"] = (200, {}, KEYS)
    found = await fetcher().fetch(KeySource(f"{site.url}/keys?a=b"), WAIT)
    assert found == read_key_set(KEYS).text


async def test_discovery_and_redirects(site: Site) -> None:
    named = json.dumps({"jwks_uri": f"{site.url}/moved"})
    site.answers["/.well-known/openid-configuration"] = (200, {}, named)
    site.answers["/moved"] = (307, {"location": "/there"}, "")
    site.answers["/there"] = (302, {"location": f"{site.url}/keys"}, "")
    site.answers["/keys"] = (200, {}, KEYS)
    source = KeySource(f"{site.url}/.well-known/openid-configuration", discovery=True)
    assert await fetcher().fetch(source, WAIT) == read_key_set(KEYS).text


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((404, {}, KEYS), "status 404"),
        ((500, {}, KEYS), "status 500"),
        ((204, {}, ""), "not JSON"),
        ((200, {}, "\xff\xfe"), "is not text"),
        ((200, {}, '{"keys": [{"kty": "oct", "k": "AAAA"}]}'), "anybody can fetch"),
        ((200, {}, " " * 1_100_000), "longer than 1048576 bytes"),
        ((302, {"location": "/keys"}, ""), "redirects more than 3 times"),
        ((302, {"location": "file:///etc/passwd"}, ""), "not an http or https URL"),
        ((302, {"location": "http://a:b@127.0.0.1/"}, ""), "user name or password"),
        ((302, {"location": "http://127.0.0.2/"}, ""), "the machine itself"),
        ((302, {"location": "http://rebind.example.com/"}, ""), "the metadata service"),
        ((302, {"location": "http://[::ffff:10.244.0.3]/"}, ""), "inside the mesh"),
        ((302, {}, KEYS), "status 302"),
    ],
)
async def test_what_is_no_answer(
    site: Site, answer: tuple[int, dict[str, str], str], why: str
) -> None:
    site.answers["/keys"] = answer
    assert why in await reason(KeySource(f"{site.url}/keys"))


async def test_a_slow_answer_ends_with_the_time(site: Site) -> None:
    assert "longer than 0.3 s" in await reason(
        KeySource(f"{site.url}/slow"), timedelta(seconds=0.3)
    )


async def test_an_address_that_is_not_allowed_is_never_dialled(site: Site) -> None:
    site.answers["/keys"] = (200, {}, KEYS)
    for allowed in ("", "other.example.com"):
        why = await reason(KeySource(f"{site.url}/keys"), allowed=allowed)
        assert "ARGOSY_JWKS_ALLOWED" in why
    url = f"http://keys.example.com:{site.port}/keys"
    assert "the machine itself" in await reason(KeySource(url), allowed="")
    assert site.asked == []
    assert await fetcher("keys.example.com").fetch(KeySource(url), WAIT)


async def test_services_of_the_mesh_are_their_pods(site: Site) -> None:
    site.answers["/keys"] = (200, {}, KEYS)
    url = "http://keys.default.svc:80/keys"
    pods = fetcher("127.0.0.1", keys=(("127.0.0.1", site.port),))
    assert await pods.fetch(KeySource(url), WAIT)
    with pytest.raises(FetchError, match="no pod of keys"):
        await fetcher("127.0.0.1", keys=()).fetch(KeySource(url), WAIT)
    with pytest.raises(FetchError, match="inside the mesh"):
        await fetcher("", keys=(("10.244.0.9", 80),)).fetch(KeySource(url), WAIT)


async def test_names_and_ports_that_do_not_answer() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        assert "does not answer" in await reason(KeySource(f"http://127.0.0.1:{port}/"))
    assert "cannot be resolved" in await reason(KeySource("http://nobody.invalid/"))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\r\n",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 xyz OK\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        b"HTTP/1.1 302 Found\r\nlocation: http://[::1/\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nlocation: http://\xff\xfe/\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nlocation: http://a b/\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:99999/\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 300_000,
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
    ],
)
async def test_answers_that_are_no_http(answer: bytes) -> None:
    """Whatever an issuer says, it is a failure with words, and nothing worse."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await reason(KeySource(f"http://127.0.0.1:{port}/keys"))


async def test_https_believes_who_is_trusted_and_named(tmp_path: Path) -> None:
    pair = ScratchAuthority().credential("keys.example.com")
    trusted = tmp_path / "roots.pem"
    trusted.write_text(pair.roots)
    chain = tmp_path / "server.pem"
    chain.write_text(pair.certificate + pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(KEYS)}\r\n\r\n{KEYS}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        rules = address_rules((), "127.0.0.1", "")
        backend = GuardedBackend(rules, Names(), lambda _host, _port: None)
        trust = ssl.create_default_context(cafile=str(trusted))
        ours = Fetcher(backend, trust)
        assert await ours.fetch(KeySource(f"https://keys.example.com:{port}/"), WAIT)
        with pytest.raises(FetchError, match="other"):
            await ours.fetch(KeySource(f"https://other.example.com:{port}/"), WAIT)
        with pytest.raises(FetchError, match="CERTIFICATE_VERIFY_FAILED"):
            await fetcher().fetch(KeySource(f"https://keys.example.com:{port}/"), WAIT)
