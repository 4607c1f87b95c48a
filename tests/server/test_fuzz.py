"""Whatever is sent to the API, it answers in its own words, gives nothing away and stays as it was."""

import asyncio
import base64
import json
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from argosy.api.core import Secret
from argosy.api.meta import Metadata
from argosy.api.registry import KINDS
from argosy.store.store import Store
from argosy.store.transaction import Put

PASSWORD = "correct-horse-battery-staple"
ENCODED = base64.b64encode(PASSWORD.encode()).decode()
FOREIGN = base64.b64encode(PASSWORD[::-1].encode()).decode()
OURS = "/apis/argosy.dev/v1alpha1"
PLURALS = sorted({entry.plural for entry in KINDS})
VERSIONS = sorted(
    {f"/apis/{e.group}/{v}" for e in KINDS if e.group for v in e.versions} | {"/api/v1"}
)
SLOWEST_SECONDS = 20.0
"""What no single request may take, also on a busy machine; the usual is some milliseconds."""

words = st.text(max_size=20) | st.sampled_from(
    ["..", "%2e%2e", "*", "~", "istio", "key", "bank", "shop", "\0", "a" * 300, "status", "token"]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


@st.composite
def objects(draw: st.DrawFn) -> dict[str, object]:
    """Nearly objects: of known kinds, with anything in them."""
    kind = draw(st.sampled_from(KINDS))
    version = draw(st.sampled_from(kind.versions))
    metadata = {"name": draw(words), "namespace": draw(st.sampled_from(["shop", "bank", ""]))}
    return {
        "apiVersion": f"{kind.group}/{version}" if kind.group else version,
        "kind": kind.kind,
        "metadata": {**metadata, **draw(st.dictionaries(words, json_values, max_size=2))},
        **draw(
            st.dictionaries(st.sampled_from(["spec", "data", "status"]), json_values, max_size=2)
        ),
    }


@st.composite
def paths(draw: st.DrawFn) -> str:
    """Nearly paths of the API."""
    if draw(st.booleans()):
        end = draw(
            st.sampled_from(["apply", "watch", "tokens", "tokens/a", "proxies", "distribution"])
        )
        return f"{OURS}/{end}"
    prefix = draw(st.sampled_from(VERSIONS))
    inside = draw(st.sampled_from(["", "/namespaces/shop", "/namespaces/bank"]))
    rest = [draw(st.sampled_from(PLURALS)), *draw(st.lists(words, max_size=2))]
    return f"{prefix}{inside}/" + "/".join(rest)


bodies = st.one_of(
    st.binary(max_size=200),
    json_values.map(lambda value: json.dumps(value).encode()),
    objects().map(lambda value: json.dumps(value).encode()),
    st.lists(objects() | json_values, max_size=3).map(
        lambda found: json.dumps(
            {
                "files": [{"path": "a", "text": "\n---\n".join(json.dumps(one) for one in found)}],
                "namespace": "shop",
            }
        ).encode()
    ),
    st.text(max_size=100).map(
        lambda text: json.dumps({"files": [{"path": "a", "text": text}]}).encode()
    ),
)
queries = st.dictionaries(
    st.sampled_from(
        [
            "watch",
            "labelSelector",
            "fieldSelector",
            "resourceVersion",
            "dryRun",
            "kinds",
            "revision",
        ]
    ),
    words | st.sampled_from(["true", "Secret", "Secret,Pod", "All", "-1", "1e400"]),
    max_size=3,
)
KINDS_OF_BODIES = [
    "application/json",
    "application/yaml",
    "application/merge-patch+json",
    "",
    "x/y;=",
]
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
Asked = tuple[str, str, dict[str, str], bytes, str]


@st.composite
def sound(draw: st.DrawFn) -> Asked:
    """Requests that an admin would be granted: for the Secrets that are there, and beside them."""
    kind, plural = draw(st.sampled_from([("Secret", "secrets"), ("ConfigMap", "configmaps")]))
    namespace = draw(st.sampled_from(["shop", "bank"]))
    name = draw(st.sampled_from(["key", "new"]))
    value: dict[str, object] = {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "data": {"password": draw(st.sampled_from(["eA==", "eQ=="]))},
    }
    body = json.dumps(value)
    place = draw(st.sampled_from([f"/namespaces/{namespace}", ""]))
    one = f"/api/v1/namespaces/{namespace}/{plural}/{name}"
    files = json.dumps(
        {"files": [{"path": "a", "text": body}], "delete": draw(st.booleans()), "namespace": "shop"}
    )
    many = f"/api/v1{place}/{plural}"
    methods = ["GET", "PUT", "PATCH", "DELETE"]
    patch = draw(st.sampled_from(["application/merge-patch+json", "application/apply-patch+yaml"]))
    watching = draw(st.sampled_from([{}, {"watch": "true"}]))
    kinds = {"kinds": kind, **draw(st.sampled_from([{}, {"namespace": namespace}]))}
    return draw(
        st.sampled_from(
            [
                *((method, one, {}, body.encode(), patch) for method in methods),
                ("PUT", one, {}, body.encode(), "application/json"),
                ("GET", many, watching, b"", ""),
                ("POST", many, {}, body.encode(), "application/json"),
                ("DELETE", many, {}, b"", ""),
                ("GET", f"{OURS}/watch", kinds, b"", ""),
                ("GET", f"{OURS}/snapshot", {}, b"", ""),
                ("POST", f"{OURS}/apply", {}, files.encode(), "application/json"),
            ]
        )
    )


requests = sound() | st.tuples(
    st.sampled_from(METHODS), paths(), queries, bodies, st.sampled_from(KINDS_OF_BODIES)
)


@dataclass
class Api:
    """A loop of its own, so that examples can be synchronous."""

    runner: "asyncio.Runner"
    client: httpx.AsyncClient
    store: Store

    def ask(
        self,
        caller: str,
        asked: Asked,
    ) -> httpx.Response:
        method, path, query, body, kind = asked
        if "watch" in query or path.endswith("/watch"):
            query = {**query, "timeoutSeconds": "0.01"}
        began = time.monotonic()
        try:
            answer = self.runner.run(
                self.client.request(
                    method,
                    path,
                    params={**query, "timeoutSeconds": "0.01"},
                    content=body,
                    headers={"Authorization": f"Bearer {caller}", "Content-Type": kind},
                )
            )
        except (httpx.InvalidURL, UnicodeEncodeError):  # it cannot even be sent
            return httpx.Response(400, json={"kind": "Status"})
        assert time.monotonic() - began < SLOWEST_SECONDS
        return answer


@pytest.fixture
def fuzzed(app: Starlette, store: Store) -> Iterator[Api]:
    store.apply([Put(value) for value in SEED])
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://argosy")
    with asyncio.Runner() as runner:
        yield Api(runner, client, store)
        runner.run(client.aclose())


SEED = [
    Secret(kind="Secret", metadata=Metadata(name="key", namespace=where), data={"password": value})
    for where, value in (("shop", ENCODED), ("bank", FOREIGN))
]


def foreign(store: Store, own: str) -> dict[object, str]:
    """The versions of all objects outside a namespace."""
    return {
        event.key: event.last.metadata.resource_version
        for event in store.snapshot()
        if event.key.namespace != own
    }


def in_own_words(answer: httpx.Response, method: str) -> None:
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400 and method != "HEAD" and answer.content:
        assert answer.json()["kind"] == "Status"


fixtures = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@fixtures
@given(asked=requests)
def test_an_admin_breaks_nothing(fuzzed: Api, asked: Asked) -> None:
    in_own_words(fuzzed.ask("admin-token", asked), asked[0])


@fixtures
@given(asked=requests)
def test_who_may_only_look_changes_nothing_and_sees_no_secret(fuzzed: Api, asked: Asked) -> None:
    before = fuzzed.store.revision
    for caller in ("view-token", "shop-view", "nobody-token"):
        answer = fuzzed.ask(caller, asked)
        in_own_words(answer, asked[0])
        assert ENCODED not in answer.text
        assert FOREIGN not in answer.text
    assert fuzzed.store.revision == before


@fixtures
@given(asked=requests)
def test_whoever_has_one_namespace_reaches_no_other(fuzzed: Api, asked: Asked) -> None:
    before = foreign(fuzzed.store, "shop")
    for caller in ("shop-edit", "shop-admin"):
        answer = fuzzed.ask(caller, asked)
        in_own_words(answer, asked[0])
        assert FOREIGN not in answer.text
    assert foreign(fuzzed.store, "shop") == before


@fixtures
@given(header=st.binary(max_size=100))
def test_no_token_is_taken_for_one(fuzzed: Api, header: bytes) -> None:
    """Whatever stands in the header, as long as HTTP can carry it."""
    sent = b"Bearer " + bytes(byte for byte in header if byte >= 0x20 and byte != 0x7F)
    answer = fuzzed.runner.run(fuzzed.client.get("/version", headers=[(b"authorization", sent)]))
    assert answer.status_code in (401, 429)


LAUGHS = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
RULE = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  "
BOMBS = {
    "aliases of aliases": LAUGHS,
    "aliases in an object": f"{RULE}x: 1\n{LAUGHS}",
    "an alias of itself": "a: &a [*a]\n",
    "deep lists": "[" * 200_000,
    "deep maps": "{a: " * 100_000,
    "deep JSON": '{"a":' * 100_000,
    "a large document": "a: " + "x" * (5 << 20),
    "a long key": f"? {'a' * (2 << 20)}\n: b\n",
    "a number of many digits": f"{RULE}hosts: [a]\n  http: [{{timeout: {'9' * 200_000}}}]\n",
    "many documents": "---\n" * 50_000,
    "many fields": RULE + "\n  ".join(f"k{i}: v" for i in range(30_000)),
    "a deep regular expression": f"{RULE}hosts: [a]\n  http: [{{match: [{{uri: {{regex: "
    f"'{'(' * 50_000}{')' * 50_000}'}}}}]}}]\n",
    "a regular expression that repeats": f"{RULE}hosts: [a]\n  http: [{{match: [{{uri: {{regex: "
    "'((a{999}){999}){999}'}}]}]\n",
    "a Python object": "!!python/object/apply:os.system [id]\n",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(fuzzed: Api, name: str) -> None:
    """Small text that would become large: it is refused in bounded time and memory."""
    body = json.dumps({"files": [{"path": "a.yaml", "text": BOMBS[name]}], "dryRun": True})
    asked = ("POST", f"{OURS}/apply", {}, body.encode(), "application/json")
    tracemalloc.start()
    try:
        answer = fuzzed.ask("admin-token", asked)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    in_own_words(answer, "POST")
    assert peak < 64 << 20, f"{peak >> 20} MiB for {len(body)} bytes"


@pytest.mark.parametrize(
    "body", [b"[" * 1_000_000, b'{"metadata":' * 200_000, b'{"spec":{"a":' * 200_000]
)
def test_deep_bodies(fuzzed: Api, body: bytes) -> None:
    for method, kind in (("POST", "application/json"), ("POST", "application/yaml")):
        path = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices"
        answer = fuzzed.ask("admin-token", (method, path, {}, body, kind))
        assert answer.status_code == 400, answer.text[:300]
