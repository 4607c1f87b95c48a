"""Endpoints about certificates: who may ask what."""

from typing import Any

import httpx

OURS = "/apis/argosy.dev/v1alpha1"
NODE = {"Authorization": "Bearer node-token"}
NOBODY = {"Authorization": "Bearer nobody-token"}


async def test_the_document_is_for_whoever_may_read(api: httpx.AsyncClient) -> None:
    answer = await api.get(f"{OURS}/trust?version=v0&timeoutSeconds=1", headers=NODE)
    assert answer.json()["trustDomain"] == "cluster.local"
    assert (await api.get(f"{OURS}/trust", headers=NOBODY)).status_code == 403
    assert (await api.get(f"{OURS}/trust", headers={"Authorization": ""})).status_code == 401


async def test_agents_report(api: httpx.AsyncClient, trusts: Any) -> None:
    body = {"items": [{"namespace": "default", "pod": "web", "running": True, "serial": "ab"}]}
    path = f"{OURS}/certificates/reports"
    assert (await api.put(path, json=body, headers=NODE)).status_code == 200
    assert [report.client for report in trusts.reports] == ["web.default"]
    assert (await api.put(path, json=body, headers=NOBODY)).status_code == 403
    assert (await api.put(path, json={"items": [{"pod": 5}]}, headers=NODE)).status_code == 400


async def test_only_an_admin_rotates_the_root(api: httpx.AsyncClient) -> None:
    path = f"{OURS}/certificates/rotation"
    assert (await api.post(path, json={"dryRun": True})).status_code == 200
    assert (await api.post(path, json={"dryRun": True}, headers=NODE)).status_code == 403
    refused = await api.post(path, json={})
    assert refused.status_code == 409
    assert "plugged in" in refused.json()["message"]
    assert (await api.get(path, headers=NODE)).json()["old"] == "old"


async def test_a_large_signing_request_is_refused_before_it_is_read(api: httpx.AsyncClient) -> None:
    answer = await api.post("/istio.v1.auth/certificates", content=b"x" * 70_000)
    assert answer.status_code == 413
    assert "64 KiB" in answer.json()["message"]
