"""What each role may do: every kind of request, by every kind of caller.

The rules are those of Kubernetes' user-facing roles, less what would give the machine away:
https://kubernetes.io/docs/reference/access-authn-authz/rbac/#user-facing-roles
"""

import json

import httpx
import pytest

SHOP, BANK, SYSTEM = "shop", "bank", "istio-system"
ISTIO = "/apis/networking.istio.io/v1"
OURS = "/apis/argosy.dev/v1alpha1"
CALLERS = (
    "admin-token",
    "edit-token",
    "view-token",
    "shop-admin",
    "shop-edit",
    "shop-view",
    "system-edit",
)


RULE = {"hosts": ["a.test"], "http": [{"route": [{"destination": {"host": "a"}}]}]}


def inside(namespace: str, plural: str, version: str = "/api/v1") -> str:
    return f"{version}/namespaces/{namespace}/{plural}"


def rule(namespace: str, name: str = "x") -> dict[str, object]:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": RULE}


SECRET = {"metadata": {"name": "key"}, "stringData": {"password": "hunter2"}}
CONFIG = {"metadata": {"name": "istio"}, "data": {"mesh": "{}"}}
POD = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "x"}]}}
FILTER = {"metadata": {"name": "f"}, "spec": {"configPatches": []}}


async def allowed(api: httpx.AsyncClient, method: str, path: str, body: object = None) -> set[str]:
    """The callers that are let through, whatever comes then; the others get 403 as Kubernetes'."""
    found = set()
    for caller in CALLERS:
        headers = {"Authorization": f"Bearer {caller}"}
        answer = await api.request(method, path, json=body, headers=headers)
        assert answer.status_code != 401
        assert answer.status_code < 500, answer.text
        if answer.status_code == 403:
            status = answer.json()
            assert (status["kind"], status["reason"]) == ("Status", "Forbidden")
            assert "may not" in status["message"]
        else:
            found.add(caller)
    return found


MESH = {"admin-token", "edit-token", "view-token"}
OF_SHOP = {"shop-admin", "shop-edit", "shop-view"}


@pytest.mark.parametrize(
    ("path", "who"),
    [
        (inside(SHOP, "virtualservices", ISTIO), MESH | OF_SHOP),
        (inside(BANK, "virtualservices", ISTIO), MESH),
        (inside(SYSTEM, "configmaps"), MESH | {"system-edit"}),
        (f"{ISTIO}/virtualservices", MESH),
        ("/api/v1/namespaces", MESH),
        (f"/api/v1/namespaces/{SHOP}", MESH),
        (inside(SHOP, "secrets"), {"admin-token", "edit-token", "shop-admin", "shop-edit"}),
        (inside(SHOP, "secrets/key"), {"admin-token", "edit-token", "shop-admin", "shop-edit"}),
        (inside(BANK, "secrets"), {"admin-token", "edit-token"}),
        ("/api/v1/secrets", {"admin-token", "edit-token"}),
        (f"{OURS}/watch?kinds=Pod&timeoutSeconds=0.01", MESH),
        (f"{OURS}/watch?kinds=Pod&namespace=shop&timeoutSeconds=0.01", MESH | OF_SHOP),
        (f"{OURS}/watch?kinds=Pod,Secret&timeoutSeconds=0.01", {"admin-token", "edit-token"}),
        ("/api/v1/secrets?watch=true&timeoutSeconds=0.01", {"admin-token", "edit-token"}),
        (f"{OURS}/places/VirtualService", set(CALLERS)),
        (f"{OURS}/places/Secret", set(CALLERS) - {"view-token", "shop-view"}),
        (f"{OURS}/snapshot", {"admin-token"}),
        (f"{OURS}/tokens", {"admin-token"}),
        (f"{OURS}/status", set(CALLERS)),
        (f"{OURS}/proxies", set(CALLERS)),
        ("/version", set(CALLERS)),
    ],
)
async def test_who_reads(api: httpx.AsyncClient, path: str, who: set[str]) -> None:
    assert await allowed(api, "GET", path) == who


EDITS_SHOP = {"admin-token", "edit-token", "shop-admin", "shop-edit"}


@pytest.mark.parametrize(
    ("method", "path", "body", "who"),
    [
        ("POST", inside(SHOP, "virtualservices", ISTIO), rule(SHOP), EDITS_SHOP),
        ("PUT", inside(SHOP, "virtualservices/x", ISTIO), rule(SHOP), EDITS_SHOP),
        ("PATCH", inside(SHOP, "virtualservices/x", ISTIO), {}, EDITS_SHOP),
        ("DELETE", inside(SHOP, "virtualservices/x", ISTIO), None, EDITS_SHOP),
        ("DELETE", inside(SHOP, "virtualservices", ISTIO), None, EDITS_SHOP),
        ("DELETE", f"{ISTIO}/virtualservices", None, {"admin-token"}),
        ("POST", inside(BANK, "virtualservices", ISTIO), rule(BANK), {"admin-token", "edit-token"}),
        ("POST", inside(SHOP, "secrets"), SECRET, EDITS_SHOP),
        ("PUT", inside(BANK, "secrets/key"), SECRET, {"admin-token", "edit-token"}),
        ("POST", inside(SYSTEM, "secrets"), SECRET, {"admin-token", "system-edit"}),
        ("POST", inside(SYSTEM, "configmaps"), CONFIG, {"admin-token"}),
        ("PUT", inside(SYSTEM, "configmaps/istio"), CONFIG, {"admin-token"}),
        ("PATCH", inside(SYSTEM, "configmaps/istio"), {}, {"admin-token"}),
        ("DELETE", inside(SYSTEM, "configmaps/istio"), None, {"admin-token"}),
        ("DELETE", inside(SYSTEM, "configmaps"), None, {"admin-token"}),
        ("PUT", inside(SYSTEM, "configmaps/other"), CONFIG, {"admin-token", "system-edit"}),
        ("POST", inside(SHOP, "pods"), POD, {"admin-token", "shop-admin"}),
        ("PUT", inside(SHOP, "pods/p/status"), POD, {"admin-token", "shop-admin"}),
        (
            "POST",
            inside(SHOP, "envoyfilters", "/apis/networking.istio.io/v1alpha3"),
            FILTER,
            {"admin-token", "shop-admin"},
        ),
        ("POST", "/api/v1/namespaces", {"metadata": {"name": "n"}}, {"admin-token"}),
        ("DELETE", f"/api/v1/namespaces/{SHOP}", None, {"admin-token"}),
        ("POST", inside(SHOP, "serviceaccounts/web/token"), {}, {"admin-token"}),
        ("POST", f"{OURS}/tokens", {"name": "new", "role": "admin"}, {"admin-token"}),
        ("DELETE", f"{OURS}/tokens/new", None, {"admin-token"}),
    ],
)
async def test_who_writes(
    api: httpx.AsyncClient, method: str, path: str, body: object, who: set[str]
) -> None:
    assert await allowed(api, method, path, body) == who


def document(kind: str, namespace: str, name: str = "x") -> str:
    kinds = {"VirtualService": "networking.istio.io/v1", "Namespace": "v1", "Secret": "v1"}
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    value: dict[str, object] = {
        "apiVersion": kinds[kind],
        "kind": kind,
        "metadata": metadata,
    }
    if kind == "VirtualService":
        value["spec"] = RULE
    return json.dumps(value)


async def apply(api: httpx.AsyncClient, caller: str, *documents: str, **more: object) -> int:
    body = {"files": [{"path": "a.yaml", "text": "\n---\n".join(documents)}], **more}
    headers = {"Authorization": f"Bearer {caller}"}
    answer = await api.post(f"{OURS}/apply", json=body, headers=headers)
    return answer.status_code


async def test_files_are_applied_as_a_whole_or_not_at_all(api: httpx.AsyncClient) -> None:
    own = document("VirtualService", SHOP)
    foreign = document("VirtualService", BANK)
    assert await apply(api, "shop-edit", own, foreign) == 403
    assert (await api.get(inside(SHOP, "virtualservices/x", ISTIO))).status_code == 404
    assert await apply(api, "shop-edit", own) == 200
    assert await apply(api, "shop-view", own) == 403
    assert await apply(api, "edit-token", own, foreign) == 200
    assert await apply(api, "shop-edit", own, foreign, delete=True) == 403
    assert await apply(api, "edit-token", document("Namespace", "", SHOP), delete=True) == 403
    # What is not valid tells just as little of other namespaces, and removes nothing there.
    broken = document("VirtualService", BANK).replace("hosts", "hostz")
    assert await apply(api, "shop-edit", broken, delete=True) == 403
    assert (await api.get(inside(BANK, "virtualservices/x", ISTIO))).status_code == 200
    assert await apply(api, "shop-edit", document("Secret", "", "key"), namespace=BANK) == 403


async def test_a_path_and_its_object_name_the_same_namespace(api: httpx.AsyncClient) -> None:
    """Nobody writes elsewhere by naming one namespace in the path and another in the object."""
    headers = {"Authorization": "Bearer shop-edit"}
    path = inside(SHOP, "virtualservices", ISTIO)
    assert (await api.post(path, json=rule(BANK), headers=headers)).status_code == 400
    assert (await api.get(inside(BANK, "virtualservices/x", ISTIO))).status_code == 404


async def test_the_proxies_of_others_are_not_shown(api: httpx.AsyncClient) -> None:
    """The one that is known runs in the namespace default."""
    for caller, count in (("view-token", 1), ("shop-view", 0)):
        headers = {"Authorization": f"Bearer {caller}"}
        assert len((await api.get(f"{OURS}/proxies", headers=headers)).json()["items"]) == count
        found = (await api.get(f"{OURS}/distribution", headers=headers)).json()
        assert (found["touched"], len(found["rejected"])) == (3, count)


async def test_the_places_of_others_are_not_shown(api: httpx.AsyncClient) -> None:
    assert await apply(api, "admin-token", document("VirtualService", SHOP)) == 200
    assert await apply(api, "admin-token", document("VirtualService", BANK)) == 200
    for caller, seen in (("view-token", [BANK, SHOP]), ("shop-view", [SHOP])):
        headers = {"Authorization": f"Bearer {caller}"}
        found = (await api.get(f"{OURS}/places/VirtualService", headers=headers)).json()
        assert sorted(one["namespace"] for one in found["items"]) == seen


async def test_who_guesses_has_to_wait(api: httpx.AsyncClient) -> None:
    wrong = {"Authorization": "Bearer guess"}
    codes = [(await api.get("/version", headers=wrong)).status_code for _ in range(110)]
    assert codes[:100] == [401] * 100
    assert codes[100:] == [429] * 10
    assert (await api.get("/version")).status_code == 200, "who has one is served"
