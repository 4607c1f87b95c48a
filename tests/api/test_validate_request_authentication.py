"""As Istio's validation has it (``pkg/config/validation``), and what is told beyond it."""

import json
from typing import Any

import pytest

from argosy.api.decode import decode_json
from argosy.api.security_request_authentication import RequestAuthentication
from argosy.api.validate import validate
from argosy.base.jwks import encoded
from argosy.base.problems import Severity
from argosy.testing.tokens import Issuer

ISSUER = Issuer("https://issuer.example.com")
RULE = {"issuer": ISSUER.name}
SELECTOR = {"matchLabels": {"app": "httpbin"}}
GATEWAY = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"}


def policy(spec: dict[str, Any]) -> RequestAuthentication:
    head = {"apiVersion": "security.istio.io/v1beta1", "kind": "RequestAuthentication"}
    decoded = decode_json({**head, "metadata": {"name": "jwt"}, "spec": spec})
    assert decoded.problems == ()
    (obj,) = decoded.objects
    assert isinstance(obj, RequestAuthentication)
    return obj


def found(spec: dict[str, Any]) -> list[tuple[str, str, Severity]]:
    return [(p.field, p.code, p.severity) for p in validate(policy(spec))]


@pytest.mark.parametrize(
    "rule",
    [
        RULE,
        {"issuer": "testing@secure.istio.io"},
        {"jwksUri": "https://example.com/keys"},
        {**RULE, "jwksUri": "http://keys.default.svc.cluster.local:8080/keys?a=b"},
        {**RULE, "jwks_uri": "https://example.com/keys"},
        {**RULE, "jwks": ISSUER.key_set()},
        {**RULE, "audiences": ["a", "b"], "timeout": "5s", "spaceDelimitedClaims": ["roles"]},
        {**RULE, "fromHeaders": [{"name": "x-a", "prefix": "T "}], "fromParams": ["a"], "fromCookies": ["c"]},
        {**RULE, "outputClaimToHeaders": [{"header": "x_A-1", "claim": "a.b"}], "outputPayloadToHeader": "x-p", "forwardOriginalToken": True},
    ],
)  # fmt: skip
def test_what_istio_admits(rule: dict[str, Any]) -> None:
    assert found({"jwtRules": [rule], "selector": SELECTOR}) == []
    assert found({"jwtRules": [rule], "targetRefs": [GATEWAY]}) == []


RULE_PATH = "spec.jwtRules[0]"
_E, _W = Severity.ERROR, Severity.WARNING


@pytest.mark.parametrize(
    ("rule", "field", "code", "severity"),
    [
        ({}, "issuer", "MissingField", _E),
        ({"jwks": ISSUER.key_set()}, "issuer", "MissingField", _E),
        ({**RULE, "audiences": ["a", ""]}, "audiences[1]", "MissingField", _E),
        ({**RULE, "jwksUri": "ftp://example.com/keys"}, "jwksUri", "InvalidURL", _E),
        ({**RULE, "jwksUri": "https:///keys"}, "jwksUri", "InvalidURL", _E),
        ({**RULE, "jwksUri": "https://example.com:0/keys"}, "jwksUri", "InvalidURL", _E),
        ({**RULE, "jwksUri": "https://example.com:x/keys"}, "jwksUri", "InvalidURL", _E),
        ({**RULE, "jwksUri": "https://[::1/keys"}, "jwksUri", "InvalidURL", _E),
        ({**RULE, "jwksUri": "https://a:b@example.com/keys"}, "jwksUri", "InvalidURL", _E),
        ({**RULE, "jwks": "{}"}, "jwks", "InvalidKeySet", _E),
        ({**RULE, "jwks": '{"keys": []}'}, "jwks", "InvalidKeySet", _E),
        ({**RULE, "jwks": ISSUER.key_set(), "jwksUri": "https://example.com/"}, "jwksUri", "NoEffect", _W),
        ({**RULE, "jwks": json.dumps({"keys": [ISSUER.jwk(), {}]})}, "jwks", "UnusableKey", _W),
        ({**RULE, "jwks": json.dumps({"keys": [{**ISSUER.jwk(), "d": encoded(b"x")}]})}, "jwks", "PrivateKey", _W),
        ({**RULE, "fromHeaders": [{"name": ""}]}, "fromHeaders[0].name", "InvalidHeader", _E),
        ({**RULE, "fromHeaders": [{"name": "a b"}]}, "fromHeaders[0].name", "InvalidHeader", _E),
        ({**RULE, "fromParams": [""]}, "fromParams[0]", "MissingField", _E),
        ({**RULE, "fromCookies": [""]}, "fromCookies[0]", "MissingField", _E),
        ({**RULE, "outputClaimToHeaders": [{"header": "x", "claim": ""}]}, "outputClaimToHeaders[0].claim", "MissingField", _E),
        ({**RULE, "outputClaimToHeaders": [{"header": "x:y", "claim": "a"}]}, "outputClaimToHeaders[0].header", "InvalidHeader", _E),
        ({**RULE, "outputClaimToHeaders": [{"header": "x", "claim": "a"}, {"header": "X", "claim": "b"}]}, "outputClaimToHeaders[1].header", "DuplicateName", _W),
        ({**RULE, "outputPayloadToHeader": "a\nb"}, "outputPayloadToHeader", "InvalidHeader", _E),
        ({**RULE, "timeout": "0s"}, "timeout", "InvalidDuration", _E),
        ({**RULE, "timeout": "1h"}, "timeout", "OutOfRange", _W),
        ({**RULE, "spaceDelimitedClaims": [""]}, "spaceDelimitedClaims[0]", "MissingField", _E),
    ],
)  # fmt: skip
def test_mistakes(rule: dict[str, Any], field: str, code: str, severity: Severity) -> None:
    assert found({"jwtRules": [rule]}) == [(f"{RULE_PATH}.{field}", code, severity)]


def test_a_policy_needs_rules_and_one_way_of_choosing() -> None:
    assert found({}) == [("spec.jwtRules", "NoEffect", _W)]
    both = found({"jwtRules": [RULE], "selector": SELECTOR, "targetRefs": [GATEWAY]})
    assert both == [("spec.targetRefs", "ConflictingFields", _E)]
