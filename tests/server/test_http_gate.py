"""Who may do what, and how large a request may be."""

from collections.abc import AsyncIterator

import httpx
import pytest

PODS = "/api/v1/namespaces/default/pods"
POLICIES = "/apis/security.istio.io/v1/namespaces/default/peerauthentications"
POD = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "x"}]}}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    "path", [PODS, "/version", "/api", "/nonsense", "/apis/argosy.dev/v1alpha1/proxies"]
)
@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", "Basic admin-token"])
async def test_everything_needs_a_token(api: httpx.AsyncClient, path: str, header: str) -> None:
    response = await api.get(path, headers={"Authorization": header})
    assert response.status_code == 401
    assert response.json()["reason"] == "Unauthorized"
    assert response.headers["www-authenticate"] == "Bearer"


async def test_a_node_writes_pods_and_nothing_else(api: httpx.AsyncClient) -> None:
    node = bearer("node-token")
    assert (await api.post(PODS, json=POD, headers=node)).status_code == 201
    status = {**POD, "status": {"phase": "Running"}}
    assert (await api.put(f"{PODS}/p/status", json=status, headers=node)).status_code == 200
    assert (await api.get(POLICIES, headers=node)).status_code == 200
    policy = {"metadata": {"name": "a"}, "spec": {}}
    for refused in (
        await api.post(POLICIES, json=policy, headers=node),
        await api.delete(f"{POLICIES}/a", headers=node),
        await api.put(f"{POLICIES}/a/status", json=policy, headers=node),
        await api.post("/apis/argosy.dev/v1alpha1/apply", json={"files": []}, headers=node),
    ):
        assert (refused.status_code, refused.json()["reason"]) == (403, "Forbidden")
    assert (await api.delete(f"{PODS}/p", headers=node)).status_code == 200


async def test_who_has_no_role_may_not_even_read(api: httpx.AsyncClient) -> None:
    for path in (PODS, f"{PODS}/p", "/apis/argosy.dev/v1alpha1/watch?kinds=Pod"):
        assert (await api.get(path, headers=bearer("nobody-token"))).status_code == 403
    token = "/api/v1/namespaces/default/serviceaccounts/web/token"
    assert (await api.post(token, headers=bearer("nobody-token"))).status_code == 403


async def test_too_large(api: httpx.AsyncClient) -> None:
    large = b" " * (16 * 1024 * 1024 + 1)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield large[: 1024 * 1024]

    for content in (large, chunks()):
        response = await api.post(PODS, content=content)
        assert (response.status_code, response.json()["reason"]) == (413, "RequestEntityTooLarge")


async def test_probes_are_open(api: httpx.AsyncClient, neighbours: object) -> None:
    for path in ("/healthz", "/livez", "/readyz"):
        response = await api.get(path, headers={"Authorization": ""})
        assert (response.status_code, response.text) == (200, "ok")
    neighbours.waiting = "the first certificate"  # type: ignore[attr-defined]  # Neighbours of conftest.
    response = await api.get("/readyz")
    assert (response.status_code, response.text) == (503, "the first certificate")
