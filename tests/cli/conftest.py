"""The command line in this process, against the real API on a UNIX socket: a store in memory, the
compilers' problems, and scripted proxies."""

import asyncio
import io
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from argosy import derive
from argosy.api.core import Namespace
from argosy.api.decode import decode_yaml
from argosy.api.meta import Metadata
from argosy.api.registry import KINDS
from argosy.base.names import ObjectKey
from argosy.base.problems import Problem
from argosy.citadel.reports import CertificateReport
from argosy.citadel.trust import TrustDocument
from argosy.cli.main import main
from argosy.pilot.analyze.findings import findings_of
from argosy.platforms.local.state import MeshDirectory, MeshRecord, Published
from argosy.server.access_tokens import KeptTokens
from argosy.server.http import services
from argosy.server.http.app import create_app
from argosy.store.admission import KubernetesAdmission
from argosy.store.cells import CellFeed
from argosy.store.store import Store
from argosy.store.transaction import Event, Put, SetStatus

TOKEN = "admin-token"
NOBODY = services.Distribution(0, 0)


class Clock:
    """Now, an hour ago: everything in the store is an hour old."""

    def now(self) -> datetime:
        return datetime.now(UTC) - timedelta(hours=1)

    def monotonic(self) -> float:
        return 0.0


class Counted:
    def text(self) -> bytes:
        return b"# TYPE pilot_xds gauge\npilot_xds 0.0\n"


@dataclass
class Neighbours:
    """Authenticator, proxies and problems; proxies and their answers are what a test puts here."""

    engine: derive.Engine
    tokens: KeptTokens
    connected: list[services.ProxyStatus] = field(default_factory=list)
    distributed: services.Distribution = field(default_factory=lambda: NOBODY)
    failing: list[dict[str, object]] = field(default_factory=list)

    def authenticate(self, token: str) -> services.Actor | None:
        if token == TOKEN:
            return services.Actor("admin", frozenset({services.Role.ADMIN}))
        return self.tokens.authenticate(token)

    def proxies(self) -> Sequence[services.ProxyStatus]:
        return self.connected

    async def distribution(self, revision: int, timeout_seconds: float) -> services.Distribution:
        return self.distributed

    def status(self) -> dict[str, object]:
        facts = {"uptimeSeconds": 61.0, "revision": 7, "objects": 3, "rootExpires": ""}
        return {**facts, "keysFailing": self.failing}

    def ready(self) -> str:
        return ""

    def addresses(self, key: ObjectKey) -> tuple[str, ...]:
        return ()

    def problems(self, key: ObjectKey) -> tuple[Problem, ...]:
        found = self.engine.value(findings_of, key)
        assert not isinstance(found, derive.Failed), found
        return found

    def problems_of_many(self, keys: Sequence[ObjectKey]) -> dict[ObjectKey, tuple[Problem, ...]]:
        return {key: self.problems(key) for key in keys}

    def spread(self, key: ObjectKey) -> services.Spread | None:
        return services.Spread(2, 2)


class Certificates:
    """Issues none: the command line asks for no certificate."""

    async def issue(self, csr: str, token: str) -> tuple[str, ...]:
        raise AssertionError


class Tokens:
    """Issues none."""

    def issue(self, request: services.TokenRequest) -> services.IssuedToken:
        raise AssertionError


class Trusts:
    """What the API says of certificates; ``rotations`` are answers one after the other."""

    def __init__(self) -> None:
        idle = services.RotationStatus(False, "", (), "CN=old", "", "", "", ())
        self.shown = services.CertificateOverview(
            "cluster.local", (), "10.244.0.1:999", False, "ROOTS\n", False, (), (), ()
        )
        self.rotations = [idle]
        self.refusal = ""
        self.begun: list[bool] = []

    async def document(self, version: str, seconds: float) -> TrustDocument:
        return TrustDocument("v1", "b1", "i1", "cluster.local", "roots")

    def report(self, reports: Sequence[CertificateReport]) -> None:
        raise AssertionError("agents report, not the command line")

    def overview(self) -> services.CertificateOverview:
        return self.shown

    def rotation(self) -> services.RotationStatus:
        return self.rotations.pop(0) if len(self.rotations) > 1 else self.rotations[0]

    def rotate(self, *, dry_run: bool) -> services.RotationStatus:
        if self.refusal:
            raise services.RefusedError(409, self.refusal)
        self.begun.append(dry_run)
        return self.rotation()


@dataclass
class Answer:
    """What a run of the command line gave."""

    code: int
    out: str
    err: str


class Sockets:
    """Serves whatever mesh is the present one, for all tests: to start a server takes 0.2 s."""

    def __init__(self, directory: Path) -> None:
        self.api, self.node = directory / "api", directory / "node"
        self.mesh: FakeMesh | None = None
        self._servers = [
            uvicorn.Server(
                uvicorn.Config(
                    app, uds=str(path), lifespan="off", log_config=None, interface="asgi3"
                )
            )
            for app, path in ((self._api, self.api), (self._node, self.node))
        ]
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def start(self) -> None:
        self._thread.start()
        while not all(server.started for server in self._servers):
            assert self._thread.is_alive()
            time.sleep(0.01)

    def end(self) -> None:
        for server in self._servers:
            server.should_exit = True
        self._thread.join()

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for server in self._servers:
                tasks.create_task(server.serve())

    async def _api(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.mesh is not None
        await self.mesh.api(scope, receive, send)

    async def _node(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.mesh is not None
        await self.mesh.node(scope, receive, send)


class FakeMesh:
    """A running mesh without processes: its directory, its API, and its node's interface."""

    def __init__(self, directory: MeshDirectory, sockets: Sockets) -> None:
        self.directory = directory
        numbers = count(1)
        self.store = Store(
            clock=Clock(),
            uids=lambda: f"uid-{next(numbers)}",
            admission=KubernetesAdmission({entry.kind: entry.namespaced for entry in KINDS}),
        )
        engine = derive.Engine()
        feed = CellFeed(derive.ABSENT)

        def receive(events: Sequence[Event], _revision: int) -> None:
            engine.set(feed.cells(events))

        self.store.subscribe(receive)
        self.tokens = KeptTokens(directory.tokens, Clock())
        self.neighbours = Neighbours(engine, self.tokens)
        names = ("default", "istio-system")
        self.store.apply(
            [Put(Namespace(kind="Namespace", metadata=Metadata(name=name))) for name in names]
        )
        self.admin: dict[str, object] = {}
        """Answers of the Envoy of every pod, by path."""
        self.trusts = Trusts()
        self.pods: list[dict[str, object]] = []
        """What the node says of its pods."""
        self.api = create_app(
            services.ApiServices(
                store=self.store,
                authenticator=self.neighbours,
                proxies=self.neighbours,
                problems=self.neighbours,
                certificates=Certificates(),
                tokens=Tokens(),
                trust=self.trusts,
                access=self.tokens,
                metrics=Counted(),
                clock=Clock(),
                version="0.1.0",
            )
        )
        self.node = Starlette(
            routes=[
                Route("/v1/pods", self._pods),
                Route("/v1/pods/{namespace}/{pod}/envoy/{path:path}", self._envoy),
            ]
        )
        self._lock = directory.acquire()
        directory.admin_token.write_text(TOKEN)
        published = (Published("istio-system", "istio-ingressgateway", 80, "127.0.0.1", 8080),)
        directory.write_record(
            MeshRecord(directory.name, 1, 0, "root", True, "", "", published, True)
        )
        directory.api_socket.symlink_to(sockets.api)
        directory.node_socket.symlink_to(sockets.node)
        sockets.mesh = self

    def put(self, text: str) -> None:
        """Store objects with their status; only while nobody asks the API."""
        decoded = decode_yaml(text, "stored.yaml")
        assert not decoded.errors, decoded.errors
        self.store.apply([Put(value) for value in decoded.objects])
        for value in decoded.objects:
            if getattr(value, "status", None) is not None:
                self.store.apply([SetStatus(value)])

    def stop_api(self) -> None:
        """The control plane has ended; its socket is still there, and the rest of the mesh runs."""
        self.directory.api_socket.unlink()
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(self.directory.api_socket))

    def end(self) -> None:
        """The mesh has ended; its files are still there."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
            self.stop_api()

    async def _pods(self, _request: Request) -> Response:
        return JSONResponse(self.pods)

    async def _envoy(self, request: Request) -> Response:
        if request.path_params["path"] not in self.admin:
            return JSONResponse({"code": 404, "message": "nothing"}, 404)
        return JSONResponse(self.admin[request.path_params["path"]])


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARGOSY_STATE_DIR", str(tmp_path / "state"))
    for name in (
        "ARGOSY_MESH",
        "ARGOSY_NAMESPACE",
        "ARGOSY_SERVER",
        "ARGOSY_SERVER_CA",
        "ARGOSY_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def sockets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sockets]:
    served = Sockets(tmp_path_factory.mktemp("sockets"))
    served.start()
    try:
        yield served
    finally:
        served.end()


@pytest.fixture
def mesh(environment: None, sockets: Sockets) -> Iterator[FakeMesh]:
    made = FakeMesh(MeshDirectory.of("default"), sockets)
    try:
        yield made
    finally:
        made.end()


Argosy = Callable[..., Answer]


@pytest.fixture
def argosy(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Argosy:
    """Runs the command line: ``argosy("get", "vs", stdin="...")``."""

    def run(*args: str, stdin: str = "") -> Answer:
        monkeypatch.setattr(sys, "argv", ["argosy", *args])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        capsys.readouterr()
        code: object = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return Answer(int(str(code or 0)), said.out, said.err)

    return run
