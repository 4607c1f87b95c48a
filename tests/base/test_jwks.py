"""Which keys of a key set count: RFC 7517, RFC 7518, and what Envoy can use."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from argosy.base.jwks import MAX_KEYS, MAX_TEXT, KeySetError, encoded, read_key_set
from argosy.testing.tokens import Issuer

RSA = Issuer("https://a.example.com").jwk()


def elliptic(curve: str = "P-256", **more: Any) -> dict[str, Any]:
    sizes = {
        "P-256": (ec.SECP256R1(), 32),
        "P-384": (ec.SECP384R1(), 48),
        "P-521": (ec.SECP521R1(), 66),
    }
    group, size = sizes[curve]
    numbers = ec.generate_private_key(group).public_key().public_numbers()
    x, y = (encoded(value.to_bytes(size, "big")) for value in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": curve, "x": x, "y": y, **more}


def edwards(**more: Any) -> dict[str, Any]:
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": encoded(public.public_bytes(Encoding.Raw, PublicFormat.Raw)),
        **more,
    }


SYMMETRIC = {"kty": "oct", "kid": "s", "alg": "HS256", "k": encoded(b"secret")}


def keys(text: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(text)["keys"]
    return found


@pytest.mark.parametrize(
    "key",
    [
        RSA,
        {name: RSA[name] for name in ("kty", "n", "e")},
        elliptic(),
        elliptic("P-384", alg="ES384"),
        elliptic("P-521", alg="ES512", kid="five"),
        edwards(alg="EdDSA"),
        SYMMETRIC,
    ],
)  # fmt: skip
def test_usable_keys(key: dict[str, Any]) -> None:
    found = read_key_set(json.dumps({"keys": [key]}))
    assert keys(found.text) == [{n: v for n, v in key.items() if n != "use"}]
    assert (found.left_out, found.private) == ((), ())


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("text", "not a JSON object"),
        ({}, "kty is not one of"),
        ({**RSA, "use": "enc"}, "its use is not sig"),
        ({**RSA, "alg": "RSA-OAEP"}, "alg is not one of"),
        ({**RSA, "alg": 7}, "alg is not a text"),
        ({**RSA, "kid": ["a"]}, "kid is not a text"),
        ({**RSA, "n": ""}, "n is missing"),
        ({**RSA, "n": "!!!"}, "n is not base64url"),
        ({**RSA, "n": encoded(b"\x81" * 64)}, "n has 512 bits"),
        ({**RSA, "n": encoded(b"\x80" * 256)}, "not of an RSA key"),
        ({**RSA, "e": encoded(b"\x11")}, "e is 17"),
        (elliptic(alg="ES384"), "alg is not one of ES256"),
        (elliptic(crv="secp256k1"), "crv is not one of"),
        ({**elliptic(), "y": encoded(b"\x01" * 32)}, "no point of P-256"),
        (edwards(crv="Ed448"), "crv is not Ed25519"),
        (edwards(x=encoded(b"\x01" * 31)), "x has 31 bytes"),
    ],
)
def test_a_key_that_cannot_verify_is_left_out_and_told(key: Any, reason: str) -> None:
    found = read_key_set(json.dumps({"keys": [key, RSA]}))
    assert len(keys(found.text)) == 1
    ((index, why),) = found.left_out
    assert index == 0
    assert reason in why
    with pytest.raises(KeySetError, match="no key in it can verify tokens"):
        read_key_set(json.dumps({"keys": [key]}))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", 'a list "keys"'),
        ('{"keys": {}}', 'a list "keys"'),
        ('{"keys": []}', "no key in it"),
        (json.dumps({"keys": [RSA] * (MAX_KEYS + 1)}), "the limit is"),
        (" " * (MAX_TEXT + 1), "longer than"),
    ],
)
def test_no_key_sets(text: str, reason: str) -> None:
    with pytest.raises(KeySetError, match=reason):
        read_key_set(text)


def test_private_parts_are_told_and_go_no_further() -> None:
    found = read_key_set(json.dumps({"keys": [RSA, {**elliptic(), "d": encoded(b"secret")}]}))
    assert found.private == (1,)
    assert all("d" not in key for key in keys(found.text))


def test_a_symmetric_key_that_is_public_proves_nothing() -> None:
    with pytest.raises(KeySetError, match="anybody can fetch"):
        read_key_set(json.dumps({"keys": [SYMMETRIC]}), public=True)


def test_what_is_equal_has_equal_texts() -> None:
    spaced = json.dumps({"keys": [dict(reversed(RSA.items()))], "more": 1}, indent=4)
    padded = {**RSA, "n": RSA["n"] + "==", "e": encoded(b"\0\x01\0\x01")}
    plain = read_key_set(json.dumps({"keys": [RSA]})).text
    assert read_key_set(spaced).text == read_key_set(json.dumps({"keys": [padded]})).text == plain
