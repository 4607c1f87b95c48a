"""Mixer behind the API: a small application on a real UNIX socket stands for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from argosy.mixer.asker import AskedRoute
from argosy.server.http import mixer
from argosy.server.http.app import create_app
from argosy.server.http.services import ApiServices, MixerQuestion
from argosy.server.mixer_link import MAX_STREAMS, SocketLink

CERTIFICATE = "/apis/argosy.dev/v1alpha1/mixer/certificate"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class Asked:
    """What Mixer was asked, and how a stream of it ended."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.ended = asyncio.Event()

    def application(self) -> Starlette:
        async def echo(request: Request) -> Response:
            self.headers = dict(request.headers)
            body = (await request.body()).decode()
            target = request.scope["raw_path"].decode()
            query = request.url.query
            return JSONResponse({"path": target, "query": query, "body": body}, 201)

        async def endless(_request: Request) -> Response:
            async def lines() -> AsyncIterator[bytes]:
                try:
                    yield b"first\n"
                    await asyncio.sleep(60)
                finally:
                    self.ended.set()

            return StreamingResponse(lines(), media_type="application/x-ndjson")

        async def broken(_request: Request) -> Response:
            async def lines() -> AsyncIterator[bytes]:
                yield b"first\n"
                raise ConnectionError

            return StreamingResponse(lines())

        async def silent(_request: Request) -> Response:
            await asyncio.sleep(60)
            return JSONResponse({})

        async def own(_request: Request) -> Response:
            return JSONResponse({})

        methods = ("GET", "POST")
        return Starlette(
            routes=[
                Route("/healthz", own),
                AskedRoute("/mine", own, namespaced=True),
                AskedRoute("/all", own),
                AskedRoute("/own", own, methods=methods, own=True),
                AskedRoute("/records/tap", endless, methods=methods),
                AskedRoute("/silent", silent),
                AskedRoute("/broken", broken),
                Route("/echo/{rest:path}", echo, methods=methods),
            ]
        )


@asynccontextmanager
async def serving(app: Starlette, path: Path) -> AsyncIterator[None]:
    config = uvicorn.Config(app, uds=str(path), log_level="critical", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    async with asyncio.TaskGroup() as group, asyncio.timeout(20):
        group.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it.
            await asyncio.sleep(0.01)
        yield
        server.should_exit = True


@asynccontextmanager
async def client_of(services: ApiServices, directory: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The API on a socket of its own, for a client that is an admin unless it says otherwise."""
    app = create_app(replace(services, mixer=SocketLink(directory / "mixer.sock")))
    transport = httpx.AsyncHTTPTransport(uds=str(directory / "api.sock"))
    async with (
        serving(app, directory / "api.sock"),
        httpx.AsyncClient(
            transport=transport, base_url="http://argosy", headers=bearer("admin-token")
        ) as client,
    ):
        yield client


async def test_questions_are_passed_on_with_the_name_and_without_the_token(
    services: ApiServices, tmp_path: Path
) -> None:
    asked = Asked()
    async with (
        serving(asked.application(), tmp_path / "mixer.sock"),
        client_of(services, tmp_path) as client,
    ):
        answer = await client.post("/mixer/echo/a%2Fb?x=1&y=%20", content=b"hello")
        assert answer.status_code == 201
        assert answer.json() == {"path": "/echo/a%2Fb", "query": "x=1&y=%20", "body": "hello"}
        assert asked.headers["x-argosy-actor"] == "admin"
        assert asked.headers["x-argosy-namespace"] == ""
        assert "authorization" not in asked.headers
        forged = bearer("shop-view") | {"X-Argosy-Namespace": "", "X-Argosy-Actor": "root"}
        await client.get("/mixer/echo/", headers=forged)
        assert asked.headers["x-argosy-actor"] == "sven"
        assert asked.headers["x-argosy-namespace"] == "shop"
        assert (await client.get("/mixer/nothing")).status_code == 404


async def test_who_may_ask(services: ApiServices, tmp_path: Path) -> None:
    async with (
        serving(Asked().application(), tmp_path / "mixer.sock"),
        client_of(services, tmp_path) as client,
    ):

        async def code(method: str, path: str, token: str) -> int:
            return (await client.request(method, path, headers=bearer(token))).status_code

        assert await code("GET", "/mixer/echo/", "view-token") == 201
        assert await code("POST", "/mixer/echo/", "view-token") == 403
        assert await code("POST", "/mixer/echo/", "edit-token") == 201
        assert await code("GET", "/mixer/echo/", "nobody-token") == 403
        assert await code("GET", "/mixer/echo/", "wrong") == 401
        assert await code("GET", "/mixer/mine", "shop-view") == 200
        refused = await client.get("/mixer/all", headers=bearer("shop-view"))
        assert refused.status_code == 403
        assert "sven may see namespace shop alone" in refused.json()["message"]
        assert await code("POST", "/mixer/own", "admin-token") == 403, "nobody but itself"
        async with SocketLink(tmp_path / "mixer.sock").ask(
            MixerQuestion("POST", "/own", {})
        ) as own:
            assert own.status == 200


async def test_a_stream_comes_as_it_is_made_and_ends_with_its_reader(
    services: ApiServices, tmp_path: Path
) -> None:
    asked = Asked()
    async with (
        serving(asked.application(), tmp_path / "mixer.sock"),
        client_of(services, tmp_path) as client,
    ):
        async with client.stream("GET", "/mixer/records/tap") as response:
            assert response.headers["content-type"] == "application/x-ndjson"
            assert await anext(response.aiter_lines()) == "first"
            assert not asked.ended.is_set()
        async with asyncio.timeout(15):
            await asked.ended.wait()
        with pytest.raises(httpx.TransportError):
            await client.get("/mixer/broken")


async def test_who_watches_keeps_nobody_else_out(
    services: ApiServices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixer, "ANSWER_SECONDS", 0.5)
    async with (
        serving(Asked().application(), tmp_path / "mixer.sock"),
        client_of(services, tmp_path) as client,
        AsyncExitStack() as watching,
    ):
        client.timeout = httpx.Timeout(20)
        for _ in range(MAX_STREAMS):
            response = await watching.enter_async_context(
                client.stream("GET", "/mixer/records/tap")
            )
            assert response.status_code == 200
        refused = await client.get("/mixer/records/tap")
        assert refused.status_code == 503
        assert f"{MAX_STREAMS} people watch" in refused.json()["message"]
        assert (await client.get("/mixer/all")).status_code == 200
        status = await client.get("/apis/argosy.dev/v1alpha1/status")
        assert status.json()["mixer"] is True
        late = await client.get("/mixer/silent")
        assert late.status_code == 503
        assert "not answered within 0.5 s" in late.json()["message"]


async def test_a_mixer_that_does_not_run(services: ApiServices, tmp_path: Path) -> None:
    async with client_of(services, tmp_path) as client:
        answer = await client.get("/mixer/edges")
        assert answer.status_code == 503
        assert answer.json()["reason"] == "ServiceUnavailable"
        assert "Mixer does not run" in answer.json()["message"]
        status = await client.get("/apis/argosy.dev/v1alpha1/status")
        assert status.json()["mixer"] is False
        async with serving(Asked().application(), tmp_path / "mixer.sock"):
            status = await client.get("/apis/argosy.dev/v1alpha1/status")
            assert status.json()["mixer"] is True


async def test_a_mesh_without_mixer(api: httpx.AsyncClient) -> None:
    answer = await api.get("/mixer/edges")
    assert answer.status_code == 503
    assert "started without Mixer" in answer.json()["message"]
    assert (await api.get("/apis/argosy.dev/v1alpha1/status")).json()["mixer"] is None


async def test_only_mixer_gets_its_certificate_and_reads_no_secret(api: httpx.AsyncClient) -> None:
    for token in ("admin-token", "node-token", "view-token", "shop-admin"):
        refused = await api.post(CERTIFICATE, json={"csr": "x"}, headers=bearer(token))
        assert refused.status_code == 403, token
    mixer = bearer("mixer-token")
    given = await api.post(CERTIFICATE, json={"csr": "x"}, headers=mixer)
    assert given.json() == {"chain": ["mixer's leaf for x", "root"]}
    assert (await api.get("/api/v1/services", headers=mixer)).status_code == 200
    assert (await api.get("/api/v1/secrets", headers=mixer)).status_code == 403
    body = {"metadata": {"name": "x"}, "spec": {"ports": [{"port": 80}]}}
    path = "/api/v1/namespaces/default/services"
    assert (await api.post(path, json=body, headers=mixer)).status_code == 403
