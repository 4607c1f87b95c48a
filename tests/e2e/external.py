"""Servers outside the mesh, with DNS names and certificates of their own: a small internet.

What workloads see is the internet: un-injected pods that no Service selects, and names that no
mesh knows, answered by a DNS server that stands in for the machine's resolver. Each pod has a
network namespace of its own, so the well-known ports 80 and 443 are used, as root or not.

    def test(...):
        with internet(mesh, tmp_path, Site("edition.cnn.com", redirect=True)) as internet:
            mesh.up(file, internet.manifest)       # DNS is pointed here: ARGOSY_NAMESERVERS
            internet.connect()                     # learns the addresses; the names answer
            with inside(mesh, "deploy/curl") as curl:
                curl.get("https://edition.cnn.com/", ca=internet.ca)
            internet.seen("edition.cnn.com")       # what arrived there, oldest first

A ``Site`` is one pod. Its name may be a wildcard (``*.wikipedia.org``); ``aliases`` are further
names. It serves HTTP/1.1 and h2c on 80; TLS with HTTP/1.1 and HTTP/2 by ALPN, and a certificate
for its names, on 443; TLS that demands a client's certificate by the same authority on 8443
(``mutual``: on 443 too); and opaque bytes on 7000, echoed after ``raw:``. ``ports`` are further
ports of plain HTTP. ``hosts()`` is what the names stand for, ``answer()`` changes it; DNS answers
live a second. ``client`` is a certificate and key for the clients of mutual TLS.

Requests are answered by their path:
    /status/CODE      that status
    /delay/SECONDS    after that time
    any other         200 and a description: host, method, path, headers, port, protocol, body,
                      site, address, and for TLS sni, version, and client (its names, or "")
``redirect``: port 80 answers 301 to https, as sites do. A site's answers carry ``x-site``.
"""

import asyncio
import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import dns.rrset
import h2.config
import h2.connection
import h2.events
from manifests import deployment, namespace
from mesh import Mesh

from argosy.testing.certificates import Credential, ScratchAuthority

Json = dict[str, Any]
NAMESPACE = "internet"
PORTS = {"http": 80, "https": 443, "mutual": 8443, "tcp": 7000}


@dataclass(frozen=True)
class Site:
    """One server outside; see the module's text."""

    name: str
    aliases: tuple[str, ...] = ()
    redirect: bool = False
    mutual: bool = False
    ports: tuple[int, ...] = ()

    @property
    def pod(self) -> str:
        """The name of its Deployment in the namespace ``internet``."""
        return self.name.replace("*", "any").replace(".", "-").lower()

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)


class NameServer:
    """Answers A for the names that it is told; NXDOMAIN for others. ``asked`` holds all queries."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.asked: list[str] = []
        self.known: dict[str, tuple[str, ...]] = {}
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def find(self, name: str) -> tuple[str, ...] | None:
        """By its name, or by the closest wildcard above it."""
        labels = name.lower().split(".")
        patterns = [".".join(labels), *("*." + ".".join(labels[i:]) for i in range(1, len(labels)))]
        return next((self.known[p] for p in patterns if p in self.known), None)

    def _serve(self) -> None:
        while True:
            try:
                query, client = self._socket.recvfrom(4096)
            except OSError:
                return
            if not query:
                return
            message = dns.message.from_wire(query)
            name = message.question[0].name.to_text(omit_final_dot=True)
            self.asked.append(name)
            answer = dns.message.make_response(message)
            found = self.find(name)
            if found is None:
                answer.set_rcode(dns.rcode.NXDOMAIN)
            elif message.question[0].rdtype == dns.rdatatype.A and found:
                rrset = dns.rrset.from_text(message.question[0].name, 1, "IN", "A", *found)
                answer.answer.append(rrset)
            self._socket.sendto(answer.to_wire(), client)


class Internet:
    """The sites of one mesh; made by ``internet``."""

    def __init__(self, mesh: Mesh, directory: Path, sites: tuple[Site, ...]) -> None:
        self._mesh = mesh
        self._directory = directory
        self._directory.mkdir(parents=True, exist_ok=True)
        self._sites = {site.name: site for site in sites}
        self._authority = ScratchAuthority()
        self.names = NameServer()
        self._addresses: dict[str, str] = {}
        self.ca = str(self._write("ca.pem", self._authority.credential("ca.invalid").roots))
        self.client = self._pair("client", self._authority.credential("client.example.com"))
        mesh.environment["ARGOSY_NAMESERVERS"] = self.names.address
        parts = [namespace(NAMESPACE, {"istio-injection": "disabled"})]
        parts += [self._deployment(site) for site in sites]
        self.manifest = self._write("internet.yaml", "".join(parts))

    def connect(self) -> None:
        """After ``mesh.up``: the names answer with the addresses that the pods have."""
        pods = self._mesh.get("pods", "-n", NAMESPACE)
        by_app = {p["metadata"]["labels"]["app"]: p["status"]["podIP"] for p in pods}
        for site in self._sites.values():
            self._addresses[site.name] = by_app[site.pod]
            for name in site.names:
                self.answer(name, by_app[site.pod])

    def address(self, name: str) -> str:
        """Of the pod that serves the site."""
        return self._addresses[name]

    def answer(self, name: str, *addresses: str) -> None:
        """From now on DNS answers so; without addresses NODATA."""
        self.names.known[name.lower()] = addresses

    def forget(self, name: str) -> None:
        """From now on there is no such name."""
        del self.names.known[name.lower()]

    def hosts(self) -> dict[str, tuple[str, ...]]:
        return dict(self.names.known)

    def seen(self, name: str) -> list[Json]:
        """What arrived at the site: descriptions as in its answers, oldest first."""
        path = self._directory / f"{self._sites[name].pod}.seen"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text().splitlines()]

    def credential(self, *names: str) -> Credential:
        """A certificate by the authority of this internet, as PEM texts."""
        return self._authority.credential(*names)

    def _deployment(self, site: Site) -> str:
        pair = self._pair(site.pod, self._authority.credential(*site.names))
        seen = self._write(f"{site.pod}.seen", "")
        seen.chmod(0o666)
        config = {**asdict(site), "ca": self.ca, "pair": pair, "seen": str(seen)}
        path = self._write(f"{site.pod}.json", json.dumps(config))
        argv = (sys.executable, str(Path(__file__)), str(path))
        return deployment(site.pod, *argv, port=PORTS["http"], namespace=NAMESPACE)

    def _pair(self, name: str, credential: Credential) -> tuple[str, str]:
        certificate = self._write(f"{name}.crt", credential.certificate)
        return (str(certificate), str(self._write(f"{name}.key", credential.key)))

    def _write(self, name: str, text: str) -> Path:
        path = self._directory / name
        path.write_text(text)
        return path


@contextlib.contextmanager
def internet(mesh: Mesh, directory: Path, *sites: Site) -> Iterator[Internet]:
    """Call it before ``mesh.up``."""
    made = Internet(mesh, directory / "internet", sites)
    try:
        yield made
    finally:
        made.names.close()


def real_curl(mesh: Mesh, target: str, *arguments: str, namespace: str = "default") -> str:
    """What the machine's own ``curl`` says on standard output inside a workload, as in the tasks."""
    done: subprocess.CompletedProcess[str] = mesh.exec(
        target, "curl", *arguments, namespace=namespace, check=False
    )
    return done.stdout


# The server, which runs in a pod.


@dataclass(frozen=True)
class Where:
    """A connection's own facts."""

    port: int
    address: str
    tls: Json | None


@dataclass(frozen=True)
class Reply:
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Server:
    def __init__(self, config: Json) -> None:
        self._config = config
        self._seen = Path(config["seen"])
        self._server_names: dict[int, str] = {}

    async def run(self) -> None:
        config = self._config
        plain = (PORTS["http"], *config["ports"])
        for port in plain:
            await asyncio.start_server(self._accept, "0.0.0.0", port, backlog=512)
        for port in (PORTS["https"], PORTS["mutual"]):
            required = config["mutual"] or port == PORTS["mutual"]
            context = self._context(required)
            await asyncio.start_server(self._accept, "0.0.0.0", port, ssl=context, backlog=512)
        await asyncio.start_server(self._echo, "0.0.0.0", PORTS["tcp"], backlog=512)
        await asyncio.Event().wait()

    def _context(self, required: bool) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self._config["pair"])
        context.load_verify_locations(self._config["ca"])
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        context.set_alpn_protocols(["h2", "http/1.1"])

        def named(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            self._server_names[id(connection)] = name or ""

        context.sni_callback = named  # type: ignore[assignment]  # the stub wants SSLSocket only
        return context

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                self._remember({"port": PORTS["tcp"], "bytes": len(data)})
                writer.write(b"raw:" + data)
                await writer.drain()
        writer.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address, port = writer.get_extra_info("sockname")[:2]
        found = writer.get_extra_info("ssl_object")
        where = Where(port, address, None if found is None else self._tls(found))
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            if found is not None and found.selected_alpn_protocol() == "h2":
                await self._serve_h2(b"", where, reader, writer)
            else:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"PRI * HTTP/2.0"):
                    await self._serve_h2(head, where, reader, writer)
                else:
                    await self._serve_http1(head, where, reader, writer)
        writer.close()

    def _tls(self, connection: ssl.SSLObject) -> Json:
        certificate = connection.getpeercert() or {}
        alternative: Any = certificate.get("subjectAltName", ())
        return {
            "sni": self._server_names.pop(id(connection), ""),
            "version": connection.version(),
            "alpn": connection.selected_alpn_protocol() or "",
            "client": ",".join(str(value) for _, value in alternative),
        }

    async def _serve_http1(
        self, head: bytes, where: Where, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            line, *rest = head.decode("latin-1").strip().split("\r\n")
            method, path, _ = line.split(" ", 2)
            headers = {n.lower(): v.strip() for n, _, v in (item.partition(":") for item in rest)}
            body = await _body(headers, reader)
            reply = await self._reply(method, path, headers, body, where, "HTTP/1.1")
            fields = "".join(f"{name}: {value}\r\n" for name, value in reply.headers)
            writer.write(
                f"HTTP/1.1 {reply.status} x\r\n{fields}"
                f"content-length: {len(reply.body)}\r\n\r\n".encode()
                + (b"" if method == "HEAD" else reply.body)
            )
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")

    async def _serve_h2(
        self, data: bytes, where: Where, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        settings = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        connection = h2.connection.H2Connection(settings)
        connection.initiate_connection()
        heads: dict[int, dict[str, str]] = {}
        bodies: dict[int, bytes] = {}
        data = data or await reader.read(65536)
        while data:
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    stream = event.stream_id or 0
                    heads[stream] = {str(k): str(v) for k, v in event.headers or ()}
                    bodies[stream] = b""
                elif isinstance(event, h2.events.DataReceived):
                    stream, length = event.stream_id or 0, event.flow_controlled_length or 0
                    bodies[stream] += event.data or b""
                    if length:
                        connection.acknowledge_received_data(length, stream)
                elif isinstance(event, h2.events.StreamEnded):
                    stream = event.stream_id or 0
                    headers, body = heads.pop(stream), bodies.pop(stream)
                    headers["host"] = headers.get(":authority", "")
                    method, path = headers[":method"], headers[":path"]
                    reply = await self._reply(method, path, headers, body, where, "HTTP/2")
                    fields = [(":status", str(reply.status)), *reply.headers]
                    connection.send_headers(stream, fields, end_stream=not reply.body)
                    if reply.body:
                        connection.send_data(stream, reply.body, end_stream=True)
            writer.write(connection.data_to_send())
            await writer.drain()
            data = await reader.read(65536)

    async def _reply(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
        where: Where,
        protocol: str,
    ) -> Reply:
        host = headers.get("host", "")
        described = {
            "site": self._config["name"],
            "host": host,
            "method": method,
            "path": path,
            "headers": headers,
            "port": where.port,
            "address": where.address,
            "protocol": protocol,
            "body": body.decode("latin-1"),
            "tls": where.tls,
        }
        self._remember(described)
        own = (("x-site", self._config["name"]),)
        if self._config["redirect"] and where.tls is None:
            location = ("location", f"https://{host.partition(':')[0]}{path}")
            return Reply(301, (*own, location), b"")
        kind, _, value = path.partition("?")[0].removeprefix("/").partition("/")
        status = 200
        if kind == "status" and value.isdigit():
            status = int(value)
        elif kind == "delay":
            await asyncio.sleep(float(value))
        text = json.dumps(described).encode()
        return Reply(status, (*own, ("content-type", "application/json")), text)

    def _remember(self, what: Json) -> None:
        with self._seen.open("a") as file:
            file.write(json.dumps(what) + "\n")


async def _body(headers: dict[str, str], reader: asyncio.StreamReader) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        found = b""
        while size := int((await reader.readline()).split(b";")[0], 16):
            found += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        return found
    return await reader.readexactly(int(headers.get("content-length", "0")))


if __name__ == "__main__":
    os.umask(0o022)
    asyncio.run(Server(json.loads(Path(sys.argv[1]).read_text())).run())
