"""JSON Web Key Sets: which of their keys can verify tokens.

Written as RFC 7517 and RFC 7518 have them; of the algorithms those that Envoy knows,
https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/jwt_authn_filter.
A key that cannot verify is left out, as Envoy does, but here it is told why. A set without any
other is refused: Envoy would refuse the listener that it stands in.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec

MAX_TEXT = 1024 * 1024
"""Characters of a key set."""

MAX_KEYS = 256

_RSA_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_HMAC_ALGORITHMS = frozenset({"HS256", "HS384", "HS512"})
_CURVES = {
    "P-256": ("ES256", ec.SECP256R1()),
    "P-384": ("ES384", ec.SECP384R1()),
    "P-521": ("ES512", ec.SECP521R1()),
}
_RSA_BITS = range(1024, 8193)
_RSA_EXPONENTS = frozenset({3, 65537})
"""BoringSSL, which Envoy verifies with, takes no other."""

_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})


class KeySetError(ValueError):
    """The text is no key set, or none of its keys can verify tokens; its text says why."""


@dataclass(frozen=True, slots=True)
class KeySet:
    """``text`` is JSON of what verifying needs and nothing else; equal sets have equal texts.

    ``left_out`` says of some keys, by index, why they are not in it. ``private``: the keys that
    came with their private parts.
    """

    text: str
    left_out: tuple[tuple[int, str], ...] = ()
    private: tuple[int, ...] = ()


def read_key_set(text: str, *, public: bool = False) -> KeySet:
    """The usable keys of a set; ``public``: anybody can read it, so symmetric keys prove nothing.

    Raises KeySetError when there is none.
    """
    keys: list[dict[str, str]] = []
    left_out: list[tuple[int, str]] = []
    private: list[int] = []
    for index, written in enumerate(_written(text)):
        try:
            keys.append(_usable(written, public=public))
        except KeySetError as error:
            left_out.append((index, str(error)))
        if isinstance(written, Mapping) and not _PRIVATE.isdisjoint(written):
            private.append(index)
    if not keys:
        reasons = "; ".join(f"key {index}: {why}" for index, why in left_out[:3])
        raise KeySetError(f"no key in it can verify tokens{': ' if reasons else ''}{reasons}")
    encoded = json.dumps({"keys": keys}, separators=(",", ":"), sort_keys=True)
    return KeySet(encoded, tuple(left_out), tuple(private))


def _written(text: str) -> Iterator[object]:
    if len(text) > MAX_TEXT:
        raise KeySetError(f"it is longer than {MAX_TEXT} characters")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise KeySetError(f"it is not JSON: {error}") from error
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise KeySetError('it is not a JSON object with a list "keys"')
    if len(keys) > MAX_KEYS:
        raise KeySetError(f"it has {len(keys)} keys; the limit is {MAX_KEYS}")
    yield from keys


def _usable(written: object, *, public: bool) -> dict[str, str]:
    if not isinstance(written, Mapping):
        raise KeySetError("it is not a JSON object")
    if written.get("use") not in (None, "sig"):
        raise KeySetError("its use is not sig")
    match written.get("kty"):
        case "RSA":
            return _rsa(written)
        case "EC":
            return _elliptic(written)
        case "OKP":
            return _edwards(written)
        case "oct" if public:
            raise KeySetError("a symmetric key that anybody can fetch proves nothing")
        case "oct":
            named = _named(written, _HMAC_ALGORITHMS)
            return {"kty": "oct", **named, "k": encoded(_material(written, "k"))}
    raise KeySetError("kty is not one of RSA, EC, OKP, oct")


def _rsa(written: Mapping[object, object]) -> dict[str, str]:
    named = _named(written, _RSA_ALGORITHMS)
    modulus = int.from_bytes(_material(written, "n"), "big")
    exponent = int.from_bytes(_material(written, "e"), "big")
    if modulus.bit_length() not in _RSA_BITS:
        bounds = f"{_RSA_BITS.start} to {_RSA_BITS.stop - 1}"
        raise KeySetError(f"n has {modulus.bit_length()} bits; {bounds} can be used")
    if exponent not in _RSA_EXPONENTS:
        raise KeySetError(f"e is {exponent}; 3 and 65537 can be used")
    if not modulus % 2:
        raise KeySetError("n is not of an RSA key")
    return {"kty": "RSA", **named, "n": _number(modulus), "e": _number(exponent)}


def _elliptic(written: Mapping[object, object]) -> dict[str, str]:
    curve = written.get("crv")
    if not isinstance(curve, str) or curve not in _CURVES:
        raise KeySetError(f"crv is not one of {', '.join(_CURVES)}")
    algorithm, group = _CURVES[curve]
    named = _named(written, frozenset({algorithm}))
    x, y = _material(written, "x"), _material(written, "y")
    try:
        point = (int.from_bytes(x, "big"), int.from_bytes(y, "big"))
        ec.EllipticCurvePublicNumbers(*point, group).public_key()
    except ValueError as error:
        raise KeySetError(f"x and y are no point of {curve}") from error
    return {"kty": "EC", **named, "crv": curve, "x": encoded(x), "y": encoded(y)}


def _edwards(written: Mapping[object, object]) -> dict[str, str]:
    if written.get("crv") != "Ed25519":
        raise KeySetError("crv is not Ed25519")
    named = _named(written, frozenset({"EdDSA"}))
    x = _material(written, "x")
    if len(x) != 32:
        raise KeySetError(f"x has {len(x)} bytes, not 32")
    return {"kty": "OKP", **named, "crv": "Ed25519", "x": encoded(x)}


def _named(written: Mapping[object, object], algorithms: frozenset[str]) -> dict[str, str]:
    """``kid`` and ``alg``, where they are written."""
    found: dict[str, str] = {}
    for name in ("kid", "alg"):
        value = written.get(name)
        if value is not None and not isinstance(value, str):
            raise KeySetError(f"{name} is not a text")
        if value:
            found[name] = value
    if found.get("alg", "") not in algorithms | {""}:
        raise KeySetError(f"alg is not one of {', '.join(sorted(algorithms))}")
    return found


def _material(written: Mapping[object, object], name: str) -> bytes:
    """RFC 7515's base64url without padding; padding is tolerated."""
    value = written.get(name)
    if not isinstance(value, str) or not value:
        raise KeySetError(f"{name} is missing")
    plain = value.rstrip("=")
    standard = plain.replace("-", "+").replace("_", "/") + "=" * (-len(plain) % 4)
    try:
        decoded = base64.b64decode(standard, validate=True)
    except ValueError as error:
        raise KeySetError(f"{name} is not base64url") from error
    if not decoded:
        raise KeySetError(f"{name} is empty")
    return decoded


def _number(value: int) -> str:
    return encoded(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def encoded(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
