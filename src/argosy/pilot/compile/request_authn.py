"""RequestAuthentication → the rules for tokens, and which of them hold for a workload.

All policies that hold for a workload add up.
https://istio.io/latest/docs/reference/config/security/request_authentication/
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from argosy.api.security_request_authentication import JWTRule, RequestAuthentication
from argosy.base.jwks import KeySetError, read_key_set
from argosy.base.names import Namespace, ObjectKey
from argosy.base.problems import Compiled, Problem
from argosy.model.policy_scope import PolicyScope
from argosy.model.request_authn import (
    KEY_FETCH_TIMEOUT,
    ClaimHeader,
    InlineKeys,
    JwtProvider,
    JwtRule,
    Keys,
    KeySource,
    NoKeys,
    RequestAuthn,
    TokenHeader,
)
from argosy.model.workload import Labels
from argosy.pilot.compile.policy_targets import holds_for, policy_scope
from argosy.pilot.compile.report import Report

DISCOVERY_PATH = "/.well-known/openid-configuration"
ALWAYS_SPACE_DELIMITED = frozenset({"permission", "scope"})
MAX_TIMEOUT = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class RequestPolicy:
    """One object. ``fetches`` has the places its keys come from, with the longest wait for each."""

    object: ObjectKey
    scope: PolicyScope
    rules: tuple[JwtRule, ...]
    fetches: tuple[tuple[KeySource, timedelta], ...] = ()


@dataclass(frozen=True, slots=True)
class KeysFailure:
    """Why the keys of a place could not be fetched the last time.

    ``since`` and ``next_try`` are RFC 3339. ``kept``: those of an earlier time are in force.
    """

    reason: str
    since: str
    next_try: str
    kept: bool


def request_policy(policy: RequestAuthentication) -> Compiled[RequestPolicy]:
    spec = policy.spec
    report = Report(policy.key, "spec")
    fetches: dict[KeySource, timedelta] = {}
    rules: list[JwtRule] = []
    for index, written in enumerate(spec.jwt_rules):
        found = _rule(written, report.at(f"jwtRules[{index}]"))
        rules.append(found)
        if isinstance(found.keys, KeySource):
            wait = min(_timeout(written), MAX_TIMEOUT)
            fetches[found.keys] = max(wait, fetches.get(found.keys, wait))
    compiled = RequestPolicy(
        policy.key,
        policy_scope(spec.selector, spec.target_ref, spec.target_refs),
        tuple(rules),
        tuple(sorted(fetches.items())),
    )
    return Compiled(compiled, tuple(report.problems))


def policies_for(
    policies: Iterable[RequestPolicy], root: str, namespace: Namespace, labels: Labels
) -> tuple[RequestPolicy, ...]:
    """Those that hold for a workload, in the order that they come in."""
    return tuple(
        policy
        for policy in policies
        if holds_for(policy.scope, policy.object.namespace, root, namespace, labels)
    )


def rules_of(policies: Iterable[RequestPolicy]) -> tuple[JwtRule, ...]:
    """No rule twice, by issuer."""
    found = dict.fromkeys(rule for policy in policies for rule in policy.rules)
    return tuple(sorted(found, key=lambda rule: rule.issuer))


def request_authn(
    rules: Iterable[JwtRule],
    fetched: Callable[[KeySource], str | None],
    unverifiable: Callable[[], str],
    *,
    choose_route_again: bool,
) -> RequestAuthn | None:
    """None: no token is looked at. ``unverifiable`` is a key set that no token can be valid for."""

    def key_set(keys: Keys) -> str:
        match keys:
            case InlineKeys(text):
                return text
            case KeySource():
                return fetched(keys) or unverifiable()
            case NoKeys():
                return unverifiable()

    providers = tuple(JwtProvider(rule, key_set(rule.keys)) for rule in rules)
    return RequestAuthn(providers, choose_route_again) if providers else None


def fetch_problems(
    policy: RequestAuthentication,
    compiled: RequestPolicy,
    failure: Callable[[KeySource], KeysFailure | None],
) -> tuple[Problem, ...]:
    """The rules whose keys could not be fetched the last time."""
    problems: list[Problem] = []
    for index, rule in enumerate(compiled.rules):
        if not isinstance(rule.keys, KeySource):
            continue
        found = failure(rule.keys)
        if found is None:
            continue
        field = "issuer" if rule.keys.discovery else "jwksUri"
        report = Report(policy.key, f"spec.jwtRules[{index}].{field}", problems)
        told = (
            f"the keys at {rule.keys.url} could not be fetched since {found.since}: "
            f"{found.reason}; the next try is at {found.next_try}"
        )
        if found.kept:
            report.warning(
                "KeysNotRefreshed",
                f"{told}. The keys that were fetched before stay in force",
                "see that the control plane can reach it",
            )
        else:
            report.error(
                "KeysNotFetched",
                f"{told}. Until then every token that this rule looks at is refused",
                "see that the control plane can reach it, or write the keys into jwks",
            )
    return tuple(problems)


def _rule(written: JWTRule, report: Report) -> JwtRule:
    own = set(written.space_delimited_claims)
    return JwtRule(
        issuer=written.issuer,
        keys=_keys(written, report),
        audiences=written.audiences,
        headers=tuple(TokenHeader(one.name, one.prefix) for one in written.from_headers),
        params=written.from_params,
        cookies=written.from_cookies,
        forward=written.forward_original_token,
        payload_header=written.output_payload_to_header,
        claim_headers=tuple(
            ClaimHeader(one.header, one.claim) for one in written.output_claim_to_headers
        ),
        space_delimited=tuple(sorted(own | ALWAYS_SPACE_DELIMITED)),
    )


def _keys(written: JWTRule, report: Report) -> Keys:
    """Inline keys come first, then ``jwksUri``, then what the issuer publishes by itself."""
    if written.jwks:
        try:
            return InlineKeys(read_key_set(written.jwks).text)
        except KeySetError:  # validation has told it
            return NoKeys()
    if written.uri:
        return KeySource(written.uri)
    if _is_url(written.issuer):
        return KeySource(written.issuer.rstrip("/") + DISCOVERY_PATH, discovery=True)
    report.at("issuer").error(
        "KeysNotNamed",
        f"the keys of {written.issuer} are not named, and they cannot be discovered, since it is "
        "not a URL. Every token that this rule looks at is refused",
        "write jwksUri or jwks",
    )
    return NoKeys()


def _is_url(text: str) -> bool:
    try:
        found = urlsplit(text)
    except ValueError:
        return False
    return found.scheme in ("http", "https") and bool(found.hostname)


def _timeout(written: JWTRule) -> timedelta:
    if written.timeout is None:
        return KEY_FETCH_TIMEOUT
    return timedelta(milliseconds=written.timeout)
