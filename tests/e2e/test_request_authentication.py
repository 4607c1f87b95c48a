"""Tokens of end users at sidecars and gateways: Istio's tasks, every field, and every bad token.

https://istio.io/latest/docs/tasks/security/authentication/authn-policy/#end-user-authentication
https://istio.io/latest/docs/tasks/security/authentication/claim-to-header/
https://istio.io/latest/docs/tasks/security/authentication/jwt-route/
"""

import base64
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from inside import Answer, Inside, outside
from mesh import SAMPLES, Mesh, eventually
from rules import Rules

from argosy.testing.tokens import Claims, Issuer, key_set

pytestmark = pytest.mark.e2e

URL = "http://httpbin:8000/headers"
ISSUER = Issuer("https://issuer.example.com")
OTHER = Issuer("https://other.example.com")
STRANGER = Issuer(ISSUER.name)
"""Says that it is the issuer, with a key of its own of the same name."""

GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: httpbin-gateway, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["*"]
"""


@pytest.fixture(scope="module")
def meshed(mesh: Mesh) -> Mesh:
    mesh.up(SAMPLES / "httpbin" / "httpbin.yaml", SAMPLES / "curl" / "curl.yaml")
    return mesh


@pytest.fixture(scope="module")
def browser(meshed: Mesh) -> Iterator[Inside]:
    with outside() as client:
        yield client


@pytest.fixture(scope="module")
def edge(meshed: Mesh) -> str:
    return meshed.url


def policy(
    *jwt_rules: object, name: str = "jwt", namespace: str = "default", app: str | None = "httpbin"
) -> str:
    spec: dict[str, object] = {"jwtRules": jwt_rules}
    if app is not None:
        key = "istio" if namespace == "istio-system" else "app"
        spec["selector"] = {"matchLabels": {key: app}}
    metadata = {"name": name, "namespace": namespace}
    head = {"apiVersion": "security.istio.io/v1", "kind": "RequestAuthentication"}
    return json.dumps({**head, "metadata": metadata, "spec": spec})


def rule(issuer: Issuer = ISSUER, **more: object) -> dict[str, object]:
    return {"issuer": issuer.name, "jwks": issuer.key_set(), **more}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def told(answer: Answer) -> dict[str, str]:
    """What the application got, names in lower case."""
    assert answer.status == 200, answer
    headers: dict[str, Any] = answer.json["headers"]
    return {name.lower(): _first(value) for name, value in headers.items()}


def _first(value: Any) -> str:
    return value[0] if isinstance(value, list) else str(value)


def in_force(
    client: Inside, url: str = URL, headers: dict[str, str] | None = None, expected: int = 401
) -> None:
    """Wait until bad tokens are refused, at both pods and on every connection.

    One that was open before a change takes one more request as before it.
    """
    sent = headers or bearer("bad")
    eventually(lambda: client.get(url, headers=sent).status == expected, f"it is {expected}")

    def everywhere() -> bool:
        found = client.requests(url, headers=sent, count=24, parallel=8, fresh=True)
        return {answer.status for answer in found} == {expected}

    client.requests(url, headers=sent, count=24, parallel=8, fresh=True)
    eventually(everywhere, f"it is {expected} everywhere")


def _token(claims: Claims | None = None, issuer: Issuer = ISSUER, **header: object) -> str:
    return issuer.token({"aud": "books", **(claims or {})}, **header)


BAD_TOKENS: dict[str, Callable[[], str]] = {
    "not a token": lambda: "deadbeef",
    "three empty parts": lambda: "..",
    "not base64": lambda: "a.b.c",
    "not JSON": lambda: "AAAA.AAAA.AAAA",
    "alg none": lambda: ISSUER.unsigned({"aud": "books"}),
    "alg none, with a signature": lambda: _token(alg="none"),
    "HS256 with the public key": lambda: ISSUER.confused({"aud": "books"}),
    "another algorithm than the key's": lambda: _token(alg="RS512"),
    "another's key of the same name": lambda: _token(issuer=STRANGER),
    "a key that is not known": lambda: _token(kid="key-2"),
    "a path for a key": lambda: _token(kid="../../dev/null"),
    "a key that it brings along": lambda: _token(issuer=STRANGER, jwk=STRANGER.jwk()),
    "another issuer": lambda: _token(issuer=OTHER),
    "another issuer, signed by ours": lambda: _token({"iss": OTHER.name}),
    "no issuer": lambda: _token({"iss": None}),
    "expired": lambda: _token({"exp": int(time.time()) - 120}),
    "not valid yet": lambda: _token({"nbf": int(time.time()) + 120}),
    "changed after signing": lambda: _tampered(_token()),
    "its signature cut off": lambda: _token().rpartition(".")[0] + ".",
    "huge": lambda: f"{'a' * 20000}.{'b' * 20000}.{'c' * 10000}",
}
FOR_OTHERS: dict[str, Claims] = {
    "for somebody else": {"aud": "shoes"},
    "for several others": {"aud": ["shoes", "hats"]},
    "for nobody": {"aud": None},
}
"""Envoy answers 403 to these: it knows who asks."""


def _tampered(token: str) -> str:
    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    forged = base64.urlsafe_b64encode(json.dumps({**claims, "sub": "admin"}).encode())
    return f"{head}.{forged.decode().rstrip('=')}.{signature}"


@pytest.mark.covers(
    "RequestAuthentication.selector",
    "RequestAuthentication.jwtRules[].issuer",
    "RequestAuthentication.jwtRules[].audiences",
    "RequestAuthentication.jwtRules[].jwks",
)
def test_bad_tokens_of_every_kind(rules: Rules, curl: Inside, browser: Inside, edge: str) -> None:
    """From sidecar to sidecar and through a gateway, by HTTP/1.1 and HTTP/2."""
    ours = rule(audiences=["books", "games"])
    rules.apply("jwt", policy(ours))
    rules.apply("edge", policy(ours, namespace="istio-system", app="ingressgateway"))
    rules.apply("gateway", GATEWAY)
    rules.apply("route", _route([{"route": [{"destination": {"host": "httpbin"}}]}]))
    in_force(curl)
    in_force(browser, f"{edge}/headers")
    places: tuple[tuple[str, Inside, str, dict[str, bool]], ...] = (
        ("sidecar", curl, URL, {}),
        ("sidecar, HTTP/2", curl, URL, {"http2": True}),
        ("gateway", browser, f"{edge}/headers", {}),
        ("gateway, HTTP/2", browser, f"{edge}/headers", {"http2": True}),
    )
    good = ISSUER.token({"aud": ["games", "other"]})
    for where, client, url, options in places:
        assert client.get(url, **options).status == 200, f"{where}: without a token"
        assert client.get(url, headers=bearer(good), **options).status == 200, where
        for what, make in BAD_TOKENS.items():
            found = client.get(url, headers=bearer(make()), **options)
            assert found.status == 401, f"{where}: {what}: {found}"
            assert "Bearer" in found.headers["www-authenticate"]
        for what, claims in FOR_OTHERS.items():
            found = client.get(url, headers=bearer(_token(claims)), **options)
            assert found.status == 403, f"{where}: {what}: {found}"
        # Over the limit of headers: refused before anybody looks at it, and the proxy stays up.
        larger = client.get(url, headers=bearer("a" * 70_000), **options)
        assert larger.status in (0, 431), f"{where}: {larger.status}"
        assert client.get(url, headers=bearer(good), **options).status == 200, where


def test_clocks_may_differ_by_a_minute(rules: Rules, curl: Inside) -> None:
    """Envoy's ``clock_skew_seconds`` is 60."""
    rules.apply("jwt", policy(rule()))
    in_force(curl)
    now = int(time.time())
    for claims in ({"exp": now - 20}, {"nbf": now + 20}):
        assert curl.get(URL, headers=bearer(ISSUER.token(claims))).status == 200, claims


def test_two_tokens_and_headers_twice(rules: Rules, curl: Inside) -> None:
    """One that is bad spoils the request, and what was forged never counts."""
    shown = [{"header": "x-user", "claim": "sub"}]
    rules.apply("jwt", policy(rule(outputClaimToHeaders=shown)))
    in_force(curl)
    good = ISSUER.token({"sub": "good"})
    forged = STRANGER.token({"sub": "forged"})
    for first, second in ((good, forged), (forged, good), (good, "bad"), ("bad", good)):
        answer = curl.get(f"{URL}?access_token={second}", headers=bearer(first))
        assert answer.status == 401, answer
        assert _twice(curl, first, second) == 401
    same = curl.get(f"{URL}?access_token={good}", headers=bearer(good))
    assert told(same)["x-user"] == "good"


def _twice(client: Inside, *tokens: str) -> int:
    """The status of a request with several Authorization headers."""
    lines = "".join(f"authorization: Bearer {token}\r\n" for token in tokens)
    text = f"GET /headers HTTP/1.1\r\nhost: httpbin:8000\r\n{lines}connection: close\r\n\r\n"
    answer: str = client.call("exchange", host="httpbin", port=8000, text=text)
    return int(answer.split(" ")[1])


@pytest.mark.covers(
    "RequestAuthentication.jwtRules[].fromHeaders[].name",
    "RequestAuthentication.jwtRules[].fromHeaders[].prefix",
    "RequestAuthentication.jwtRules[].fromParams",
    "RequestAuthentication.jwtRules[].fromCookies",
)
def test_where_tokens_are_looked_for(rules: Rules, curl: Inside) -> None:
    shown = [{"header": "x-user", "claim": "sub"}]
    token = ISSUER.token({"sub": "alice"})
    rules.apply("jwt", policy(rule(outputClaimToHeaders=shown)))
    in_force(curl)
    assert told(curl.get(URL, headers=bearer(token)))["x-user"] == "alice"
    assert told(curl.get(f"{URL}?access_token={token}"))["x-user"] == "alice"
    for elsewhere in ({"x-token": token}, {"cookie": f"session={token}"}, {"authorization": token}):
        assert "x-user" not in told(curl.get(URL, headers=elsewhere)), elsewhere

    headers = [{"name": "x-token"}, {"name": "X-Prefixed", "prefix": "Token "}]
    places = {"fromHeaders": headers, "fromParams": ["token"], "fromCookies": ["session"]}
    rules.apply("jwt", policy(rule(outputClaimToHeaders=shown, **places)))
    in_force(curl, headers={"x-token": "bad"})
    found: tuple[tuple[str, dict[str, str]], ...] = (
        (URL, {"x-token": "{}"}),
        (URL, {"x-prefixed": "Token {}"}),
        (f"{URL}?token={{}}", {}),
        (URL, {"cookie": "a=b; session={}; c=d"}),
    )
    for url, sent in found:
        good = {name: value.format(token) for name, value in sent.items()}
        bad = {name: value.format("bad") for name, value in sent.items()}
        assert told(curl.get(url.format(token), headers=good))["x-user"] == "alice", sent
        assert curl.get(url.format("bad"), headers=bad).status == 401, sent
    # These are not places any more: nobody looks at what is there.
    for sent in (bearer("bad"), bearer(token)):
        assert "x-user" not in told(curl.get(f"{URL}?access_token=bad", headers=sent))


@pytest.mark.covers(
    "RequestAuthentication.jwtRules[].outputClaimToHeaders[].header",
    "RequestAuthentication.jwtRules[].outputClaimToHeaders[].claim",
    "RequestAuthentication.jwtRules[].outputPayloadToHeader",
    "RequestAuthentication.jwtRules[].forwardOriginalToken",
)
def test_claim_to_header(rules: Rules, curl: Inside) -> None:
    """S-08, and what applications are told besides; clients cannot write these headers."""
    outputs = [
        {"header": "x-jwt-claim-foo", "claim": "foo"},
        {"header": "X-Country", "claim": "address.country"},
        {"header": "x-age", "claim": "age"},
        {"header": "x-admin", "claim": "admin"},
    ]
    rules.apply(
        "jwt", policy(rule(outputClaimToHeaders=outputs, outputPayloadToHeader="x-payload"))
    )
    in_force(curl)
    claims = {"foo": "bar", "address": {"country": "nl"}, "age": 42, "admin": True}
    forged = dict.fromkeys(
        ("x-jwt-claim-foo", "X-Country", "x-age", "X-ADMIN", "x-payload"), "evil"
    )
    seen = told(curl.get(URL, headers={**forged, **bearer(ISSUER.token(claims))}))
    assert {
        name: seen.get(name) for name in ("x-jwt-claim-foo", "x-country", "x-age", "x-admin")
    } == {
        "x-jwt-claim-foo": "bar",
        "x-country": "nl",
        "x-age": "42",
        "x-admin": "true",
    }
    payload = json.loads(base64.urlsafe_b64decode(seen["x-payload"] + "=="))
    assert payload == {"iss": ISSUER.name, "sub": "user", **claims}
    assert "authorization" not in seen, "the token stays with the proxy"

    nobody = told(curl.get(URL, headers=forged))
    assert not nobody.keys() & {name.lower() for name in forged}, "without a token too"
    partial = told(curl.get(URL, headers={**forged, **bearer(ISSUER.token())}))
    assert "x-jwt-claim-foo" not in partial, "of a claim that the token lacks too"
    asks = {"origin": "https://shop.example.com", "access-control-request-method": "GET"}
    preflight = curl.get(URL, method="OPTIONS", headers={**forged, **asks})
    assert "evil" not in preflight.body

    token = ISSUER.token()
    rules.apply("jwt", policy(rule(forwardOriginalToken=True)))
    in_force(curl)
    assert told(curl.get(URL, headers=bearer(token)))["authorization"] == f"Bearer {token}"


def test_istios_own_keys_and_tokens(rules: Rules, curl: Inside, istio_samples: Path) -> None:
    """S-08 as Istio's page has it, with the files of ``security/tools/jwt/samples``."""
    folder = istio_samples / "jwt"
    outputs = [{"header": "x-jwt-claim-foo", "claim": "foo"}]
    written = {"issuer": "testing@secure.istio.io", "jwks": (folder / "jwks.json").read_text()}
    rules.apply("jwt", policy({**written, "outputClaimToHeaders": outputs}))
    in_force(curl)
    token = (folder / "demo.jwt").read_text().strip()
    assert told(curl.get(URL, headers=bearer(token)))["x-jwt-claim-foo"] == "bar"
    groups = (folder / "groups-scope.jwt").read_text().strip()
    assert curl.get(URL, headers=bearer(groups)).status == 200
    assert curl.get(URL, headers=bearer(token[:-4] + "AAAA")).status == 401


def test_several_rules_and_policies_add_up(rules: Rules, curl: Inside) -> None:
    """Two issuers in one policy, one more for the mesh, one issuer twice, and nobody else."""
    mesh_wide = Issuer("https://mesh.example.com")
    twice = Issuer(ISSUER.name, kid="second")
    first = rule(audiences=["a"], outputClaimToHeaders=[{"header": "x-one", "claim": "sub"}])
    second = rule(OTHER, outputClaimToHeaders=[{"header": "x-two", "claim": "sub"}])
    rules.apply("jwt", policy(first, second))
    rules.apply("mesh", policy(rule(mesh_wide), name="mesh", namespace="istio-system", app=None))
    again = {"issuer": ISSUER.name, "jwks": key_set(twice), "audiences": ["b"]}
    rules.apply("more", policy(again, name="more", app=None))
    # Each of the four came by a change of its own.
    good = (
        ISSUER.token({"aud": "a"}),
        OTHER.token(),
        mesh_wide.token(),
        twice.token({"aud": "b"}),
    )
    for token in good:
        in_force(curl, headers=bearer(token), expected=200)
    for token in (
        ISSUER.token({"aud": "b"}),
        twice.token({"aud": "a"}),
        twice.token({"aud": "a"}, kid=ISSUER.kid),
        Issuer("https://nobody.example.com").token(),
        "bad",
    ):
        assert curl.get(URL, headers=bearer(token)).status in (401, 403)
    assert curl.get(URL).status == 200
    # A header of one issuer's rule cannot be written by who has a token of the other.
    forged = {"x-one": "evil", "x-two": "evil"}
    seen = told(curl.get(URL, headers={**forged, **bearer(OTHER.token({"sub": "bob"}))}))
    assert (seen.get("x-one"), seen.get("x-two")) == (None, "bob")
    # The whole mesh's policy holds at the gateway too, and one with a selector elsewhere does not.
    rules.delete("jwt")
    rules.delete("more")
    in_force(curl, headers=bearer(OTHER.token()))
    assert curl.get(URL, headers=bearer(mesh_wide.token())).status == 200


def _route(http: object) -> str:
    spec = {"hosts": ["*"], "gateways": ["httpbin-gateway"], "http": http}
    head = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService"}
    metadata = {"name": "edge", "namespace": "default"}
    return json.dumps({**head, "metadata": metadata, "spec": spec})


def _claim_route(headers: object, **more: object) -> dict[str, object]:
    match = {"uri": {"prefix": "/headers"}, "headers": headers, **more}
    return {"match": [match], "route": [{"destination": {"host": "httpbin"}}]}


@pytest.mark.covers(
    "VirtualService.http[].match[].headers",
    "RequestAuthentication.jwtRules[].spaceDelimitedClaims",
)
def test_routes_by_claims(rules: Rules, browser: Inside, edge: str) -> None:
    """S-09, with nested claims, lists, texts that are lists, and claims that must not be."""
    rules.apply("gateway", GATEWAY)
    where = {"namespace": "istio-system", "app": "ingressgateway"}
    rules.apply("edge", policy(rule(spaceDelimitedClaims=["roles"]), **where))

    def status(claims: object = None, **options: Any) -> int:
        headers = {} if claims is None else bearer(ISSUER.token(claims))
        return browser.get(f"{edge}/headers", headers=headers, **options).status

    def forged() -> int:
        """What a client may try instead of a token."""
        headers = {"@request.auth.claims.groups": "group1", "request.auth.claims.groups": "group1"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        host, _, port = edge.removeprefix("http://").partition(":")
        text = f"GET /headers HTTP/1.1\r\nhost: x\r\n{lines}connection: close\r\n\r\n"
        answer: str = browser.call("exchange", host=host, port=int(port), text=text)
        return int(answer.split(" ")[1])

    group = {"exact": "group1"}
    rules.apply("route", _route([_claim_route({"@request.auth.claims.groups": group})]))
    eventually(lambda: status({"groups": ["group1", "group2"]}) == 200, "the route is there")
    in_force(browser, f"{edge}/headers")
    assert status() == 404
    assert status({"groups": "group1"}) == 200
    assert status({"groups": ["group1"]}, http2=True) == 200
    assert status({"groups": ["group11"]}) == 404
    assert status({}) == 404
    assert browser.get(f"{edge}/headers", headers=bearer(STRANGER.token())).status == 401
    assert forged() in (400, 404)

    cases: tuple[tuple[dict[str, object], object, object], ...] = (
        ({"@request.auth.claims[groups]": group}, {"groups": "group1"}, {"groups": "group2"}),
        (
            {"@request.auth.claims[address][country]": {"prefix": "n"}},
            {"address": {"country": "nl"}},
            {"address": {"country": "de"}},
        ),
        (
            {"@request.auth.claims.address.country": {"regex": "n.*"}},
            {"address": {"country": "nl"}},
            {"country": "nl"},
        ),
        (
            {"@request.auth.claims[example.com/role]": {"exact": "admin"}},
            {"example.com/role": "admin"},
            {"example": {"com/role": "admin"}},
        ),
        ({"@request.auth.claims.scope": {"exact": "read"}}, {"scope": "write read"}, {"scope": "reads"}),
        ({"@request.auth.claims.roles": {"exact": "boss"}}, {"roles": "clerk boss"}, {"roles": "boss2"}),
        ({"@request.auth.claims.sub": {}}, {"sub": "anybody"}, {"sub": None}),
    )  # fmt: skip
    for headers, good, bad in cases:
        rules.apply("route", _route([_claim_route(headers)]))
        eventually(lambda good=good: status(good) == 200, f"{headers}")  # type: ignore[misc]
        assert status(bad) == 404, headers
        assert status() == 404, headers

    without = {"@request.auth.claims.suspended": {"exact": "yes"}}
    rules.apply("route", _route([_claim_route({}, withoutHeaders=without)]))
    eventually(lambda: status({}) == 200, "who is not suspended")
    assert status({"suspended": "yes"}) == 404


@pytest.mark.covers("RequestAuthentication.jwtRules[].issuer")
def test_end_user_authentication_at_the_gateway(rules: Rules, browser: Inside, edge: str) -> None:
    """S-06: no token 200, a bad one 401, a good one 200 until its time is over."""
    rules.apply("gateway", GATEWAY)
    rules.apply("route", _route([{"route": [{"destination": {"host": "httpbin"}}]}]))
    rules.apply("edge", policy(rule(), namespace="istio-system", app="ingressgateway"))
    url = f"{edge}/headers"
    in_force(browser, url)
    assert browser.get(url).status == 200
    assert browser.get(url, headers=bearer("deadbeef")).status == 401
    # 60 s are the skew that Envoy grants; what is left is the token's own time.
    token = ISSUER.token({"exp": int(time.time()) - 55})
    assert browser.get(url, headers=bearer(token)).status == 200
    eventually(
        lambda: browser.get(url, headers=bearer(token)).status == 401, "its time is over", 20
    )
    rules.delete("edge")
    eventually(lambda: browser.get(url, headers=bearer("bad")).status == 200, "nobody looks")
