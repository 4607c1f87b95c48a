"""Keys of tokens that the control plane fetches: discovery, rollover, failures, and forbidden places.

The issuer's web server runs on this machine, outside the mesh, which must be told to allow that.
"""

import json
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator

import httpx
import pytest
from inside import Inside, inside
from key_server import KeyServer, key_server
from manifests import deployment, service
from mesh import SAMPLES, Json, Mesh, eventually, processes
from rules import Rules

from argosy.testing.tokens import Issuer, key_set

pytestmark = pytest.mark.e2e

URL = "http://httpbin:8000/headers"
KEYS_HOST = "keys.default.svc.cluster.local"


@pytest.fixture(scope="module")
def issuer_server() -> Iterator[KeyServer]:
    with key_server() as server:
        yield server


@pytest.fixture(scope="module")
def meshed(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    """``keys`` serves the files of a directory inside the mesh, as the proxy of a Gateway by name."""
    folder = tmp_path_factory.mktemp("keys")
    mesh.environment |= {
        "ARGOSY_JWKS_ALLOWED": f"127.0.0.1, {KEYS_HOST}",
        "BLOCKED_CIDRS_IN_JWKS_URIS": "192.0.2.0/24",
        "PILOT_JWT_PUB_KEY_REFRESH_INTERVAL": "1s",
    }
    (folder / "keys.json").write_text(IN_MESH.key_set())
    files = tmp_path_factory.mktemp("yaml") / "keys.yaml"
    serve = (sys.executable, "-m", "http.server", "8080", "-d", str(folder))
    port: dict[str, object] = {"name": "http", "port": 80, "targetPort": 8080}
    labels = {"gateway.networking.k8s.io/gateway-name": "keys"}
    served = deployment("keys", *serve, port=8080, labels=labels)
    files.write_text(served + service("keys", "keys", port))
    mesh.up(SAMPLES / "httpbin" / "httpbin.yaml", SAMPLES / "curl" / "curl.yaml", files)
    return mesh


IN_MESH = Issuer("https://in-mesh.example.com")


def policy(*jwt_rules: object, **targets: object) -> str:
    metadata = {"name": "jwt", "namespace": "default"}
    head = {"apiVersion": "security.istio.io/v1", "kind": "RequestAuthentication"}
    spec = {"jwtRules": jwt_rules, **targets}
    return json.dumps({**head, "metadata": metadata, "spec": spec})


def status(client: Inside, token: str = "") -> int:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return client.get(URL, headers=headers).status


def becomes(client: Inside, token: str, expected: int, what: str) -> None:
    """At both pods, and on every connection: those that were open take one more request as before."""
    headers = {"authorization": f"Bearer {token}"}

    def everywhere() -> bool:
        found = client.requests(URL, headers=headers, count=24, parallel=8, fresh=True)
        return {answer.status for answer in found} == {expected}

    eventually(everywhere, what, 20)


def messages(rules: Rules) -> list[Json]:
    """What the object's status says is wrong."""
    found = rules.get("security.istio.io/v1", "requestauthentications", "jwt")
    told: list[Json] = found["status"].get("validationMessages", [])
    return told


def reasons(rules: Rules, count: int) -> list[str]:
    """The reasons of so many rules, once there are that many."""
    eventually(lambda: len(messages(rules)) == count, f"{count} problems", 30)
    return [message["message"] for message in messages(rules)]


@pytest.mark.covers(
    "RequestAuthentication.jwtRules[].jwksUri", "RequestAuthentication.jwtRules[].jwks_uri"
)
def test_keys_are_there_when_the_change_is(
    rules: Rules, curl: Inside, issuer_server: KeyServer
) -> None:
    """By ``jwksUri``, by the older spelling, by discovery, and of a service of the mesh."""
    one, two, three = (Issuer(f"https://{name}.example.com") for name in ("one", "two", "three"))
    found = issuer_server.discover("/realm", issuer_server.publish("/realm/keys", three.key_set()))
    three.name = found
    rules.apply(
        "jwt",
        policy(
            {"issuer": one.name, "jwksUri": issuer_server.publish("/one", one.key_set())},
            {"issuer": two.name, "jwks_uri": issuer_server.publish("/two", two.key_set())},
            {"issuer": three.name},
            {"issuer": IN_MESH.name, "jwksUri": f"http://{KEYS_HOST}/keys.json"},
        ),
    )
    for issuer in (one, two, three, IN_MESH):
        becomes(curl, issuer.token(), 200, issuer.name)
        assert status(curl, Issuer(issuer.name).token()) == 401
    assert status(curl, Issuer("https://four.example.com").token()) == 401
    assert status(curl) == 200


@pytest.mark.covers("RequestAuthentication.jwtRules[].jwksUri")
def test_keys_roll_over_without_a_failed_request(
    rules: Rules, curl: Inside, issuer_server: KeyServer, meshed: Mesh
) -> None:
    old = Issuer("https://rolling.example.com", "old")
    new = Issuer(old.name, "new")
    url = issuer_server.publish("/rolling", old.key_set())
    rules.apply("jwt", policy({"issuer": old.name, "jwksUri": url}))
    becomes(curl, old.token(), 200, "the old key")
    assert status(curl, new.token()) == 401
    with inside(meshed, "deploy/curl") as other:
        with Load(other, old.token()) as load:
            issuer_server.publish("/rolling", key_set(old, new))
            becomes(curl, new.token(), 200, "both keys")
        assert load.failed == []
        with Load(other, new.token()) as load:
            issuer_server.publish("/rolling", key_set(new))
            becomes(curl, old.token(), 401, "the new key only")
        assert load.failed == []


@pytest.mark.covers("RequestAuthentication.targetRef", "RequestAuthentication.targetRefs[]")
def test_policies_of_a_gateway_by_name(rules: Rules, curl: Inside) -> None:
    """The proxies of a Gateway of the Kubernetes Gateway API have its name in a label."""
    url = "http://keys/keys.json"
    bad = {"authorization": "Bearer bad"}

    def status_there() -> int:
        return curl.get(url, headers=bad).status

    rule = {"issuer": IN_MESH.name, "jwks": IN_MESH.key_set()}
    target = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "keys"}
    for targets in ({"targetRefs": [target]}, {"targetRef": target}):
        rules.apply("jwt", policy(rule, **targets))
        eventually(lambda: status_there() == 401, "its tokens are checked")
        becomes(curl, "bad", 200, "and nobody else's")
        rules.delete("jwt")
        eventually(lambda: status_there() == 200, "they are not any more")


class Load:
    """Requests with one token, several at a time, until the block ends."""

    def __init__(self, client: Inside, token: str) -> None:
        self._client = client
        self._headers = {"authorization": f"Bearer {token}"}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.failed: list[object] = []
        self.sent = 0

    def _run(self) -> None:
        while not self._ended.is_set():
            answers = self._client.requests(URL, headers=self._headers, count=100, parallel=4)
            self.sent += len(answers)
            self.failed += [answer for answer in answers if answer.status != 200]

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        assert self.sent >= 100


def test_last_good_keys_stay_and_failures_are_told(
    rules: Rules, curl: Inside, issuer_server: KeyServer, meshed: Mesh
) -> None:
    """Also through the death of the control plane, which then cannot fetch them."""
    issuer = Issuer("https://failing.example.com")
    url = issuer_server.publish("/failing", issuer.key_set())
    rules.apply("jwt", policy({"issuer": issuer.name, "jwksUri": url}))
    becomes(curl, issuer.token(), 200, "its keys are there")

    issuer_server.fail("/failing")
    (reason,) = reasons(rules, 1)
    for part in (url, "status 503", "since 20", "next try is at 20", "stay in force"):
        assert part in reason
    assert [(m["level"], m["field"]) for m in messages(rules)] == [
        ("WARNING", "spec.jwtRules[0].jwksUri")
    ]
    found = curl.get(URL, headers={"authorization": f"Bearer {issuer.token()}"})
    assert found.status == 200, found

    before = rules.states().keys()
    wanted = re.compile(rf"argosy\.server --directory \S*/{meshed.name} ")
    (pid,) = [pid for pid, line, _ in processes() if wanted.search(line)]

    def synced() -> bool:
        try:
            found = rules.states()
        except httpx.TransportError:
            return False
        return found.keys() == before and set(found.values()) == {"SYNCED"}

    with inside(meshed, "deploy/curl") as other, Load(other, issuer.token()) as load:
        os.kill(pid, signal.SIGKILL)
        eventually(synced, "every proxy is back", 40)
        reasons(rules, 1)
    assert load.failed == []
    assert status(curl, issuer.token()) == 200
    assert status(curl, Issuer(issuer.name).token()) == 401

    issuer_server.publish("/failing", issuer.key_set())
    eventually(lambda: messages(rules) == [], "it is well again", 20)
    assert status(curl, issuer.token()) == 200


@pytest.mark.covers("RequestAuthentication.jwtRules[].timeout")
def test_keys_that_never_came(
    rules: Rules, curl: Inside, issuer_server: KeyServer, meshed: Mesh
) -> None:
    """No token passes, requests without one do, and everybody is told why (CVE-2026-31837)."""
    issuer = Issuer("https://absent.example.com")
    issuer_server.answers["/html"] = "<html>welcome</html>"
    issuer_server.answers["/empty"] = '{"keys": []}'
    issuer_server.answers["/big"] = " " * 2_000_000
    issuer_server.answers["/nothing/.well-known/openid-configuration"] = "{}"
    for step in range(5):
        issuer_server.redirect(f"/hop{step}", f"/hop{step + 1}")
    port = issuer_server.port
    expected = {
        f"{issuer_server.url}/404": "status 404",
        f"{issuer_server.url}/html": "not JSON",
        f"{issuer_server.url}/empty": "no key in it can verify tokens",
        f"{issuer_server.url}/big": "longer than 1048576 bytes",
        f"{issuer_server.url}/hop0": "redirects more than 3 times",
        f"https://127.0.0.1:{port}/tls": "SSL",
        "http://127.0.0.1:1/": "does not answer",
        "http://nobody.invalid/keys": "cannot be resolved",
    }
    some = [{"issuer": issuer.name, "jwksUri": url, "timeout": "2s"} for url in expected]
    rules.apply("jwt", policy(*some, {"issuer": f"{issuer_server.url}/nothing"}), quietly=False)
    becomes(curl, issuer.token(), 401, "no key is known")
    assert status(curl) == 200
    found = reasons(rules, len(expected) + 1)
    for (url, why), reason in zip(expected.items(), found, strict=False):
        assert url in reason
        assert why in reason, reason
        assert "every token that this rule looks at is refused" in reason
    assert "names no jwks_uri" in found[-1]
    assert {m["level"] for m in messages(rules)} == {"ERROR"}
    # Where people look for what is wrong.
    shown = meshed.argosy("describe", "requestauthentication", "jwt").stdout
    assert f"{issuer_server.url}/404" in shown
    analysis = meshed.argosy("analyze", check=False)
    assert analysis.returncode == 79
    assert f"{issuer_server.url}/404" in analysis.stdout
    assert f"{issuer_server.url}/404" in meshed.argosy("status").stderr


def test_forbidden_places(
    rules: Rules, curl: Inside, issuer_server: KeyServer, meshed: Mesh
) -> None:
    """Judged where a connection is made: redirects, discovery and disguises lead nowhere either."""
    port = issuer_server.port
    issuer = Issuer("https://sly.example.com")
    issuer_server.publish("/secret", issuer.key_set())
    metadata = issuer_server.redirect("/to-metadata", "http://169.254.169.254/latest/meta-data/")
    machine = issuer_server.redirect("/to-machine", f"http://127.0.0.2:{port}/secret")
    downgrade = issuer_server.redirect("/to-file", "file:///etc/passwd")
    issuer_server.discover("/sly", f"http://127.0.0.2:{port}/secret")
    itself, link, mesh_inside = "the machine itself", "the metadata service", "inside the mesh"
    expected = {
        f"http://127.0.0.2:{port}/secret": itself,
        f"http://0.0.0.0:{port}/secret": itself,
        f"http://[::1]:{port}/secret": itself,
        f"http://[::ffff:127.0.0.2]:{port}/secret": itself,
        "http://169.254.169.254/latest/meta-data/": link,
        "http://[fe80::1]/keys": "a link-local address",
        "http://[64:ff9b::a9fe:a9fe]/keys": link,
        "http://224.0.0.1/keys": "a multicast address",
        "http://192.0.2.7/keys": "BLOCKED_CIDRS_IN_JWKS_URIS",
        "http://10.244.0.1:15012/keys": mesh_inside,
        "http://10.96.0.10/keys": mesh_inside,
        "http://httpbin.default.svc.cluster.local:8000/get": mesh_inside,
        "http://httpbin.default:8000/get": mesh_inside,
        metadata: link,
        machine: itself,
        downgrade: "is not an http or https URL",
    }
    some = [{"issuer": issuer.name, "jwksUri": url} for url in expected]
    rules.apply("jwt", policy(*some, {"issuer": f"{issuer_server.url}/sly"}), quietly=False)
    found = reasons(rules, len(expected) + 1)
    for (url, why), reason in zip(expected.items(), found, strict=False):
        assert why in reason, f"{url}: {reason}"
    assert itself in found[-1]
    assert issuer_server.asked["/secret"] == 0
    assert issuer_server.asked["/to-machine"] > 0
    assert status(curl, issuer.token()) == 401
    assert status(curl) == 200
