"""The part as a whole: a gRPC stream in, answers over HTTP out. The sender is who TLS says."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import grpc
import httpx
import msgspec
import pytest
from cryptography import x509
from envoy.service.accesslog.v3 import als_pb2
from starlette.applications import Starlette

from argosy.base.names import TrustDomain
from argosy.citadel.identity import SpiffeId
from argosy.mixer import caller as calling
from argosy.mixer.asker import NAME_HEADER, NAMESPACE_HEADER
from argosy.mixer.records.part import SERVICE, Records

METHOD = f"/{SERVICE}/StreamAccessLogs"


class StandingClock:
    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0


class World:
    """Who the sender is, is set by hand: the guard that proves it has tests of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.part = Records(StandingClock())
        certificate: Any = object.__new__(x509.CertificateBuilder)
        identity = SpiffeId.of(TrustDomain("cluster.local"), "default", "web")
        who = calling.Caller(identity, "10.0.0.1", certificate)
        monkeypatch.setattr("argosy.mixer.records.part.caller", lambda: who)
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers(tuple(self.part.handlers()))
        self._port = self._server.add_insecure_port("127.0.0.1:0")
        transport = httpx.ASGITransport(Starlette(routes=list(self.part.routes())))
        self.people = httpx.AsyncClient(transport=transport, base_url="http://mixer")

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self.people.aclose()
        await self._server.stop(None)

    async def send(self, *messages: bytes) -> str:
        """The code that the stream ends with."""
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self._port}") as channel:
            try:
                await channel.stream_unary(METHOD)(iter(messages), timeout=10)
            except grpc.aio.AioRpcError as error:
                return str(error.code().name)
            return "OK"

    async def get(self, path: str, namespace: str = "", code: int = 200) -> Any:
        headers = {NAME_HEADER: "eva", NAMESPACE_HEADER: namespace}
        answer = await self.people.get(path, headers=headers)
        assert answer.status_code == code, answer.text
        return answer.json()

    async def post(self, path: str, body: Any, namespace: str = "", code: int = 200) -> Any:
        headers = {NAME_HEADER: "eva", NAMESPACE_HEADER: namespace}
        answer = await self.people.post(path, json=body, headers=headers)
        assert answer.status_code == code, answer.text
        return answer.json()


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    world = World(monkeypatch)
    await world.start()
    yield world
    await world.stop()


def a_message(
    *,
    namespace: str = "default",
    log_name: str = "inbound",
    status: int = 500,
    kind: str = "sidecar",
) -> bytes:
    message = als_pb2.StreamAccessLogsMessage()
    node = message.identifier.node
    node.id = f"{kind}~10.0.0.1~web-1.{namespace}~{namespace}.svc.cluster.local"
    node.metadata["WORKLOAD_NAME"] = "web"
    node.metadata["NAME"] = "web-1"
    message.identifier.log_name = log_name
    entry = message.http_logs.log_entry.add()
    entry.request.request_id = "abc"
    entry.request.path = "/items/1?token=secret"
    entry.response.response_code.value = status
    return bytes(message.SerializeToString())


async def test_entries_become_records_that_people_find(world: World) -> None:
    assert await world.send(a_message(), a_message(status=404)) == "OK"
    (first, second) = (await world.get("/records/requests/abc"))["items"]
    assert (first["reporter"]["serviceAccount"], first["path"]) == ("web", "/items/1")
    assert {first["status"], second["status"]} == {500, 404}
    assert len((await world.get("/records?failures=true&limit=1"))["items"]) == 1
    assert (await world.get("/records", namespace="shop"))["items"] == []
    assert (await world.get("/records?namespace=default", namespace="shop"))["items"] == []
    assert (await world.get("/records/status"))["received"] == 2
    await world.get("/records/status", namespace="shop", code=403)
    await world.get("/records?limit=many", code=400)


async def test_a_gateway_is_known_by_its_kind(world: World) -> None:
    assert await world.send(a_message(log_name="outbound", kind="router")) == "OK"
    ((found,),) = ((await world.get("/records"))["items"],)
    assert found["direction"] == "gateway"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (a_message(namespace="shop"), "PERMISSION_DENIED"),
        (a_message(log_name="sideways"), "INVALID_ARGUMENT"),
        (b"\xff\xff\xff", "INVALID_ARGUMENT"),
        (als_pb2.StreamAccessLogsMessage().SerializeToString(), "INVALID_ARGUMENT"),
    ],
)
async def test_who_lies_or_talks_nonsense_is_refused(
    world: World, content: bytes, code: str
) -> None:
    assert await world.send(content) == code
    assert (await world.get("/records/status"))["received"] == 0


async def test_who_may_watch_and_record_what(world: World) -> None:
    await world.post("/records/tap", {"namespace": "shop"}, "default", 403)
    await world.post("/records/tap", {}, "default", 403)
    await world.post("/records/tap", {"statuses": ["9xx"]}, code=400)
    await world.post("/records/tap", {"unknown": 1}, code=400)
    await world.post("/records/record", {"namespace": "shop"}, "default", 403)
    await world.post("/records/record", {"seconds": 1e9}, code=400)
    assert (await world.get("/records/observed"))["recording"] is None


async def test_who_is_gone_before_the_first_line_watches_no_more(world: World) -> None:
    body = b'{"namespace": "default"}'
    scope = {
        "type": "http", "method": "POST", "path": "/records/tap", "headers": [],
        "query_string": b"", "root_path": "",
    }  # fmt: skip

    asked = [
        {"type": "http.request", "body": body, "more_body": False},
        {"type": "http.disconnect"},
    ]
    answered: list[str] = []

    async def receive() -> Any:
        return asked.pop(0)

    async def send(message: Any) -> None:
        answered.append(message["type"])
        await asyncio.sleep(10)

    await Starlette(routes=list(world.part.routes()))(scope, receive, send)
    assert answered == ["http.response.start"]
    assert (await world.get("/records/status"))["viewers"] == 0


async def test_a_recording(world: World) -> None:
    began = await world.post("/records/record", {"seconds": 60}, "default")
    assert (began["namespace"], began["active"], began["complete"]) == ("default", True, True)
    wanted = (await world.get("/records/wanted"))["wanted"]
    assert wanted["wishes"] == [{"namespace": "default", "labels": [], "share": 10_000}]
    await world.send(a_message(status=200), a_message(status=200))
    observed = await world.get("/records/observed?namespace=default")
    ((only,),) = (observed["items"],)
    assert (only["workload"], only["path"], only["count"]) == ("web", "/items/{*}", 2)
    await world.post("/records/record", {"namespace": "shop", "seconds": 60}, "shop", 409)
    assert not (await world.post("/records/record", {"seconds": 0}))["active"]
    assert (await world.get("/records/wanted"))["wanted"]["wishes"] == []


async def test_the_wishes_are_told_as_soon_as_they_change(world: World) -> None:
    version = (await world.get("/records/wanted"))["version"]
    path = f"/records/wanted?version={version}&timeoutSeconds=20"
    async with asyncio.TaskGroup() as tasks, asyncio.timeout(10):
        waiting = tasks.create_task(world.get(path))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await world.post("/records/record", {"seconds": 60})
    assert waiting.result()["version"] != version
    same = await world.get(f"/records/wanted?version={version}x&timeoutSeconds=0")
    assert msgspec.json.encode(same["wanted"]) == msgspec.json.encode(waiting.result()["wanted"])
