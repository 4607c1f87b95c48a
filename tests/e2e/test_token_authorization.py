"""Who needs a token, and which one: Istio's tasks on tokens and AuthorizationPolicies.

https://istio.io/latest/docs/tasks/security/authentication/authn-policy/#require-a-valid-token
https://istio.io/latest/docs/tasks/security/authorization/authz-jwt/
"""

import json

import pytest
from inside import Inside, outside
from mesh import SAMPLES, Mesh, eventually
from rules import Rules

from argosy.testing.tokens import Claims, Issuer

pytestmark = pytest.mark.e2e

URL = "http://httpbin:8000"
ISSUER = Issuer("testing@secure.istio.io")
STRANGER = Issuer(ISSUER.name)
PRINCIPAL = f"{ISSUER.name}/{ISSUER.name}"
GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: httpbin-gateway, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["*"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: httpbin, namespace: default}
spec:
  hosts: ["*"]
  gateways: [httpbin-gateway]
  http:
  - route: [{destination: {host: httpbin}}]
"""


@pytest.fixture(scope="module")
def meshed(mesh: Mesh) -> Mesh:
    mesh.up(SAMPLES / "httpbin" / "httpbin.yaml", SAMPLES / "curl" / "curl.yaml")
    return mesh


def _object(kind: str, spec: object, namespace: str, name: str = "jwt") -> str:
    metadata = {"name": name, "namespace": namespace}
    head = {"apiVersion": "security.istio.io/v1", "kind": kind}
    return json.dumps({**head, "metadata": metadata, "spec": spec})


def _selector(namespace: str) -> dict[str, object]:
    at_edge = namespace == "istio-system"
    labels = {"istio": "ingressgateway"} if at_edge else {"app": "httpbin"}
    return {"matchLabels": labels}


def authentication(namespace: str = "default") -> str:
    rule = {"issuer": ISSUER.name, "jwks": ISSUER.key_set()}
    spec = {"selector": _selector(namespace), "jwtRules": [rule]}
    return _object("RequestAuthentication", spec, namespace)


def authorization(action: str, *rules: object, namespace: str = "default") -> str:
    spec = {"selector": _selector(namespace), "action": action, "rules": rules}
    return _object("AuthorizationPolicy", spec, namespace)


def token(claims: Claims | None = None, issuer: Issuer = ISSUER) -> dict[str, str]:
    made = issuer.token({"sub": ISSUER.name, **(claims or {})})
    return {"authorization": f"Bearer {made}"}


def everywhere(
    client: Inside, url: str, headers: dict[str, str] | None, expected: int, what: str
) -> None:
    """Until both pods of httpbin answer so, on every connection."""

    def holds() -> bool:
        found = client.requests(url, headers=headers, count=24, parallel=8, fresh=True)
        return {answer.status for answer in found} == {expected}

    eventually(holds, what, 20)


@pytest.mark.covers("AuthorizationPolicy.rules[].from[].source.notRequestPrincipals")
def test_require_a_valid_token(rules: Rules, meshed: Mesh) -> None:
    """S-07, at the gateway: for everything, and then for one path."""
    rules.apply("gateway", GATEWAY)
    rules.apply("jwt", authentication("istio-system"))
    nobody = {"from": [{"source": {"notRequestPrincipals": ["*"]}}]}
    rules.apply("deny", authorization("DENY", nobody, namespace="istio-system"))
    url = meshed.url
    with outside() as browser:
        everywhere(browser, f"{url}/ip", None, 403, "without a token")
        everywhere(browser, f"{url}/ip", token(), 200, "with a token")
        assert browser.get(f"{url}/ip", headers=token(issuer=STRANGER)).status == 401
        for_path = {**nobody, "to": [{"operation": {"paths": ["/headers"]}}]}
        rules.apply("deny", authorization("DENY", for_path, namespace="istio-system"))
        everywhere(browser, f"{url}/ip", None, 200, "another path")
        everywhere(browser, f"{url}/headers", None, 403, "the path")
        assert browser.get(f"{url}/headers", headers=token()).status == 200
        # CVE-2020-8595: a query or fragment makes it no other path.
        assert browser.get(f"{url}/headers?x", headers={}).status == 403


@pytest.mark.covers("AuthorizationPolicy.rules[].from[].source.requestPrincipals")
def test_tokens_and_their_claims(rules: Rules, curl: Inside) -> None:
    """S-13."""
    rules.apply("jwt", authentication())
    from_us = {"from": [{"source": {"requestPrincipals": [PRINCIPAL]}}]}
    rules.apply("allow", authorization("ALLOW", from_us))
    url = f"{URL}/headers"
    everywhere(curl, url, None, 403, "without a token")
    everywhere(curl, url, token(), 200, "with a token")
    everywhere(curl, url, token(issuer=STRANGER), 401, "with a forged token")
    assert curl.get(url, headers=token({"sub": "somebody@example.com"})).status == 403

    group = {"key": "request.auth.claims[groups]", "values": ["group1"]}
    rules.apply("allow", authorization("ALLOW", {**from_us, "when": [group]}))
    everywhere(curl, url, token(), 403, "without the group")
    everywhere(curl, url, token({"groups": ["group1", "group2"]}), 200, "with the group")
    assert curl.get(url, headers=token({"groups": "group1"})).status == 200
    assert curl.get(url, headers=token({"groups": ["group11"]})).status == 403
    # Who has two tokens is nobody's principal but what was checked.
    forged = STRANGER.token({"sub": ISSUER.name, "groups": ["group1"]})
    both = curl.get(f"{url}?access_token={forged}", headers=token({"groups": ["group2"]}))
    assert both.status in (401, 403)


@pytest.mark.covers("AuthorizationPolicy.rules[].when[].key")
def test_keys_that_never_came_let_nobody_in(rules: Rules, curl: Inside) -> None:
    """A policy that asks for a principal stays shut (CVE-2026-31837), without a token too."""
    rule = {"issuer": ISSUER.name, "jwksUri": "http://169.254.169.254/keys"}
    spec = {"selector": _selector("default"), "jwtRules": [rule]}
    rules.apply("jwt", _object("RequestAuthentication", spec, "default"), quietly=False)
    anyone = {"from": [{"source": {"requestPrincipals": ["*"]}}]}
    rules.apply("allow", authorization("ALLOW", anyone))
    everywhere(curl, f"{URL}/ip", None, 403, "without a token")
    everywhere(curl, f"{URL}/ip", token(), 401, "with one that is good elsewhere")
