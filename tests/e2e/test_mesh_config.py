"""What MeshConfig and ProxyConfig change, seen from requests and from Envoy itself.

https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from inside import Inside, inside
from manifests import account, deployment, mesh_config, namespace, server, service
from mesh import Mesh, eventually, is_ready
from rules import Rules, document

pytestmark = pytest.mark.e2e

HTTP: dict[str, object] = {"name": "http", "port": 8000}
XFCC = "x-forwarded-client-cert"
THREADS = json.dumps(
    {
        "apiVersion": "networking.istio.io/v1beta1",
        "kind": "ProxyConfig",
        "metadata": {"name": "threads", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "tuned"}},
            "concurrency": 3,
            "environmentVariables": {"ISTIO_META_PLACE": "here", "COLOUR": "blue"},
        },
    }
)
ANNOTATION = """
concurrency: 2
serviceCluster: mine
runtimeValues: {overload.global_downstream_max_connections: "5000"}
proxyStatsMatcher: {inclusionPrefixes: [http]}
"""
WORKLOADS = (
    THREADS
    + "\n---\n"
    + namespace("other", {"team": "b"})
    + deployment("curl", image="curlimages/curl")
    + deployment("tuned", *server("flaky", 8000), port=8000)
    + service("tuned", "tuned", HTTP)
    + deployment(
        "annotated",
        *server("any", "8000,7000"),
        port=8000,
        labels={"app": "annotated"},
        annotations={"proxy.istio.io/config": ANNOTATION},
    )
    + service("annotated", "annotated", HTTP, {"name": "tcp", "port": 7000})
    + deployment("far", *server("any", "8000"), port=8000, namespace="other")
    + service("far", "far", HTTP, namespace="other")
)


@pytest.fixture(scope="module")
def configured(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    file = tmp_path_factory.mktemp("yaml") / "workloads.yaml"
    file.write_text(WORKLOADS)
    mesh.up(file)
    return mesh


@pytest.fixture(scope="module")
def curl(configured: Mesh) -> Iterator[Inside]:
    with inside(configured, "deploy/curl") as clients:
        yield clients


@pytest.fixture
def rules(configured: Mesh) -> Iterator[Rules]:
    with Rules(configured) as rules:
        yield rules


@pytest.fixture
def configure(rules: Rules) -> Callable[[str], None]:
    return lambda text: rules.apply("mesh", mesh_config(text))


def later(rules: Rules, curl: Inside, *more: int) -> None:
    """A workload that is made now: its pod has what holds for new pods.

    It is called ``later``, and answers on port 8000 and ``more``.
    """
    ports = [HTTP, *({"name": f"http-{port}", "port": port} for port in more)]
    serving = ",".join(map(str, (8000, *more)))
    rules.apply(
        "later",
        deployment("later", *server("any", serving), port=8000) + service("later", "later", *ports),
    )
    eventually(lambda: curl.get("http://later:8000/").status == 200, "the new pod answers", 60)


def ready(mesh: Mesh, *selectors: str) -> None:
    """Until there is one pod of each of the labels, and it is ready."""

    def are() -> bool:
        pods = [mesh.get("pods", "-l", selector) for selector in selectors]
        return all(len(found) == 1 and is_ready(found[0]) for found in pods)

    eventually(are, f"{selectors} are ready", 60)


def server_info(mesh: Mesh, target: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(mesh.envoy(target, "/server_info"))
    return found


@pytest.mark.covers(
    "ProxyConfig.concurrency",
    "ProxyConfig.selector",
    "ProxyConfig.selector.matchLabels[]",
    "ProxyConfig.environmentVariables[]",
    "MeshConfig.defaultConfig.concurrency",
    "MeshConfig.defaultConfig.serviceCluster",
    "MeshConfig.defaultConfig.runtimeValues[]",
)
def test_the_threads_and_metadata_of_proxies(configured: Mesh) -> None:
    info = server_info(configured, "deploy/tuned")
    assert info["command_line_options"]["concurrency"] == 3  # type: ignore[index]  # JSON
    assert info["node"]["metadata"]["PLACE"] == "here"  # type: ignore[index]  # JSON
    usual = server_info(configured, "deploy/curl")
    assert usual["command_line_options"]["concurrency"] == 1  # type: ignore[index]  # JSON
    annotated = server_info(configured, "deploy/annotated")
    assert annotated["command_line_options"]["concurrency"] == 2  # type: ignore[index]  # JSON
    assert annotated["node"]["cluster"] == "mine"  # type: ignore[index]  # JSON
    runtime = json.loads(configured.envoy("deploy/annotated", "/runtime"))
    assert "overload.global_downstream_max_connections" in runtime["entries"]


@pytest.mark.covers("MeshConfig.defaultHttpRetryPolicy")
def test_default_retries_are_the_meshs(rules: Rules, curl: Inside) -> None:
    """By default a 503 of the application is not asked for again; three times is enough here."""
    failing = {"x-fail": "2", "x-with": "503"}
    assert curl.get("http://tuned:8000/", headers={**failing, "x-case": "a"}).status == 503
    rules.apply("mesh", mesh_config("defaultHttpRetryPolicy: {attempts: 3, retryOn: 5xx}"))
    answer = curl.get("http://tuned:8000/", headers={**failing, "x-case": "b"})
    assert (answer.status, answer.json["tries"]) == (200, 3)
    rules.delete("mesh")
    assert curl.get("http://tuned:8000/", headers={**failing, "x-case": "c"}).status == 503


@pytest.mark.covers("MeshConfig.discoverySelectors")
def test_namespaces_that_the_mesh_does_not_look_at(rules: Rules, curl: Inside) -> None:
    text = "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n"
    rules.apply("mesh", mesh_config(text))
    assert curl.get("http://far.other:8000/").status == 200
    selector = "discoverySelectors: [{matchLabels: {kubernetes.io/metadata.name: default}}]"
    rules.apply("mesh", mesh_config(text + selector))
    assert curl.get("http://far.other:8000/").status == 502, "an unknown host"
    assert curl.get("http://annotated:8000/").status == 200
    either = selector.replace("]", ", {matchLabels: {team: b}}]")
    rules.apply("mesh", mesh_config(text + either))
    assert curl.get("http://far.other:8000/").status == 200


@pytest.mark.covers(
    "MeshConfig.proxyHttpPort",
    "MeshConfig.defaultConfig.proxyHeaders.server.value",
    "MeshConfig.defaultConfig.proxyHeaders.requestId.disabled",
    "MeshConfig.defaultConfig.proxyHeaders.attemptCount",
    "MeshConfig.defaultConfig.proxyHeaders.envoyDebugHeaders",
)
def test_headers_and_an_http_proxy_for_the_mesh(rules: Rules, curl: Inside) -> None:
    text = (
        "proxyHttpPort: 3128\n"
        "defaultConfig:\n"
        "  proxyHeaders: {server: {value: shop}, requestId: {disabled: true},\n"
        "    attemptCount: {disabled: true}, envoyDebugHeaders: {disabled: true}}"
    )
    before = curl.get("http://annotated:8000/")
    assert {"x-request-id", "x-envoy-attempt-count"} <= before.json["headers"].keys()
    rules.apply("mesh", mesh_config(text))

    def is_silent() -> bool:
        found = curl.get("http://annotated:8000/").json["headers"].keys()
        return not {"x-request-id", "x-envoy-attempt-count"} & found

    # Connections between the proxies that were open before go on with the listener they know.
    eventually(is_silent, "neither proxy adds headers to requests", seconds=90)
    answer = curl.get("http://annotated:8000/")
    assert answer.headers["server"] == "shop"
    assert "x-envoy-upstream-service-time" not in answer.headers
    proxied = curl.get("http://far.other:8000/x", proxy="http://127.0.0.1:3128")
    assert (proxied.status, proxied.json["path"]) == (200, "/x")


@pytest.mark.covers("MeshConfig.proxyListenPort", "MeshConfig.proxyInboundListenPort")
def test_pods_made_later_are_captured_at_other_ports(
    configured: Mesh, configure: Callable[[str], None], rules: Rules, curl: Inside
) -> None:
    """Pods that run keep theirs, and all speak to each other."""
    configure("proxyListenPort: 15101\nproxyInboundListenPort: 15106")
    later(rules, curl, 15001)
    moved, usual = (
        configured.envoy(f"deploy/{name}", "/listeners") for name in ("later", "annotated")
    )
    assert "virtualOutbound::0.0.0.0:15101" in moved
    assert "virtualInbound::0.0.0.0:15106" in moved
    assert "virtualOutbound::0.0.0.0:15001" in usual
    assert "virtualInbound::0.0.0.0:15006" in usual
    assert XFCC in curl.get("http://later:8000/").json["headers"]
    assert XFCC in curl.get("http://annotated:8000/").json["headers"]
    with inside(configured, "deploy/later") as client:
        assert XFCC in client.get("http://annotated:8000/").json["headers"]
        assert client.get("http://later:15001/").status == 200, "the port is free there"


@pytest.mark.covers("MeshConfig.trustDomain", "MeshConfig.trustDomainAliases[]")
def test_a_mesh_changes_its_name(
    configured: Mesh, configure: Callable[[str], None], rules: Rules, curl: Inside
) -> None:
    """All certificates come to name it while the old name is an alias, which then can go."""
    later(rules, curl)

    def names() -> set[str]:
        shown = json.loads(configured.argosy("certs", "-o", "json").stdout)["workloads"]
        return {one["report"]["identity"].split("/")[2] for one in shown}

    def become(name: str, before: str) -> None:
        text = f"trustDomain: {name}\ntrustDomainAliases: [{before}]"
        configure(text)
        eventually(lambda: names() == {name}, f"certificates name {name}", 60)
        configure(f"{text}\nconnectTimeout: 9s")  # so that connections are made anew

    become("shop", "cluster.local")
    identity = "spiffe://shop/ns/default/sa/default"

    def shown() -> str:
        found: str = curl.get("http://later:8000/").json["headers"][XFCC]
        return found

    eventually(lambda: f"URI={identity}" in shown(), "the client's new name")
    eventually(lambda: f"By={identity}" in shown(), "the server's")
    configure("trustDomain: shop")
    assert curl.get("http://later:8000/").status == 200
    assert curl.get("http://annotated:8000/").status == 200
    become("cluster.local", "shop")
    eventually(lambda: "URI=spiffe://cluster.local/" in shown(), "the first name again")


@pytest.mark.covers(
    "MeshConfig.trustDomain",
    "MeshConfig.trustDomainAliases[]",
    "AuthorizationPolicy.rules[].from[].source.principals[]",
)
def test_policies_follow_a_mesh_that_changes_its_name(
    configured: Mesh, configure: Callable[[str], None], rules: Rules
) -> None:
    """The old name allows nobody any more, unless it is an alias; cluster.local still does.

    Both workloads are made anew after the change, as the task has it, so that their certificates
    are of the new name. https://istio.io/latest/docs/tasks/security/authorization/authz-td-migration/
    """
    caller = account("caller") + deployment("caller", image="curlimages/curl", account="caller")
    callee = deployment("callee", *server("any", 8000), port=8000)
    called = service("callee", "callee", HTTP)

    def allow(path: str, *trust_domains: str) -> dict[str, object]:
        principals = [f"{name}/ns/default/sa/caller" for name in trust_domains]
        source = {"from": [{"source": {"principals": principals}}]} if principals else {}
        return {**source, "to": [{"operation": {"paths": [path]}}]}

    spec = {
        "selector": {"matchLabels": {"app": "callee"}},
        "rules": [allow("/old", "old-td"), allow("/any", "cluster.local"), allow("/open")],
    }

    def becomes(client: Inside, trust_domain: str, old: int, what: str) -> None:
        identity = f"URI=spiffe://{trust_domain}/ns/default/sa/caller"
        by = f"By=spiffe://{trust_domain}/ns/default/sa/default"

        def holds() -> bool:
            known = client.get("http://callee:8000/open", fresh=True)
            if known.status != 200:
                return False
            shown = known.json["headers"][XFCC]
            assert (identity in shown, by in shown) == (True, True), shown
            statuses = [client.get(f"http://callee:8000{p}").status for p in ("/old", "/any")]
            return statuses == [old, 200]

        eventually(holds, what, 60)

    configure("trustDomain: old-td")
    rules.apply("policy", document("security.istio.io/v1", "AuthorizationPolicy", "callee", spec))
    rules.apply("called", called)
    for name, old in (("old-td", 200), ("new-td", 403)):
        configure(f"trustDomain: {name}")
        rules.apply("workloads", caller + callee)
        ready(configured, "app=caller", "app=callee")
        with inside(configured, "deploy/caller") as client:
            becomes(client, name, old, f"of {name}, without aliases")
            if name == "new-td":
                configure("trustDomain: new-td\ntrustDomainAliases: [old-td]")
                becomes(client, name, 200, "the old name is an alias")
                configure("trustDomain: new-td")
                becomes(client, name, 403, "it is none any more")
        rules.delete("workloads")


@pytest.mark.covers(
    "MeshConfig.accessLogFile", "MeshConfig.accessLogFormat", "MeshConfig.accessLogEncoding"
)
def test_access_logs(configure: Callable[[str], None], curl: Inside, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)

    def has_its_first_name() -> bool:
        """As before the tests that changed it: both ends' certificates are of cluster.local again."""
        answer = curl.get("http://annotated:8000/", fresh=True)
        shown = answer.json["headers"][XFCC] if answer.status == 200 else ""
        return all(f"{end}=spiffe://cluster.local/" in shown for end in ("By", "URI"))

    eventually(lambda: all(has_its_first_name() for _ in range(4)), "the mesh is at rest", 60)

    def lines(configuration: str, path: str) -> list[str]:
        """What the proxies write of requests, at least two lines.

        Of the two changes the second makes connections anew: open ones log as before.
        """
        file = tmp_path / f"{path[1:]}.log"
        configure(f"accessLogFile: {file}\n{configuration}")
        configure(f"accessLogFile: {file}\n{configuration}\nconnectTimeout: 9s")

        def written() -> list[str]:
            assert curl.get(f"http://annotated:8000{path}").status == 200
            text = file.read_text() if file.exists() else ""
            return [line for line in text.splitlines() if path in line]

        eventually(lambda: len(written()) >= 2, "proxies have written")
        return written()

    assert all('"GET /a HTTP/' in line and " 200 - " in line for line in lines("", "/a"))
    own = 'accessLogFormat: "%REQ(:METHOD)% %REQ(:PATH)% gave %RESPONSE_CODE%"'
    assert set(lines(own, "/b")) == {"GET /b gave 200"}
    encoded = [json.loads(line) for line in lines("accessLogEncoding: JSON", "/c")]
    assert {(one["path"], one["response_code"]) for one in encoded} == {("/c", 200)}
    fields = 'accessLogEncoding: JSON\naccessLogFormat: \'{"way": "%REQ(:PATH)%"}\''
    assert all(json.loads(line) == {"way": "/d"} for line in lines(fields, "/d"))
