"""Watches over HTTP, with the transport in memory: a watch here ends by ``timeoutSeconds``."""

import asyncio
import json
from typing import Any

import httpx

from argosy.store.store import Store

PODS = "/api/v1/namespaces/default/pods"


def pod(name: str, **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "app", "image": "x"}]},
    }


async def watched(api: httpx.AsyncClient, path: str, **params: str) -> list[Any]:
    """All lines of a watch of 0.3 s."""
    response = await api.get(path, params={"watch": "true", "timeoutSeconds": "0.3", **params})
    assert response.status_code == 200
    return [json.loads(line) for line in response.text.splitlines()]


def short(lines: list[Any]) -> list[tuple[str, str]]:
    return [(line["type"], line["object"]["metadata"].get("name", "")) for line in lines]


async def test_a_watch_of_one_kind(api: httpx.AsyncClient) -> None:
    await api.post(PODS, json=pod("a"))
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(watched(api, PODS))
        await asyncio.sleep(0.05)
        await api.post(PODS, json=pod("b"))
        await api.post("/api/v1/namespaces/other/pods", json=pod("c"))
        await api.put(f"{PODS}/a/status", json={**pod("a"), "status": {"phase": "Running"}})
        await api.delete(f"{PODS}/b")
    lines = watch.result()
    assert short(lines) == [("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]
    assert lines[2]["object"]["status"] == {"phase": "Running"}
    assert lines[3]["object"]["metadata"]["resourceVersion"] == "5"


async def test_a_watch_resumes_after_a_list(api: httpx.AsyncClient) -> None:
    await api.post(PODS, json=pod("a"))
    version = (await api.get(PODS)).json()["metadata"]["resourceVersion"]
    await api.post(PODS, json=pod("b"))
    await api.post(PODS, json=pod("c"))
    lines = await watched(api, PODS, resourceVersion=version)
    assert short(lines) == [("ADDED", "b"), ("ADDED", "c")]
    again = await watched(
        api, PODS, resourceVersion=lines[0]["object"]["metadata"]["resourceVersion"]
    )
    assert short(again) == [("ADDED", "c")]


async def test_a_selector_turns_changes_into_additions_and_deletions(
    api: httpx.AsyncClient,
) -> None:
    for labels in ({"app": "x"}, {"app": "y"}, {"app": "x"}):
        response = await api.put(f"{PODS}/a", json=pod("a", **labels))
        if response.status_code == 404:
            await api.post(PODS, json=pod("a", **labels))
            first = (await api.get(PODS)).json()["metadata"]["resourceVersion"]
    lines = await watched(api, PODS, resourceVersion=first, labelSelector="app=x")
    assert short(lines) == [("DELETED", "a"), ("ADDED", "a")]


async def test_a_forgotten_version_is_gone(api: httpx.AsyncClient, store: Store) -> None:
    await api.post(PODS, json=pod("a"))
    for number in range(150):
        await api.put(f"{PODS}/a", json=pod("a", n=str(number)))
    (line,) = await watched(api, PODS, resourceVersion="1")
    assert line["type"] == "ERROR"
    assert (line["object"]["code"], line["object"]["reason"]) == (410, "Expired")
    bad = await api.get(PODS, params={"watch": "true", "resourceVersion": "x"})
    assert bad.status_code == 400


async def test_bookmarks_are_sent_to_who_asks(api: httpx.AsyncClient) -> None:
    await api.post(PODS, json=pod("a"))
    first, *rest = await watched(
        api, PODS, allowWatchBookmarks="true", fieldSelector="metadata.name=none"
    )
    assert first == {
        "type": "BOOKMARK",
        "object": {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {
                "resourceVersion": "1",
                "annotations": {"k8s.io/initial-events-end": "true"},
            },
        },
    }
    assert all(line["type"] == "BOOKMARK" for line in rest)


async def test_several_kinds_in_one_watch(api: httpx.AsyncClient) -> None:
    path = "/apis/argosy.dev/v1alpha1/watch"
    await api.post(PODS, json=pod("a"))
    await api.post("/api/v1/namespaces", json={"metadata": {"name": "x"}})
    await api.post("/api/v1/namespaces/default/secrets", json={"metadata": {"name": "s"}})
    lines = await watched(api, path, kinds="Pod,Namespace")
    assert short(lines)[:3] == [("ADDED", "x"), ("ADDED", "a"), ("BOOKMARK", "")]
    assert [line["object"].get("kind") for line in lines[:2]] == ["Namespace", "Pod"]
    resumed = await watched(api, path, kinds="Pod,Namespace", resourceVersion="1")
    assert short(resumed)[0] == ("ADDED", "x")
    for kinds in ("", "Teapot"):
        assert (await api.get(path, params={"kinds": kinds})).status_code == 400
