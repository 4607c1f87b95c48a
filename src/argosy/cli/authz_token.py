"""The end user of a request that ``argosy authz can`` judges: claims, or a token as the proxy checks it."""

import base64
import binascii
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from argosy.cli.client import CliError
from argosy.cli.output import err
from argosy.model.request_authn import InlineKeys, JwtRule

SKEW_SECONDS = 60
"""Envoy's ``clock_skew_seconds``."""

Claims = Mapping[str, object]


class TokenRefusedError(Exception):
    """The proxy answers 401; the text says why."""


def claims_of(written: Sequence[str]) -> Claims | None:
    """Of ``iss=...``, ``groups=a,b``: as the proxy knows them of a token that it has accepted.

    One value is a text, several are a list.
    """
    if not written:
        return None
    found: dict[str, object] = {}
    for text in written:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise CliError(f"{text!r} is not a claim", "Write --claim groups=admin,dev", code=2)
        values = value.split(",")
        target = found
        *path, last = name.split(".") if not name.startswith("http") else [name]
        for key in path:
            inner = target.setdefault(key, {})
            if not isinstance(inner, dict):
                raise CliError(f"the claim {key} is written twice", code=2)
            target = inner
        target[last] = values if len(values) > 1 else value
    return found


def read_token(place: str) -> str:
    """From a file, or standard input (``-``): on a command line others could read it."""
    try:
        return (sys.stdin.read() if place == "-" else Path(place).read_text()).strip()
    except OSError as error:
        raise CliError(f"the token cannot be read: {error}") from error


def accepted(token: str, rules: Sequence[JwtRule]) -> Claims | None:
    """Its claims, if the proxy accepts it; None if it looks for none. Raises TokenRefusedError."""
    if not rules:
        err.print("No RequestAuthentication is for this workload: the token is not looked at.")
        return None
    header, claims = _decoded(token)
    issuer = claims.get("iss")
    mine = [rule for rule in rules if rule.issuer in ("", issuer)]
    if not mine:
        raise TokenRefusedError(f"no rule is for the issuer {issuer!r}")
    reasons = []
    for rule in mine:
        reason = _refusal(token, header, claims, rule)
        if not reason:
            return _split(claims, rule)
        reasons.append(reason)
    raise TokenRefusedError("; ".join(dict.fromkeys(reasons)))


def _refusal(token: str, header: Claims, claims: Claims, rule: JwtRule) -> str:
    now = time.time()
    ends, begins = claims.get("exp"), claims.get("nbf")
    if isinstance(ends, int | float) and ends + SKEW_SECONDS < now:
        return "the token has expired"
    if isinstance(begins, int | float) and begins - SKEW_SECONDS > now:
        return "the token is not valid yet"
    audiences = claims.get("aud", ())
    held = {audiences} if isinstance(audiences, str) else set(_texts(audiences))
    if rule.audiences and not held & set(rule.audiences):
        return f"its audience is none of {', '.join(rule.audiences)}"
    if not isinstance(rule.keys, InlineKeys):
        err.print(
            "The keys of this issuer are fetched by the control plane: the signature was not checked."
        )
        return ""
    return "" if _signed(token, header, rule.keys.key_set) else "no key has signed it"


def _signed(token: str, header: Claims, key_set: str) -> bool:
    kid, algorithm = header.get("kid"), header.get("alg")
    if not isinstance(algorithm, str):
        return False
    for key in json.loads(key_set)["keys"]:
        if kid is not None and key.get("kid") not in (None, kid):
            continue
        if key.get("alg") not in (None, algorithm):
            continue
        try:
            one = KeySet.import_key_set({"keys": [{k: v for k, v in key.items() if k != "kid"}]})
            jws.deserialize_compact(token, one.keys[0], algorithms=[algorithm])
        except (JoseError, ValueError):
            continue
        return True
    return False


def _decoded(token: str) -> tuple[Claims, Claims]:
    try:
        head, body, _ = token.split(".")
        header, claims = (json.loads(_bytes(part)) for part in (head, body))
    except (ValueError, binascii.Error, RecursionError):
        raise TokenRefusedError("it is no JWT") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise TokenRefusedError("it is no JWT")
    return header, claims


def _bytes(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _split(claims: Claims, rule: JwtRule) -> Claims:
    """Envoy makes lists of claims that hold words: ``scope``, ``permission`` and the rule's own."""
    names = {"scope", "permission", *rule.space_delimited}
    return {
        name: value.split(" ") if name in names and isinstance(value, str) else value
        for name, value in claims.items()
    }


def _texts(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
