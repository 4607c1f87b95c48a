"""Kubernetes' verbs over HTTP."""

import asyncio
import json
from typing import Any

import httpx
import pytest

POLICIES = "/apis/security.istio.io/v1/namespaces/default/peerauthentications"
PODS = "/api/v1/namespaces/default/pods"
MERGE = {"Content-Type": "application/merge-patch+json"}
APPLY = {"Content-Type": "application/apply-patch+yaml"}


def policy(name: str, mode: str = "STRICT", **metadata: object) -> dict[str, Any]:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": name, **metadata},
        "spec": {"mtls": {"mode": mode}},
    }


def pod(name: str, **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "app", "image": "x"}]},
    }


def failure(response: httpx.Response) -> tuple[int, str, str]:
    """Code, reason and message of a Status."""
    body = response.json()
    assert body["kind"] == "Status"
    assert body["status"] == "Failure"
    assert body["code"] == response.status_code
    return body["code"], body["reason"], body["message"]


async def test_create_and_get(api: httpx.AsyncClient) -> None:
    created = await api.post(POLICIES, json=policy("a"))
    assert created.status_code == 201
    got = await api.get(f"{POLICIES}/a")
    assert got.json()["metadata"] == {
        "name": "a",
        "namespace": "default",
        "uid": "uid-1",
        "resourceVersion": "1",
        "generation": 1,
        "creationTimestamp": "2026-01-02T03:04:05Z",
    }
    assert got.json()["spec"] == {"mtls": {"mode": "STRICT"}}
    assert got.json() == created.json()


async def test_every_version_of_a_group_serves_the_same_object(api: httpx.AsyncClient) -> None:
    await api.post(POLICIES, json=policy("a"))
    other = await api.get(f"{POLICIES.replace('/v1/', '/v1beta1/')}/a")
    assert other.json()["apiVersion"] == "security.istio.io/v1beta1"
    assert other.json()["metadata"]["uid"] == "uid-1"


async def test_not_found_and_already_exists(api: httpx.AsyncClient) -> None:
    code, reason, message = failure(await api.get(f"{POLICIES}/a"))
    assert (code, reason) == (404, "NotFound")
    assert "PeerAuthentication default/a does not exist" in message
    await api.post(POLICIES, json=policy("a"))
    assert failure(await api.post(POLICIES, json=policy("a")))[:2] == (409, "AlreadyExists")
    assert failure(await api.put(f"{POLICIES}/b", json=policy("b")))[:2] == (404, "NotFound")


@pytest.mark.parametrize(
    "path",
    [
        "/apis/security.istio.io/v2/peerauthentications",
        "/apis/nothing.io/v1/things",
        "/api/v1/namespaces/default/teapots",
        "/api/v1/namespaces/default/namespaces",
        "/nonsense",
    ],
)
async def test_what_is_not_served(api: httpx.AsyncClient, path: str) -> None:
    assert failure(await api.get(path))[:2] == (404, "NotFound")


async def test_a_method_that_is_not_allowed(api: httpx.AsyncClient) -> None:
    assert failure(await api.post(f"{POLICIES}/a"))[:2] == (405, "MethodNotAllowed")
    assert failure(await api.post("/api/v1/pods", json=pod("p")))[0] == 405


async def test_invalid_objects_have_causes(api: httpx.AsyncClient) -> None:
    bad = policy("a", "SOMETIMES")
    bad["spec"]["tls"] = {}
    response = await api.post(POLICIES, json=bad)
    assert failure(response)[:2] == (422, "Invalid")
    details = response.json()["details"]
    assert (details["kind"], details["name"]) == ("PeerAuthentication", "a")
    assert {cause["field"] for cause in details["causes"]} == {"spec.mtls.mode", "spec.tls"}
    assert failure(await api.get(f"{POLICIES}/a"))[0] == 404


async def test_admission_s_refusal_is_invalid(api: httpx.AsyncClient) -> None:
    service = {"metadata": {"name": "s"}, "spec": {"clusterIP": "1.2.3.4", "ports": [{"port": 80}]}}
    response = await api.post("/api/v1/namespaces/default/services", json=service)
    assert failure(response)[:2] == (422, "Invalid")
    assert response.json()["details"]["causes"][0]["field"] == "spec.clusterIP"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{", "not JSON"),
        ("[]", "not an object"),
        (json.dumps(policy("b")), "name of the object"),
        (json.dumps(policy("a", namespace="x")), "namespace of the object"),
        (json.dumps({"kind": "Service", "apiVersion": "v1", "metadata": {}}), "is a Service"),
    ],
)
async def test_a_body_that_does_not_fit_the_path(
    api: httpx.AsyncClient, body: str, words: str
) -> None:
    code, _, message = failure(await api.put(f"{POLICIES}/a", content=body))
    assert code == 400
    assert words in message


async def test_conflict_on_a_stale_version(api: httpx.AsyncClient) -> None:
    first = (await api.post(POLICIES, json=policy("a"))).json()
    first["spec"]["mtls"]["mode"] = "DISABLE"
    second = await api.put(f"{POLICIES}/a", json=first)
    assert second.status_code == 200
    assert second.json()["metadata"]["generation"] == 2
    assert failure(await api.put(f"{POLICIES}/a", json=first))[:2] == (409, "Conflict")


async def test_concurrent_updates_lose_nothing(api: httpx.AsyncClient) -> None:
    """Twenty writers add one label each, reading again after each conflict."""
    await api.post(POLICIES, json=policy("a"))
    conflicts: list[int] = []

    async def add(number: int) -> None:
        while True:
            value = (await api.get(f"{POLICIES}/a")).json()
            value["metadata"].setdefault("labels", {})[f"n{number}"] = "x"
            await asyncio.sleep(0)  # The others read meanwhile.
            response = await api.put(f"{POLICIES}/a", json=value)
            if response.status_code == 200:
                return
            assert response.status_code == 409
            conflicts.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(add(number))
    labels = (await api.get(f"{POLICIES}/a")).json()["metadata"]["labels"]
    assert labels == {f"n{number}": "x" for number in range(20)}
    assert conflicts


async def test_list_with_selectors(api: httpx.AsyncClient) -> None:
    for name, labels in (("a", {"app": "x"}), ("b", {"app": "y"}), ("c", {"app": "x", "v": "2"})):
        await api.post(PODS, json=pod(name, **labels))
    await api.post("/api/v1/namespaces/other/pods", json=pod("a", app="x"))

    async def names(path: str = PODS, **params: str) -> list[str]:
        return [
            item["metadata"]["name"]
            for item in (await api.get(path, params=params)).json()["items"]
        ]

    body = (await api.get(PODS)).json()
    assert (body["kind"], body["apiVersion"]) == ("PodList", "v1")
    assert body["metadata"]["resourceVersion"] == "4"
    assert await names() == ["a", "b", "c"]
    assert await names("/api/v1/pods") == ["a", "b", "c", "a"]
    assert await names(labelSelector="app=x") == ["a", "c"]
    assert await names(labelSelector="app=x,!v") == ["a"]
    assert await names(labelSelector="app in (y, z)") == ["b"]
    assert await names(fieldSelector="metadata.name=b") == ["b"]
    assert failure(await api.get(PODS, params={"labelSelector": "=x="}))[0] == 400
    assert failure(await api.get(PODS, params={"fieldSelector": "spec.x=1"}))[0] == 400


async def test_a_long_list_is_whole(api: httpx.AsyncClient) -> None:
    for number in range(450):
        await api.post(PODS, json=pod(f"p{number:03}"))
    items = (await api.get(PODS)).json()["items"]
    assert [item["metadata"]["name"] for item in items] == [f"p{n:03}" for n in range(450)]


async def test_merge_patch(api: httpx.AsyncClient) -> None:
    await api.post(POLICIES, json=policy("a", labels={"x": "1", "y": "2"}))
    patch = {"metadata": {"labels": {"x": None}}, "spec": {"mtls": {"mode": "PERMISSIVE"}}}
    body = (await api.patch(f"{POLICIES}/a", json=patch, headers=MERGE)).json()
    assert body["metadata"]["labels"] == {"y": "2"}
    assert body["spec"]["mtls"]["mode"] == "PERMISSIVE"
    stale = {"metadata": {"resourceVersion": "1"}, "spec": {}}
    assert failure(await api.patch(f"{POLICIES}/a", json=stale, headers=MERGE))[0] == 409
    wrong = {"spec": {"mtls": {"mode": "NO"}}}
    assert failure(await api.patch(f"{POLICIES}/a", json=wrong, headers=MERGE))[0] == 422
    other = {"Content-Type": "application/strategic-merge-patch+json"}
    assert failure(await api.patch(f"{POLICIES}/a", json={}, headers=other))[0] == 415


async def test_apply_patch_creates_and_changes(api: httpx.AsyncClient) -> None:
    text = "apiVersion: security.istio.io/v1beta1\nkind: PeerAuthentication\nmetadata: {name: a}\nspec: {mtls: {mode: STRICT}}\n"
    first = await api.patch(f"{POLICIES}/a", content=text, headers=APPLY)
    assert first.status_code == 201
    again = await api.patch(f"{POLICIES}/a", content=text, headers=APPLY)
    assert (again.status_code, again.json()) == (200, first.json())
    changed = await api.patch(
        f"{POLICIES}/a", content=text.replace("STRICT", "DISABLE"), headers=APPLY
    )
    assert changed.json()["metadata"]["generation"] == 2


async def test_delete(api: httpx.AsyncClient) -> None:
    await api.post(POLICIES, json=policy("a"))
    wrong = {"preconditions": {"uid": "another"}}
    assert failure(await api.request("DELETE", f"{POLICIES}/a", json=wrong))[:2] == (
        409,
        "Conflict",
    )
    body = (await api.delete(f"{POLICIES}/a")).json()
    assert body["status"] == "Success"
    assert body["details"] == {"name": "a", "kind": "PeerAuthentication", "uid": "uid-1"}
    assert body["metadata"] == {"resourceVersion": "2"}
    assert failure(await api.delete(f"{POLICIES}/a"))[0] == 404


async def test_delete_many_by_label(api: httpx.AsyncClient) -> None:
    for name, app in (("a", "x"), ("b", "y")):
        await api.post(PODS, json=pod(name, app=app))
    gone = (await api.delete(PODS, params={"labelSelector": "app=x"})).json()
    assert [item["metadata"]["name"] for item in gone["items"]] == ["a"]
    assert len((await api.get(PODS)).json()["items"]) == 1


async def test_deleting_a_namespace_deletes_what_is_in_it(api: httpx.AsyncClient) -> None:
    await api.post("/api/v1/namespaces", json={"metadata": {"name": "x"}})
    await api.post("/api/v1/namespaces/x/pods", json=pod("a"))
    assert (await api.delete("/api/v1/namespaces/x")).status_code == 200
    assert (await api.get("/api/v1/pods")).json()["items"] == []
    assert (await api.get("/api/v1/namespaces")).json()["items"] == []


async def test_dry_run_changes_nothing(api: httpx.AsyncClient) -> None:
    response = await api.post(POLICIES, json=policy("a"), params={"dryRun": "All"})
    assert response.status_code == 201
    assert (await api.get(POLICIES)).json()["items"] == []


async def test_the_status_subresource(api: httpx.AsyncClient) -> None:
    await api.post(PODS, json={**pod("a", app="x"), "status": {"phase": "Failed"}})
    assert "status" not in (await api.get(f"{PODS}/a")).json()
    update = {**pod("a", app="ignored"), "status": {"phase": "Running", "podIP": "10.244.0.7"}}
    body = (await api.put(f"{PODS}/a/status", json=update)).json()
    assert body["status"]["podIP"] == "10.244.0.7"
    assert body["metadata"]["labels"] == {"app": "x"}
    patched = await api.patch(
        f"{PODS}/a/status", json={"status": {"phase": "Succeeded"}}, headers=MERGE
    )
    assert patched.json()["status"] == {"phase": "Succeeded", "podIP": "10.244.0.7"}
    replaced = await api.put(f"{PODS}/a", json=pod("a", app="y"))
    assert replaced.json()["status"]["phase"] == "Succeeded"
    assert failure(await api.put("/api/v1/namespaces/default/secrets/s/status"))[0] == 404


async def test_a_name_is_generated(api: httpx.AsyncClient) -> None:
    body = pod("")
    body["metadata"] = {"generateName": "web-"}
    names = {(await api.post(PODS, json=body)).json()["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("web-") and len(name) == 9 for name in names)


async def test_discovery(api: httpx.AsyncClient) -> None:
    assert (await api.get("/api")).json()["versions"] == ["v1"]
    groups = {group["name"]: group for group in (await api.get("/apis")).json()["groups"]}
    assert groups["networking.istio.io"]["preferredVersion"]["version"] == "v1"
    found = (await api.get("/apis/networking.istio.io/v1alpha3")).json()
    assert found["groupVersion"] == "networking.istio.io/v1alpha3"
    assert {"virtualservices", "virtualservices/status", "gateways"} <= {
        resource["name"] for resource in found["resources"]
    }
    core = {r["name"]: r for r in (await api.get("/api/v1")).json()["resources"]}
    assert core["namespaces"]["namespaced"] is False
    assert "secrets/status" not in core
    assert failure(await api.get("/apis/networking.istio.io/v7"))[0] == 404
    assert (await api.get("/version")).json()["gitVersion"] == "v0.1.0+argosy"
