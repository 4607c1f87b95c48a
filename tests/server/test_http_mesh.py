"""Argosy's own endpoints, and the two of identity."""

from typing import Any

import httpx
import pytest

OURS = "/apis/argosy.dev/v1alpha1"
TOKEN = "/api/v1/namespaces/shop/serviceaccounts/web/token"
CERTIFICATES = "/istio.v1.auth/certificates"


async def test_distribution(api: httpx.AsyncClient, neighbours: Any) -> None:
    body = (await api.get(f"{OURS}/distribution?revision=7&timeoutSeconds=2.5")).json()
    assert body == {
        "touched": 3,
        "acknowledged": 2,
        "rejected": [{"proxy": "web.default", "type": "RDS", "message": "no", "causes": []}],
        "pending": [],
        "milliseconds": 41.0,
    }
    await api.get(f"{OURS}/distribution")
    assert neighbours.asked == [(7, 2.5), (0, 30.0)]
    for bad in ("revision=x", "revision=-1", "timeoutSeconds=nan"):
        assert (await api.get(f"{OURS}/distribution?{bad}")).status_code == 400


async def test_proxies_and_status(api: httpx.AsyncClient) -> None:
    (proxy,) = (await api.get(f"{OURS}/proxies")).json()["items"]
    assert proxy["types"]["CDS"] == {
        "state": "SYNCED",
        "version": "a1",
        "ackedVersion": "a1",
        "error": "",
    }
    status = (await api.get(f"{OURS}/status")).json()
    assert status == {"version": "0.1.0", "mixer": None, "proxies": 1}


async def test_a_workload_token(api: httpx.AsyncClient, tokens: Any) -> None:
    spec = {
        "audiences": ["istio-ca"],
        "expirationSeconds": 600,
        "boundObjectRef": {"kind": "Pod", "name": "web-1", "uid": "u"},
    }
    node = {"Authorization": "Bearer node-token"}
    response = await api.post(TOKEN, json={"spec": spec}, headers=node)
    assert response.status_code == 201
    assert response.json()["kind"] == "TokenRequest"
    assert response.json()["status"] == {
        "token": "jwt",
        "expirationTimestamp": "2026-01-02T03:14:05Z",
    }
    (asked,) = tokens.asked
    assert (asked.namespace, asked.service_account, asked.pod) == ("shop", "web", "web-1")
    assert (asked.audiences, asked.expiration_seconds) == (("istio-ca",), 600)
    assert (await api.post(TOKEN)).status_code == 201
    for bad in ({"expirationSeconds": 1}, {"boundObjectRef": {"kind": "Secret", "name": "s"}}):
        assert (await api.post(TOKEN, json={"spec": bad})).status_code == 422


@pytest.mark.parametrize("where", ["body", "header"])
async def test_a_workload_gets_its_certificate_by_its_own_token(
    api: httpx.AsyncClient, where: str
) -> None:
    headers = {"Authorization": "Bearer workload-token" if where == "header" else ""}
    body = {"csr": "CSR"} | ({"token": "workload-token"} if where == "body" else {})
    response = await api.post(CERTIFICATES, json=body, headers=headers)
    assert response.json() == {"chain": ["leaf for CSR", "root"]}


async def test_certificates_are_refused(api: httpx.AsyncClient) -> None:
    none = await api.post(CERTIFICATES, json={"csr": "CSR"}, headers={"Authorization": ""})
    assert none.status_code == 401
    admin = await api.post(CERTIFICATES, json={"csr": "CSR"})
    assert (admin.status_code, admin.json()["message"]) == (403, "this token proves nothing")
    assert (await api.post(CERTIFICATES, json={"token": "x"})).status_code == 400
