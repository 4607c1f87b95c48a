"""The API on a real UNIX socket, served by uvicorn."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import uvicorn
from starlette.applications import Starlette

PODS = "/api/v1/namespaces/default/pods"
POD = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "x"}]}}


@asynccontextmanager
async def serving(app: Starlette, path: Path) -> AsyncIterator[httpx.AsyncClient]:
    server = uvicorn.Server(
        uvicorn.Config(app, uds=str(path), log_level="error", timeout_graceful_shutdown=1)
    )
    async with asyncio.TaskGroup() as group, asyncio.timeout(20):
        group.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it.
            await asyncio.sleep(0.01)
        async with httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(path)),
            base_url="http://argosy",
            headers={"Authorization": "Bearer admin-token"},
        ) as client:
            yield client
        server.should_exit = True


async def test_a_watch_streams_while_others_write(app: Starlette, tmp_path: Path) -> None:
    async with serving(app, tmp_path / "api.sock") as client:
        seen: list[str] = []
        async with client.stream("GET", PODS, params={"watch": "true"}) as response:
            assert response.headers["content-type"] == "application/json;stream=watch"
            lines = response.aiter_lines()
            await client.post(PODS, json=POD)
            seen.append(json.loads(await anext(lines))["type"])
            await client.put(f"{PODS}/p/status", json={**POD, "status": {"phase": "Running"}})
            seen.append(json.loads(await anext(lines))["type"])
            await client.delete(f"{PODS}/p")
            seen.append(json.loads(await anext(lines))["type"])
        assert seen == ["ADDED", "MODIFIED", "DELETED"]


async def test_a_watcher_that_does_not_read_is_told_to_list_again(
    app: Starlette, tmp_path: Path
) -> None:
    """It holds up nobody, and learns that it missed something once it reads."""
    large = {**POD, "metadata": {"name": "p", "annotations": {"a": "x" * 100_000}}}
    async with serving(app, tmp_path / "api.sock") as client:
        async with client.stream("GET", PODS, params={"watch": "true"}) as response:
            for number in range(300):
                large["metadata"] = {**large["metadata"], "labels": {"n": str(number)}}  # type: ignore[dict-item]  # A mapping.
                if number == 0:
                    await client.post(PODS, json=large)
                else:
                    await client.put(f"{PODS}/p", json=large)
            last = ""
            async for line in response.aiter_lines():
                last = line
        event = json.loads(last)
        assert event["type"] == "ERROR"
        assert event["object"]["code"] == 410
        assert (await client.get(f"{PODS}/p")).json()["metadata"]["labels"] == {"n": "299"}


async def test_too_large_without_a_length(app: Starlette, tmp_path: Path) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield b" " * 1024 * 1024

    async with serving(app, tmp_path / "api.sock") as client:
        response = await client.post(PODS, content=chunks())
        assert response.status_code == 413
        assert (await client.get(PODS)).status_code == 200
