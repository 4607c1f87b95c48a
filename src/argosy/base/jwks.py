"""JSON Web Key Sets: which of their keys can verify tokens.

Written as RFC 7517 and RFC 7518 have them; of the algorithms those that Envoy knows,
https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/jwt_authn_filter.
A key that cannot verify is left out, as Envoy does, but here it is told why.
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

MAX_TEXT = 1024 * 1024
"""Characters of a key set."""

MAX_KEYS = 256
NO_KEYS = '{"keys":[]}'

_ALGORITHMS = {
    "RSA": frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    "EC": frozenset({"ES256", "ES384", "ES512"}),
    "oct": frozenset({"HS256", "HS384", "HS512"}),
    "OKP": frozenset({"EdDSA", "Ed25519"}),
}
_CURVES = {"EC": {"P-256": 32, "P-384": 48, "P-521": 66}, "OKP": {"Ed25519": 32}}
_MATERIAL = {"RSA": ("n", "e"), "EC": ("x", "y"), "oct": ("k",), "OKP": ("x",)}
_MIN_RSA_BYTES = 128
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
    kind = written.get("kty")
    if not isinstance(kind, str) or kind not in _ALGORITHMS:
        raise KeySetError(f"kty is not one of {', '.join(_ALGORITHMS)}")
    if kind == "oct" and public:
        raise KeySetError("a symmetric key that anybody can fetch proves nothing")
    if written.get("use") not in (None, "sig"):
        raise KeySetError("its use is not sig")
    found = {"kty": kind}
    for name in ("kid", "alg"):
        value = written.get(name)
        if value is not None and not isinstance(value, str):
            raise KeySetError(f"{name} is not a text")
        if value:
            found[name] = value
    if found.get("alg", "") not in _ALGORITHMS[kind] | {""}:
        raise KeySetError(
            f"alg {found['alg']} is not one of {', '.join(sorted(_ALGORITHMS[kind]))}"
        )
    size = None
    if kind in _CURVES:
        curve = written.get("crv")
        if not isinstance(curve, str) or curve not in _CURVES[kind]:
            raise KeySetError(f"crv is not one of {', '.join(_CURVES[kind])}")
        found["crv"] = curve
        size = _CURVES[kind][curve]
    for name in _MATERIAL[kind]:
        found[name] = _material(written, name, size)
    if kind == "RSA" and len(_decoded(found["n"])) < _MIN_RSA_BYTES:
        raise KeySetError(f"n has less than {_MIN_RSA_BYTES * 8} bits")
    return found


def _material(written: Mapping[object, object], name: str, size: int | None) -> str:
    value = written.get(name)
    if not isinstance(value, str) or not value:
        raise KeySetError(f"{name} is missing")
    decoded = _decoded(value)
    if not decoded or (size is not None and len(decoded) != size):
        raise KeySetError(f"{name} has {len(decoded)} bytes, which does not fit")
    return value


def _decoded(value: str) -> bytes:
    """RFC 7515's base64url without padding; padding is tolerated, as Envoy does."""
    plain = value.rstrip("=")
    try:
        standard = plain.replace("-", "+").replace("_", "/") + "=" * (-len(plain) % 4)
        return base64.b64decode(standard, validate=True)
    except (binascii.Error, ValueError) as error:
        raise KeySetError("its numbers are not base64url") from error
