"""What must hold for one RequestAuthentication alone.

Rules as in Istio's validation (``pkg/config/validation/validation.go``) and the patterns of its
CustomResourceDefinition.
"""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from argosy.api.policy_target import check_selection
from argosy.api.security_request_authentication import JWTRule, RequestAuthentication
from argosy.api.typed import Mistake, short
from argosy.api.validate_values import check_duration, check_header_name, warning
from argosy.base.jwks import KeySetError, read_key_set

MAX_TIMEOUT = 60_000
"""Of a fetch, in ms: longer ones would keep other issuers' keys waiting."""

_OUTPUT_HEADER = re.compile(r"[-_A-Za-z0-9]+\Z", re.ASCII)


def validate_request_authentication(policy: RequestAuthentication) -> Iterator[Mistake]:
    spec = policy.spec
    yield from check_selection(
        spec.selector, spec.target_ref, spec.target_refs, "RequestAuthentication"
    )
    if not spec.jwt_rules:
        message = "a RequestAuthentication without jwtRules checks no token"
        yield warning("spec.jwtRules", "NoEffect", message, "Write a rule for each issuer")
    for index, rule in enumerate(spec.jwt_rules):
        yield from _rule(rule, f"spec.jwtRules[{index}]")


def _rule(rule: JWTRule, path: str) -> Iterator[Mistake]:
    if not rule.issuer and not rule.uri:
        message = "without an issuer the keys must be named"
        yield Mistake(f"{path}.issuer", "MissingField", message, "Write issuer, or jwksUri")
    for index, audience in enumerate(rule.audiences):
        yield from _not_empty(audience, f"{path}.audiences[{index}]", "the audience")
    yield from _keys(rule, path)
    yield from _places(rule, path)
    yield from _outputs(rule, path)
    yield from check_duration(rule.timeout, f"{path}.timeout")
    if rule.timeout is not None and rule.timeout > MAX_TIMEOUT:
        message = f"{rule.timeout} is long to wait for keys: {MAX_TIMEOUT // 1000} s are waited"
        yield warning(f"{path}.timeout", "OutOfRange", message)
    for index, claim in enumerate(rule.space_delimited_claims):
        yield from _not_empty(claim, f"{path}.spaceDelimitedClaims[{index}]", "the claim")


def _keys(rule: JWTRule, path: str) -> Iterator[Mistake]:
    if rule.uri:
        yield from _check_url(rule.uri, f"{path}.jwksUri")
    if not rule.jwks:
        return
    where = f"{path}.jwks"
    if rule.uri:
        message = "the keys in jwks are used, and jwksUri has no effect"
        yield warning(f"{path}.jwksUri", "NoEffect", message, "Keep one of them")
    try:
        found = read_key_set(rule.jwks)
    except KeySetError as error:
        hint = 'Write a JSON Web Key Set: {"keys": [...]}'
        yield Mistake(where, "InvalidKeySet", f"this is no usable key set: {error}", hint)
        return
    for index, reason in found.left_out:
        yield warning(where, "UnusableKey", f"key {index} is left out: {reason}")
    for index in found.private:
        message = f"key {index} is a private key: whoever reads this can make tokens with it"
        yield warning(where, "PrivateKey", message, "Make a new key, and publish its public part")


def _check_url(text: str, path: str) -> Iterator[Mistake]:
    hint = "Write an address such as https://issuer.example.com/keys.json"
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        yield Mistake(path, "InvalidURL", f"{short(text)} is not a URL: {error}", hint)
        return
    if url.scheme not in ("http", "https") or not url.hostname or port == 0:
        yield Mistake(path, "InvalidURL", f"{short(text)} is not an http or https URL", hint)
    elif url.username is not None:
        message = "a user name or password in the URL is not supported"
        yield Mistake(path, "InvalidURL", message, "Remove it: key sets are public")


def _places(rule: JWTRule, path: str) -> Iterator[Mistake]:
    for index, header in enumerate(rule.from_headers):
        yield from check_header_name(header.name, f"{path}.fromHeaders[{index}].name")
    for index, name in enumerate(rule.from_params):
        yield from _not_empty(name, f"{path}.fromParams[{index}]", "the parameter's name")
    for index, name in enumerate(rule.from_cookies):
        yield from _not_empty(name, f"{path}.fromCookies[{index}]", "the cookie's name")


def _outputs(rule: JWTRule, path: str) -> Iterator[Mistake]:
    if rule.output_payload_to_header:
        where = f"{path}.outputPayloadToHeader"
        yield from check_header_name(rule.output_payload_to_header, where)
    seen: dict[str, int] = {}
    for index, output in enumerate(rule.output_claim_to_headers):
        where = f"{path}.outputClaimToHeaders[{index}]"
        yield from _not_empty(output.claim, f"{where}.claim", "the claim")
        if not _OUTPUT_HEADER.match(output.header):
            message = f"{short(output.header)} is not the name of a header"
            hint = "Use letters, digits, - and _"
            yield Mistake(f"{where}.header", "InvalidHeader", message, hint)
        first = seen.setdefault(output.header.lower(), index)
        if first != index:
            message = f"the header is written by number {first + 1} too"
            yield warning(f"{where}.header", "DuplicateName", message, "Use another header")


def _not_empty(text: str, path: str, what: str) -> Iterator[Mistake]:
    if not text:
        yield Mistake(path, "MissingField", f"{what} is empty")
