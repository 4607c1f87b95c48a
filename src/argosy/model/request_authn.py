"""Request authentication: which tokens of end users a workload accepts, and what follows."""

from dataclasses import dataclass
from datetime import timedelta

KEY_FETCH_TIMEOUT = timedelta(seconds=5)
"""https://istio.io/latest/docs/reference/config/security/jwt/ (``timeout``)"""


@dataclass(frozen=True, slots=True, order=True)
class KeySource:
    """Where an issuer publishes its keys.

    ``discovery``: ``url`` is of its OpenID Connect configuration, which names that of the keys.
    https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfig
    ``bundle``: ``url`` is of a trust domain's SPIFFE bundle, and the keys are its certificates.
    https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Trust_Domain_and_Bundle.md
    """

    url: str
    discovery: bool = False
    bundle: bool = False


@dataclass(frozen=True, slots=True)
class InlineKeys:
    """``key_set`` is JSON, of public keys only."""

    key_set: str


@dataclass(frozen=True, slots=True)
class NoKeys:
    """There is no way to any: no token can be valid."""


Keys = InlineKeys | KeySource | NoKeys


@dataclass(frozen=True, slots=True)
class TokenHeader:
    """``prefix`` stands before the token."""

    name: str
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class ClaimHeader:
    """A claim that the application is told; ``claim`` descends into nested claims by dots."""

    header: str
    claim: str


@dataclass(frozen=True, slots=True)
class JwtRule:
    """How tokens of one issuer are found and checked.

    ``issuer`` empty: any that the keys are right for. ``audiences`` empty: any. Without places
    tokens are looked for in ``Authorization: Bearer`` and the parameter ``access_token``.
    ``payload_header`` empty: none. ``space_delimited`` are claims that are lists written as text.
    """

    issuer: str
    keys: Keys
    audiences: tuple[str, ...] = ()
    headers: tuple[TokenHeader, ...] = ()
    params: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()
    forward: bool = False
    payload_header: str = ""
    claim_headers: tuple[ClaimHeader, ...] = ()
    space_delimited: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JwtProvider:
    """A rule with the keys that are known now: JSON."""

    rule: JwtRule
    key_set: str


@dataclass(frozen=True, slots=True)
class RequestAuthn:
    """What one workload, or gateway, demands of the tokens in requests; at least one provider.

    A token at a place where one is looked for must be valid; none is fine.
    ``choose_route_again``: routes depend on claims, so a route is chosen once they are known.
    """

    providers: tuple[JwtProvider, ...]
    choose_route_again: bool = False

    @property
    def headers_of_ours(self) -> tuple[str, ...]:
        """The headers that only this may set, lower case and sorted: clients' own are dropped."""
        found: set[str] = set()
        for provider in self.providers:
            found |= {output.header.lower() for output in provider.rule.claim_headers}
            if provider.rule.payload_header:
                found.add(provider.rule.payload_header.lower())
        return tuple(sorted(found))
