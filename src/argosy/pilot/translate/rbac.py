"""``envoy.filters.http.rbac`` and ``envoy.filters.network.rbac``: checks → rules.

Names, prefixes and order are Istio's, since logs and dashboards go by them.
https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/rbac_filter
"""

import ipaddress
from collections.abc import Iterable
from typing import assert_never

from envoy.config.core.v3 import address_pb2
from envoy.config.rbac.v3 import rbac_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb2
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac_pb2
from envoy.type.matcher.v3 import metadata_pb2, path_pb2, string_pb2, value_pb2

from argosy.model.authz import (
    Claim,
    Clause,
    DestinationAddress,
    DestinationPort,
    DirectAddress,
    FilterMetadata,
    Header,
    Host,
    Identity,
    Method,
    OperationFact,
    Path,
    Policy,
    RemoteAddress,
    RequestPrincipal,
    Rule,
    ServerName,
    SourceFact,
    rule_id,
)
from argosy.model.route import Exact, Prefix, Regex
from argosy.model.text_match import Suffix, Text

HTTP_RBAC_FILTER = "envoy.filters.http.rbac"
NETWORK_RBAC_FILTER = "envoy.filters.network.rbac"
"""Also the names under which the filters leave their results in dynamic metadata."""

TCP_STAT_PREFIX = "tcp."
DRY_RUN_ALLOW = "istio_dry_run_allow_"
DRY_RUN_DENY = "istio_dry_run_deny_"
EXT_AUTHZ = "istio_ext_authz_"

JWT_FILTER = "envoy.filters.http.jwt_authn"
JWT_PAYLOAD = "payload"
"""Where the claims of validated tokens are in dynamic metadata."""

ALLOW, DENY, LOG = rbac_pb2.RBAC.ALLOW, rbac_pb2.RBAC.DENY, rbac_pb2.RBAC.LOG


def rules(
    policies: Iterable[Policy], action: rbac_pb2.RBAC.Action, id_prefix: str = ""
) -> rbac_pb2.RBAC:
    """``id_prefix`` stands before the name of each rule."""
    proto = rbac_pb2.RBAC(action=action)
    for policy in policies:
        for rule in policy.rules:
            proto.policies[id_prefix + rule.id].CopyFrom(_policy(rule))
        if not policy.rules:
            proto.policies[id_prefix + rule_id(policy.object, 0)].CopyFrom(_never())
    return proto


def http_filter(
    enforced: rbac_pb2.RBAC | None, shadow: rbac_pb2.RBAC | None = None, shadow_prefix: str = ""
) -> http_rbac_pb2.RBAC:
    return http_rbac_pb2.RBAC(
        rules=enforced, shadow_rules=shadow, shadow_rules_stat_prefix=shadow_prefix
    )


def network_filter(
    enforced: rbac_pb2.RBAC | None, shadow: rbac_pb2.RBAC | None = None, shadow_prefix: str = ""
) -> network_rbac_pb2.RBAC:
    return network_rbac_pb2.RBAC(
        rules=enforced,
        shadow_rules=shadow,
        shadow_rules_stat_prefix=shadow_prefix,
        stat_prefix=TCP_STAT_PREFIX,
    )


def _policy(rule: Rule) -> rbac_pb2.Policy:
    proto = rbac_pb2.Policy()
    proto.permissions.extend(_operation(clauses) for clauses in rule.operations)
    proto.principals.extend(_source(clauses) for clauses in rule.sources)
    return proto


def _never() -> rbac_pb2.Policy:
    proto = rbac_pb2.Policy()
    proto.permissions.add().not_rule.any = True
    proto.principals.add().not_id.any = True
    return proto


def _operation(clauses: tuple[Clause[OperationFact], ...]) -> rbac_pb2.Permission:
    proto = rbac_pb2.Permission()
    if not clauses:
        proto.any = True
    for clause in clauses:
        one = proto.and_rules.rules.add()
        alternatives = one.not_rule.or_rules if clause.negated else one.or_rules
        alternatives.rules.extend(_permission(fact) for fact in clause.any_of)
    return proto


def _source(clauses: tuple[Clause[SourceFact], ...]) -> rbac_pb2.Principal:
    proto = rbac_pb2.Principal()
    if not clauses:
        proto.any = True
    for clause in clauses:
        one = proto.and_ids.ids.add()
        alternatives = one.not_id.or_ids if clause.negated else one.or_ids
        alternatives.ids.extend(_principal(fact) for fact in clause.any_of)
    return proto


def _permission(fact: OperationFact) -> rbac_pb2.Permission:
    proto = rbac_pb2.Permission()
    match fact:
        case Host(match):
            proto.header.CopyFrom(_header(":authority", match))
        case Method(match, ignore_case):
            proto.header.CopyFrom(_header(":method", match, ignore_case))
        case Path(match):
            proto.url_path.CopyFrom(path_pb2.PathMatcher(path=text_matcher(match)))
        case DestinationPort(port):
            proto.destination_port = port
        case DestinationAddress(network):
            proto.destination_ip.CopyFrom(_cidr(network))
        case ServerName(match):
            proto.requested_server_name.CopyFrom(text_matcher(match))
        case FilterMetadata(name, key, match, in_list):
            value = value_pb2.ValueMatcher()
            of = value.list_match.one_of if in_list else value
            of.string_match.CopyFrom(text_matcher(match))
            proto.metadata.CopyFrom(_metadata(name, (key,), value))
        case _:
            assert_never(fact)
    return proto


def _principal(fact: SourceFact) -> rbac_pb2.Principal:
    proto = rbac_pb2.Principal()
    match fact:
        case Identity(match):
            proto.authenticated.principal_name.CopyFrom(text_matcher(match))
        case DirectAddress(network):
            proto.direct_remote_ip.CopyFrom(_cidr(network))
        case RemoteAddress(network):
            proto.remote_ip.CopyFrom(_cidr(network))
        case Header(name, wanted):
            proto.header.CopyFrom(_present(name) if wanted is None else _header(name, wanted))
        case Claim(path, match):
            proto.metadata.CopyFrom(
                _metadata(JWT_FILTER, (JWT_PAYLOAD, *path), _text_or_list(match))
            )
        case RequestPrincipal(issuer, subject):
            for claim, match in (("iss", issuer), ("sub", subject)):
                value = value_pb2.ValueMatcher(string_match=text_matcher(match))
                one = proto.and_ids.ids.add()
                one.metadata.CopyFrom(_metadata(JWT_FILTER, (JWT_PAYLOAD, claim), value))
        case _:
            assert_never(fact)
    return proto


def text_matcher(match: Text, ignore_case: bool = False) -> string_pb2.StringMatcher:
    """``ignore_case`` has no effect on a regex, which says it itself."""
    match match:
        case Exact(value):
            return string_pb2.StringMatcher(exact=value, ignore_case=ignore_case)
        case Prefix(value):
            return string_pb2.StringMatcher(prefix=value, ignore_case=ignore_case)
        case Suffix(value):
            return string_pb2.StringMatcher(suffix=value, ignore_case=ignore_case)
        case Regex(value):
            proto = string_pb2.StringMatcher()
            proto.safe_regex.regex = value
            return proto
        case _:
            assert_never(match)


def _header(
    name: str, match: Text, ignore_case: bool = False
) -> route_components_pb2.HeaderMatcher:
    return route_components_pb2.HeaderMatcher(
        name=name, string_match=text_matcher(match, ignore_case)
    )


def _present(name: str) -> route_components_pb2.HeaderMatcher:
    return route_components_pb2.HeaderMatcher(name=name, present_match=True)


def _text_or_list(match: Text) -> value_pb2.ValueMatcher:
    """Claims such as ``aud`` are a text or a list of texts."""
    proto = value_pb2.ValueMatcher()
    alternatives = proto.or_match.value_matchers
    alternatives.add().list_match.one_of.string_match.CopyFrom(text_matcher(match))
    alternatives.add().string_match.CopyFrom(text_matcher(match))
    return proto


def _metadata(
    name: str, path: tuple[str, ...], value: value_pb2.ValueMatcher
) -> metadata_pb2.MetadataMatcher:
    proto = metadata_pb2.MetadataMatcher(filter=name, value=value)
    for key in path:
        proto.path.add().key = key
    return proto


def _cidr(network: str) -> address_pb2.CidrRange:
    found = ipaddress.ip_network(network)
    proto = address_pb2.CidrRange(address_prefix=str(found.network_address))
    proto.prefix_len.value = found.prefixlen
    return proto
