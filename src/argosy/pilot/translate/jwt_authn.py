"""``envoy.filters.http.jwt_authn``: checks the tokens of end users.

https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/jwt_authn_filter
Whatever a valid token claims is dynamic metadata of the filter, under the key ``payload``, where
authorization and the routes of gateways find it.
"""

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2

from argosy.model.request_authn import JwtProvider, RequestAuthn

JWT_FILTER = "envoy.filters.http.jwt_authn"
JWT_PAYLOAD = "payload"
"""Where the filter puts the claims of a valid token, as Istio configures it."""

CLIENT_HEADERS_FILTER = "envoy.filters.http.header_mutation"
"""Drops what clients wrote into the headers that claims are told in."""


def jwt_authn(authn: RequestAuthn) -> config_pb2.JwtAuthentication:
    """A token where one is looked for must be valid, and no token is fine.

    ``ANY {P0, P1, ALL {ANY {P0, missing}, ANY {P1, missing}}}``: the inner part demands of each
    place that its token be valid; the outer one lets issuers share a place. ``missing`` does not
    hold where there is a token of an unknown issuer (ISTIO-SECURITY-2021-001).
    """
    # Browsers' preflights carry no credentials, so they could never pass.
    proto = config_pb2.JwtAuthentication(bypass_cors_preflight=True)
    names = [f"origins-{index}" for index in range(len(authn.providers))]
    for name, provider in zip(names, authn.providers, strict=True):
        proto.providers[name].CopyFrom(_provider(provider, again=authn.choose_route_again))
    rule = proto.rules.add()
    rule.match.prefix = "/"
    optional = [_any([_required(name), _missing()]) for name in names]
    if len(optional) == 1:
        rule.requires.CopyFrom(optional[0])
        return proto
    together = config_pb2.JwtRequirement()
    together.requires_all.requirements.extend(optional)
    rule.requires.CopyFrom(_any([*(_required(name) for name in names), together]))
    return proto


def without_client_headers(authn: RequestAuthn) -> header_mutation_pb2.HeaderMutation | None:
    """Envoy's filter drops them itself, but not of preflights, nor of issuers it did not ask."""
    if not authn.headers_of_ours:
        return None
    proto = header_mutation_pb2.HeaderMutation()
    for name in authn.headers_of_ours:
        mutation = mutation_rules_pb2.HeaderMutation(remove=name)
        proto.mutations.request_mutations.append(mutation)
    return proto


def _provider(provider: JwtProvider, *, again: bool) -> config_pb2.JwtProvider:
    rule = provider.rule
    proto = config_pb2.JwtProvider(
        issuer=rule.issuer,
        audiences=rule.audiences,
        forward=rule.forward,
        forward_payload_header=rule.payload_header,
        from_params=rule.params,
        from_cookies=rule.cookies,
        payload_in_metadata=JWT_PAYLOAD,
        clear_route_cache=again,
    )
    proto.local_jwks.inline_string = provider.key_set
    proto.normalize_payload_in_metadata.space_delimited_claims.extend(rule.space_delimited)
    for header in rule.headers:
        proto.from_headers.add(name=header.name, value_prefix=header.prefix)
    for output in rule.claim_headers:
        proto.claim_to_headers.add(header_name=output.header, claim_name=output.claim)
    return proto


def _required(name: str) -> config_pb2.JwtRequirement:
    return config_pb2.JwtRequirement(provider_name=name)


def _missing() -> config_pb2.JwtRequirement:
    proto = config_pb2.JwtRequirement()
    proto.allow_missing.SetInParent()
    return proto


def _any(requirements: list[config_pb2.JwtRequirement]) -> config_pb2.JwtRequirement:
    proto = config_pb2.JwtRequirement()
    proto.requires_any.requirements.extend(requirements)
    return proto
