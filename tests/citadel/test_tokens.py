"""Workload tokens: what they say, and every way in which one is not valid."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from argosy.base.names import TrustDomain
from argosy.citadel.identity import Caller, Proof, SpiffeId
from argosy.citadel.refusal import RefusedError
from argosy.citadel.signer import private_pem
from argosy.citadel.tokens import TokenAuthority

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DOMAIN = TrustDomain("cluster.local")
CURL = SpiffeId.of(DOMAIN, "default", "curl")
KEY = ec.generate_private_key(ec.SECP256R1())
TOKENS = TokenAuthority(KEY, "demo")


def claims_of(token: str) -> dict[str, Any]:
    body = token.split(".")[1]
    decoded = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    assert isinstance(decoded, dict)
    return decoded


def signed(claims: dict[str, Any], header: dict[str, Any] | None = None) -> str:
    """A token of our own making, under the mesh's own key."""
    key = ECKey.import_key(private_pem(KEY))
    return jwt.encode(header or {"alg": "ES256"}, claims, key, algorithms=["ES256"])


def good_claims() -> dict[str, Any]:
    token, _ = TOKENS.issue(CURL, NOW, pod="curl-1", pod_uid="u-1")
    return claims_of(token)


def refusal(token: str, now: datetime = NOW) -> str:
    with pytest.raises(RefusedError) as refused:
        TOKENS.verify(token, now)
    assert refused.value.code == 401
    return refused.value.message


def test_a_token_looks_like_kubernetes() -> None:
    token, expires = TOKENS.issue(CURL, NOW, pod="curl-1", pod_uid="u-1")
    claims = claims_of(token)
    assert claims["sub"] == "system:serviceaccount:default:curl"
    assert claims["aud"] == ["istio-ca"]
    assert claims["iat"] == claims["nbf"] == NOW.timestamp()
    assert claims["exp"] == NOW.timestamp() + 3600 == expires.timestamp()
    assert claims["mesh"] == "demo"
    assert claims["kubernetes.io"] == {
        "namespace": "default",
        "pod": {"name": "curl-1", "uid": "u-1"},
        "serviceaccount": {"name": "curl"},
    }
    header = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
    assert header["alg"] == "ES256"


def test_a_token_proves_its_identity() -> None:
    token, expires = TOKENS.issue(CURL, NOW, pod="curl-1", pod_uid="u-1")
    said = TOKENS.verify(token, NOW + timedelta(minutes=59))
    assert (said.pod, said.pod_uid, said.expires) == ("curl-1", "u-1", expires)
    assert said.caller(DOMAIN) == Caller(CURL, Proof.TOKEN, "curl-1")
    assert TOKENS.verify(TOKENS.issue(CURL, NOW)[0], NOW).pod == ""


def test_tokens_differ() -> None:
    one, two = (TOKENS.verify(TOKENS.issue(CURL, NOW)[0], NOW) for _ in range(2))
    assert one.id != two.id


def test_time() -> None:
    token, _ = TOKENS.issue(CURL, NOW)
    assert "expired" in refusal(token, NOW + timedelta(hours=1, seconds=31))
    TOKENS.verify(token, NOW - timedelta(seconds=29))
    assert "issued in the future" in refusal(token, NOW - timedelta(minutes=5))
    later = int((NOW + timedelta(minutes=5)).timestamp())
    assert "not yet valid" in refusal(signed({**good_claims(), "nbf": later}))
    with pytest.raises(RefusedError, match="600 seconds"):
        TOKENS.issue(CURL, NOW, lifetime=timedelta(seconds=599))
    _, end = TOKENS.issue(CURL, NOW, lifetime=timedelta(days=365))
    assert end == NOW + timedelta(hours=48)


def test_audience() -> None:
    token, _ = TOKENS.issue(CURL, NOW, audiences=["vault"])
    assert "aud" in refusal(token)
    assert TOKENS.verify(token, NOW, audience="vault").service_account == "curl"


def test_another_mesh() -> None:
    stranger = TokenAuthority(ec.generate_private_key(ec.SECP256R1()), "demo")
    assert "bad_signature" in refusal(stranger.issue(CURL, NOW)[0])
    same_key = TokenAuthority(KEY, "other")
    assert "iss" in refusal(same_key.issue(CURL, NOW)[0])
    assert "mesh" in refusal(signed({**good_claims(), "mesh": "other"}))


@pytest.mark.parametrize("missing", ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "mesh"])
def test_every_claim_is_needed(missing: str) -> None:
    claims = good_claims()
    del claims[missing]
    assert missing in refusal(signed(claims))


@pytest.mark.parametrize(
    "change",
    [
        {"kubernetes.io": None},
        {"kubernetes.io": {"namespace": "default"}},
        {"kubernetes.io": {"namespace": 1, "serviceaccount": {"name": "curl"}}},
        {"kubernetes.io": {"namespace": "other", "serviceaccount": {"name": "curl"}}},
        {"sub": "system:serviceaccount:default:admin"},
        {"sub": "admin"},
        {"exp": "tomorrow"},
        {"exp": 1e400},
        {"jti": 5},
        {"aud": {"istio-ca": 1}},
    ],
    ids=str,
)
def test_damaged_claims(change: dict[str, Any]) -> None:
    refusal(signed({**good_claims(), **change}))


def test_tampering() -> None:
    header, body, signature = TOKENS.issue(CURL, NOW)[0].split(".")
    claims = {**good_claims(), "sub": "system:serviceaccount:default:admin"}
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    assert "bad_signature" in refusal(f"{header}.{forged}.{signature}")
    turned = ("B" if signature[0] == "A" else "A") + signature[1:]
    assert "bad_signature" in refusal(f"{header}.{body}.{turned}")
    refusal(f"{header}.{body}.")
    refusal(f"{header}.{body}")


def test_algorithms() -> None:
    claims = json.dumps(good_claims()).encode()
    body = base64.urlsafe_b64encode(claims).rstrip(b"=").decode()
    for algorithm in ("none", "None", "HS256", "ES384", 5, None):
        header = base64.urlsafe_b64encode(json.dumps({"alg": algorithm}).encode()).rstrip(b"=")
        refusal(f"{header.decode()}.{body}.")
    public = KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    confused = OctKey.import_key(base64.urlsafe_b64encode(public).decode())
    refusal(jwt.encode({"alg": "HS256"}, good_claims(), confused, algorithms=["HS256"]))


@pytest.mark.parametrize(
    "token", ["", "a", "..", "a.b.c", "é.é.é", "e30.e30.e30", "\x00" * 10, "." * 100], ids=repr
)
def test_garbage(token: str) -> None:
    assert "not valid" in refusal(token)


def test_a_huge_token_is_not_even_parsed() -> None:
    assert "larger than 8192" in refusal("a" * 8_193)


def test_a_refusal_does_not_repeat_the_token() -> None:
    token = TOKENS.issue(CURL, NOW)[0]
    assert token.split(".")[2] not in refusal(token + "x")
