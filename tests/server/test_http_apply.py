"""Applying files: one transaction, every mistake with file and line, last good wins."""

from typing import Any

import httpx
import pytest

from argosy.base.names import Namespace, ObjectKey
from argosy.base.problems import Problem
from argosy.server.http.services import REJECTED_BY_PROXY, Spread
from argosy.store.store import Store
from argosy.store.transaction import Event

APPLY = "/apis/argosy.dev/v1alpha1/apply"
POLICY = "/apis/security.istio.io/v1/namespaces/default/peerauthentications/a"


def policy(name: str, mode: str = "STRICT") -> str:
    return f"""\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata:
  name: {name}
spec:
  mtls:
    mode: {mode}
"""


def service(name: str, cluster_ip: str = "") -> str:
    return f"""\
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  ports: [{{port: 80}}]
  clusterIP: "{cluster_ip}"
"""


async def send(api: httpx.AsyncClient, *texts: str, **options: Any) -> dict[str, Any]:
    """Apply texts as files ``0.yaml``, ``1.yaml`` ..."""
    files = [{"path": f"{n}.yaml", "text": text} for n, text in enumerate(texts)]
    response = await api.post(APPLY, json={"files": files, **options})
    assert response.status_code == 200
    body: dict[str, Any] = response.json()
    return body


def actions(body: dict[str, Any]) -> dict[str, str]:
    return {f"{r['kind']} {r['namespace']}/{r['name']}": r["action"] for r in body["results"]}


async def test_all_files_are_one_transaction(api: httpx.AsyncClient, store: Store) -> None:
    batches: list[int] = []

    def note(events: Any, _revision: int) -> None:
        batches.append(len(events))

    store.subscribe(note)
    body = await send(api, policy("a") + "---\n" + policy("b"), service("s"))
    assert actions(body) == {
        "PeerAuthentication default/a": "created",
        "PeerAuthentication default/b": "created",
        "Service default/s": "created",
    }
    assert (body["revision"], body["problems"], batches) == (3, [], [3])
    again = await send(api, policy("a") + "---\n" + policy("b", "DISABLE"), service("s"))
    assert list(actions(again).values()) == ["unchanged", "configured", "unchanged"]
    assert (again["revision"], batches) == (4, [3, 1])


async def test_an_invalid_object_is_told_and_its_last_version_stays(
    api: httpx.AsyncClient,
) -> None:
    await send(api, policy("a"))
    body = await send(api, service("s") + "---\n" + policy("a", "SOMETIMES"))
    assert actions(body) == {
        "Service default/s": "created",
        "PeerAuthentication default/a": "invalid",
    }
    (problem,) = body["results"][1]["problems"]
    assert (problem["file"], problem["line"]) == ("0.yaml", 14)
    assert (problem["field"], problem["severity"]) == ("spec.mtls.mode", "Error")
    assert set(problem) == {
        *("file", "line", "field", "code", "istioCode", "message", "hint", "severity")
    }
    shown = (await api.get(POLICY)).json()
    assert shown["spec"]["mtls"]["mode"] == "STRICT"
    (accepted, *_) = shown["status"]["conditions"]
    assert (accepted["type"], accepted["status"]) == ("Accepted", "False")
    assert "generation 1 stays in force" in accepted["message"]
    assert shown["status"]["validationMessages"][0]["line"] == 14
    await send(api, policy("a", "PERMISSIVE"))
    accepted = (await api.get(POLICY)).json()["status"]["conditions"][0]
    assert accepted["status"] == "True"


async def test_what_types_do_not_show_is_told_too(api: httpx.AsyncClient) -> None:
    bad = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec:\n  ports: [{port: 70000}]\n"
    body = await send(api, bad, policy("a"))
    assert sorted(actions(body).values()) == ["created", "invalid"]
    (problem,) = next(r["problems"] for r in body["results"] if r["kind"] == "Service")
    assert (problem["field"], problem["line"]) == ("spec.ports[0].port", 5)
    single = await api.post(
        "/api/v1/namespaces/default/services",
        json={"metadata": {"name": "s"}, "spec": {"ports": [{"port": 70000}]}},
    )
    assert single.status_code == 422


async def test_admission_s_problems_have_lines(api: httpx.AsyncClient) -> None:
    body = await send(api, service("s", "1.2.3.4"))
    assert actions(body) == {"Service default/s": "invalid"}
    (problem,) = body["results"][0]["problems"]
    assert (problem["file"], problem["line"], problem["code"]) == ("0.yaml", 6, "OutOfRange")


async def test_a_wanted_address_goes_before_an_allocated_one(
    api: httpx.AsyncClient, store: Store
) -> None:
    await send(api, service("b"))
    key = ObjectKey("Service", Namespace("default"), "b")
    taken = store.require(key).spec.cluster_ip  # type: ignore[attr-defined]  # A Service.
    await send(api, service("b"), delete=True)
    body = await send(api, service("b"), service("wants", taken))
    assert set(actions(body).values()) == {"created"}
    assert store.require(key).spec.cluster_ip != taken  # type: ignore[attr-defined]  # A Service.


async def test_an_object_written_twice(api: httpx.AsyncClient) -> None:
    body = await send(api, policy("a"), policy("a", "DISABLE"))
    assert len(body["results"]) == 1
    (problem,) = body["results"][0]["problems"]
    assert (problem["code"], problem["file"]) == ("DuplicateObject", "1.yaml")
    assert "0.yaml:1" in problem["message"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a: [\n", None),
        ("", "EmptyFile"),
        ("\0\1\2", "BinaryFile"),
        ("just words\n", "NotAnObject"),
    ],
)
async def test_what_is_no_object_hides_nothing_else(
    api: httpx.AsyncClient, text: str, code: str | None
) -> None:
    body = await send(api, text, policy("a"))
    assert actions(body) == {"PeerAuthentication default/a": "created"}
    (problem,) = body["problems"]
    assert problem["file"] == "0.yaml"
    assert code in (None, problem["code"])
    assert problem["message"]


async def test_an_unknown_kind_is_told(api: httpx.AsyncClient) -> None:
    text = policy("a").replace("PeerAuthentication", "PeerAuthentification")
    body = await send(api, text)
    assert list(actions(body).values()) == ["invalid"]
    assert body["results"][0]["problems"][0]["code"] == "UnknownKind"


async def test_a_large_input_is_decoded_too(api: httpx.AsyncClient) -> None:
    body = await send(api, "---\n".join(policy(f"p{n}") for n in range(400)))
    assert len(body["results"]) == 400
    assert set(actions(body).values()) == {"created"}


async def test_a_dry_run_changes_nothing(api: httpx.AsyncClient) -> None:
    body = await send(api, policy("a"), dryRun=True)
    assert (actions(body), body["revision"]) == ({"PeerAuthentication default/a": "created"}, 0)
    await send(api, policy("a", "NO"), dryRun=True)
    assert (await api.get(POLICY)).status_code == 404


async def test_objects_without_a_namespace_get_the_one_asked_for(api: httpx.AsyncClient) -> None:
    body = await send(api, policy("a"), namespace="shop")
    assert actions(body) == {"PeerAuthentication shop/a": "created"}


async def test_delete(api: httpx.AsyncClient) -> None:
    """To delete it does not matter what else is wrong with the object."""
    await send(api, policy("a"), service("s"))
    body = await send(api, policy("a", "SOMETIMES"), service("s"), policy("gone"), delete=True)
    assert actions(body) == {
        "PeerAuthentication default/a": "deleted",
        "Service default/s": "deleted",
        "PeerAuthentication default/gone": "invalid",
    }
    codes = [[p["code"] for p in result["problems"]] for result in body["results"]]
    assert sorted(codes) == [[], [], ["NotFound"]]
    assert (await api.get(POLICY)).status_code == 404


async def test_deleting_a_namespace_and_what_is_in_it_at_once(api: httpx.AsyncClient) -> None:
    namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
    await send(api, namespace, policy("a") + "---\n" + service("s"), namespace="shop")
    body = await send(api, namespace, policy("a"), namespace="shop", delete=True)
    assert actions(body) == {
        "Namespace /shop": "deleted",
        "PeerAuthentication shop/a": "deleted",
        "Service shop/s": "deleted",
    }


async def test_what_was_read_can_be_applied_again(api: httpx.AsyncClient) -> None:
    """Version and identity in a file are those of the day it was written."""
    await send(api, policy("a"))
    read = (await api.get(POLICY)).text
    await send(api, policy("a", "DISABLE"))
    body = await send(api, read)
    assert list(actions(body).values()) == ["configured"]


async def test_the_status_tells_problems_and_distribution(
    api: httpx.AsyncClient, neighbours: Any
) -> None:
    key = ObjectKey("PeerAuthentication", Namespace("default"), "a")
    neighbours.found[key] = (Problem(key, "spec.mtls", "Odd", "this is odd", "do better"),)
    neighbours.spreads[key] = Spread(3, 2)
    body = await send(api, policy("a"))
    assert body["results"][0]["action"] == "created"
    assert body["results"][0]["problems"][0]["line"] == 6
    status = (await api.get(POLICY)).json()["status"]
    conditions = {c["type"]: (c["status"], c["reason"], c["message"]) for c in status["conditions"]}
    assert conditions == {
        "Accepted": ("False", "Odd", "spec.mtls: this is odd"),
        "Distributed": ("False", "Pending", "2 of 3 proxies acknowledged"),
    }
    assert status["observedGeneration"] == 1
    assert status["validationMessages"] == [
        {
            "type": {"name": "Odd"},
            "level": "ERROR",
            "message": "this is odd",
            "field": "spec.mtls",
            "hint": "do better",
            "file": "0.yaml",
            "line": 6,
        }
    ]
    neighbours.spreads[key] = Spread(3, 2, ("web.default: bad",))
    neighbours.found.clear()
    conditions = (await api.get(POLICY)).json()["status"]["conditions"]
    assert [c["status"] for c in conditions] == ["True", "False"]
    assert conditions[1]["reason"] == "Rejected"


async def test_the_status_keeps_what_an_object_warns_of_by_itself(api: httpx.AsyncClient) -> None:
    text = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["*"]
    defaultEndpoint: 127.0.0.1:9
"""
    body = await send(api, text)
    (told,) = body["results"][0]["problems"]
    assert (told["code"], told["line"], told["severity"]) == ("NoEffect", 9, "Warning")
    shown = await api.get("/apis/networking.istio.io/v1/namespaces/default/gateways/edge")
    status = shown.json()["status"]
    assert status["conditions"][0]["status"] == "True", "it is in force"
    (message,) = status["validationMessages"]
    assert (message["type"]["name"], message["line"]) == ("NoEffect", 9)
    assert message["field"] == "spec.servers[0].defaultEndpoint"


async def test_nobody_writes_the_status_of_a_policy_by_applying(
    api: httpx.AsyncClient, store: Store
) -> None:
    events: list[Event] = []
    await send(api, policy("a"))
    store.subscribe(lambda found, _: events.extend(found))
    body = await send(api, policy("a") + "status: {conditions: [{type: X, status: 'True'}]}\n")
    assert (list(actions(body).values()), events) == (["unchanged"], [])


async def test_what_proxies_refused_before_does_not_count_against_a_new_version(
    api: httpx.AsyncClient, neighbours: Any
) -> None:
    key = ObjectKey("PeerAuthentication", Namespace("default"), "a")
    await send(api, policy("a"))
    neighbours.found[key] = (Problem(key, "", REJECTED_BY_PROXY, "one of the proxies refused it"),)
    (again,) = (await send(api, policy("a")))["results"]
    assert again["action"] == "unchanged"
    assert [problem["code"] for problem in again["problems"]] == [REJECTED_BY_PROXY]
    (changed,) = (await send(api, policy("a", "PERMISSIVE")))["results"]
    assert changed["action"] == "configured"
    assert changed["problems"] == []
