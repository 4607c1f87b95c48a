"""``envoy.filters.http.local_ratelimit`` and ``envoy.filters.http.ratelimit``: limits → filters.

https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/local_rate_limit_filter
https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/rate_limit_filter
Each limit is one descriptor: an entry that names it, made only where it matches, and one for each
key. The descriptors stand in the filters, so that sidecars, whose routes stand in listeners, and
gateways, whose routes come by themselves, have them in one way; a route's name is asked for where a
limit is for some. No key is ever missing: a descriptor
without one of its entries would not be made at all, and its request not be counted.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias, assert_never

import re2
from envoy.config.core.v3 import base_pb2, config_source_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.access_loggers.filters.cel.v3 import cel_pb2
from envoy.extensions.common.ratelimit.v3 import ratelimit_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.http.header_to_metadata.v3 import header_to_metadata_pb2
from envoy.extensions.filters.http.local_ratelimit.v3 import local_rate_limit_pb2
from envoy.extensions.filters.http.ratelimit.v3 import rate_limit_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.rate_limit_descriptors.expr.v3 import expr_pb2
from google.protobuf.message import Message

from argosy.model.authz import Clause, Header, Host, Method, Path
from argosy.model.mixer import MIXER_CLUSTER
from argosy.model.rate_limit import (
    ABSENT,
    LIMIT_ENTRY,
    LIMIT_STATS,
    MAX_VALUE,
    ROUTE_ENTRY,
    SHARED_DOMAIN,
    TOGETHER,
    TOO_LONG,
    AddressKey,
    ClaimKey,
    HeaderKey,
    Limit,
    LimitKey,
    PeerKey,
    PeerPart,
    RequestPartKey,
)
from argosy.model.route import Exact, Prefix, Regex
from argosy.model.text_match import Suffix, Text
from argosy.pilot.translate.log_sinks import CEL_FILTER
from argosy.pilot.translate.rbac import JWT_FILTER, JWT_PAYLOAD, text_matcher

LOCAL_FILTER = "argosy.filters.http.local_ratelimit"
SHARED_FILTER = "argosy.filters.http.ratelimit"
PEER_HEADER_FILTER = "argosy.filters.http.peer_header"
PEER_METADATA_FILTER = "argosy.filters.http.peer_metadata"
"""Names of their own: what EnvoyFilters write into routes for Envoy's usual names is for filters of theirs,
and would otherwise take the place of a limit."""

PEER_METADATA = "argosy.peer"
"""Where parts of the caller's identity are in dynamic metadata."""

STAT_PREFIX = "argosy"
MAX_BUCKETS = 10_000
"""Of one proxy for the values of keys. The one that was not used for longest is dropped."""

ASK_TIMEOUT = timedelta(milliseconds=500)
"""For an answer of Mixer, which takes about one: it counts as a failure after that."""

POLICY_HEADER = "ratelimit-policy"
"""https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/"""

_TAKEN = "taken"
_PEER_HEADER = "x-argosy-peer"
_BYTES = r"\C*"
_REWRITES = {
    PeerPart.PRINCIPAL: ("^spiffe://(.*)$", r"\1"),
    PeerPart.NAMESPACE: ("^spiffe://[^/]+/ns/([^/]+)/sa/[^/]+$", r"\1"),
    PeerPart.SERVICE_ACCOUNT: ("^spiffe://[^/]+/ns/([^/]+)/sa/([^/]+)$", r"\1/\2"),
}

NamedFilter = tuple[str, Message]
Action: TypeAlias = route_components_pb2.RateLimit.Action


@dataclass(frozen=True, slots=True)
class _SharedKind:
    """What questions have in common that are asked together."""

    fail_closed: bool
    quota_headers: bool


def http_filters(limits: Sequence[Limit]) -> list[NamedFilter]:
    """What the keys need, then buckets of the proxy's own, then questions to Mixer.

    Mixer is not asked about requests that are refused anyway.
    """
    found: list[NamedFilter] = list(_peer_filters(limits))
    shared: dict[_SharedKind, list[Limit]] = {}
    for limit in limits:
        if limit.shared:
            asked = _SharedKind(limit.fail_closed, limit.quota_headers)
            shared.setdefault(asked, []).append(limit)
    found += [(LOCAL_FILTER, _local(together)) for together in _own(limits)]
    found += [(SHARED_FILTER, _shared(kind, of_kind)) for kind, of_kind in shared.items()]
    return found


def apply_to_manager(
    manager: http_connection_manager_pb2.HttpConnectionManager, limits: Iterable[Limit]
) -> None:
    """The bodies of a proxy's own refusals: the filter has none. Mixer sends its refusals' own."""
    for together in _own(limits):
        refusal = together[0].refusal
        if not refusal.body or together[0].dry_run:
            continue
        mapper = manager.local_reply_config.mappers.add()
        chosen = cel_pb2.ExpressionFilter(
            expression=f"response.code_details == 'local_rate_limited' && "
            f"response.headers['{POLICY_HEADER}'] == '{policy_header(together)}'"
        )
        mapper.filter.extension_filter.name = CEL_FILTER
        mapper.filter.extension_filter.typed_config.Pack(chosen, deterministic=True)
        mapper.body_format_override.text_format_source.inline_string = refusal.body.replace(
            "%", "%%"
        )
        mapper.body_format_override.content_type = refusal.content_type


def _own(limits: Iterable[Limit]) -> list[list[Limit]]:
    """Buckets of a proxy's own, by the filter that they stand in: each in one, which counts for it.

    But those of one RateLimit whose answers tell how much is left are together: filters do not know
    of each other, and each would tell it.
    """
    found: dict[tuple[object, ...], list[Limit]] = {}
    for limit in limits:
        if not limit.shared:
            told = limit.quota_headers and not limit.dry_run
            found.setdefault((limit.object, None if told else limit.rule), []).append(limit)
    return list(found.values())


def _local(limits: Sequence[Limit]) -> local_rate_limit_pb2.LocalRateLimit:
    first = limits[0]
    proto = local_rate_limit_pb2.LocalRateLimit(
        stat_prefix=_stat_prefix(limits), rate_limited_as_resource_exhausted=True
    )
    proto.filter_enabled.default_value.numerator = 100
    proto.filter_enforced.default_value.numerator = 0 if first.dry_run else 100
    proto.always_consume_default_token_bucket.value = False
    proto.max_dynamic_descriptors.value = MAX_BUCKETS
    if first.quota_headers and not first.dry_run:
        proto.enable_x_ratelimit_headers = ratelimit_pb2.DRAFT_VERSION_03
    if (first.quota_headers or first.refusal.body) and not first.dry_run:
        header = proto.response_headers_to_add.add()
        header.append_action = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
        header.header.key = POLICY_HEADER
        header.header.value = policy_header(limits)
    for limit in limits:
        proto.rate_limits.append(_rate_limit(limit))
        descriptor = proto.descriptors.add()
        descriptor.entries.add(key=LIMIT_ENTRY, value=limit.id)
        if limit.routes:
            descriptor.entries.add(key=ROUTE_ENTRY, value=_TAKEN)
        for key in limit.keys:
            descriptor.entries.add(key=key.name)  # without a value: a bucket for each value
        descriptor.token_bucket.max_tokens = limit.rate.burst
        descriptor.token_bucket.tokens_per_fill.value = limit.rate.requests
        descriptor.token_bucket.fill_interval.FromTimedelta(limit.rate.period)
    return proto


def _stat_prefix(limits: Sequence[Limit]) -> str:
    first, *others = limits
    return f"{LIMIT_STATS}.{TOGETHER.join((first.id, *(one.rule for one in others)))}"


def _shared(kind: _SharedKind, limits: Sequence[Limit]) -> rate_limit_pb2.RateLimit:
    proto = rate_limit_pb2.RateLimit(
        domain=SHARED_DOMAIN,
        stat_prefix=STAT_PREFIX,
        failure_mode_deny=kind.fail_closed,
        rate_limited_as_resource_exhausted=True,
        enable_x_ratelimit_headers=(
            rate_limit_pb2.RateLimit.DRAFT_VERSION_03
            if kind.quota_headers
            else rate_limit_pb2.RateLimit.OFF
        ),
        disable_x_envoy_ratelimited_header=True,
    )
    proto.timeout.FromTimedelta(ASK_TIMEOUT)
    proto.rate_limit_service.transport_api_version = config_source_pb2.V3
    proto.rate_limit_service.grpc_service.envoy_grpc.cluster_name = MIXER_CLUSTER
    proto.rate_limits.extend(_rate_limit(limit) for limit in limits)
    return proto


def _rate_limit(limit: Limit) -> route_components_pb2.RateLimit:
    proto = route_components_pb2.RateLimit()
    named = proto.actions.add()
    if limit.clauses:
        named.header_value_match.descriptor_key = LIMIT_ENTRY
        named.header_value_match.descriptor_value = limit.id
        named.header_value_match.headers.extend(_header(clause) for clause in limit.clauses)
    else:
        named.generic_key.descriptor_key = LIMIT_ENTRY
        named.generic_key.descriptor_value = limit.id
    if limit.routes:
        proto.actions.append(_route(limit.routes))
    proto.actions.extend(_action(key) for key in limit.keys)
    return proto


def policy_header(limits: Iterable[Limit]) -> str:
    """The policies that may have refused: name, quota and window in seconds of each."""
    return ", ".join(
        f'"{one.object.namespace}.{one.object.name}.{one.rule}";q={one.rate.requests}'
        f";w={int(one.rate.period.total_seconds())}"
        for one in limits
    )


# Keys.


def _action(key: LimitKey) -> Action:
    proto = Action()
    match key:
        case AddressKey():
            proto.remote_address.SetInParent()
        case PeerKey(part):
            _metadata(proto, key, PEER_METADATA, (part.name.lower(),))
        case ClaimKey(path):
            _metadata(proto, key, JWT_FILTER, (JWT_PAYLOAD, *path))
        case RequestPartKey(part):
            _expression(proto, key.name, _bounded(part.value))
        case HeaderKey(header):
            # A header's name may hold a single quote, but no double one and no backslash.
            value = f'request.headers["{header}"]'
            present = f'"{header}" in request.headers'
            _expression(proto, key.name, f"{present} ? ({_bounded(value)}) : '{ABSENT}'")
        case _:
            assert_never(key)
    return proto


def _metadata(proto: Action, key: LimitKey, name: str, path: tuple[str, ...]) -> None:
    """What is no text counts as absent."""
    proto.metadata.descriptor_key = key.name
    proto.metadata.source = Action.MetaData.DYNAMIC
    proto.metadata.metadata_key.key = name
    for part in path:
        proto.metadata.metadata_key.path.add().key = part
    proto.metadata.default_value = ABSENT


def _expression(proto: Action, key: str, text: str) -> None:
    expression = expr_pb2.Descriptor(descriptor_key=key, text=text)
    proto.extension.name = "envoy.rate_limit_descriptors.expr"
    proto.extension.typed_config.Pack(expression, deterministic=True)


def _bounded(value: str) -> str:
    return f"size({value}) <= {MAX_VALUE} ? {value} : '{TOO_LONG}'"


def _peer_filters(limits: Iterable[Limit]) -> Iterator[NamedFilter]:
    """Envoy has the caller's identity for headers only, and metadata out of headers only.

    So it goes through a header, which no client can set and nobody after these filters sees.
    """
    parts = {key.part for one in limits for key in one.keys if isinstance(key, PeerKey)}
    if not parts:
        return
    mutation = header_mutation_pb2.HeaderMutation()
    mutation.mutations.request_mutations.add(remove=_PEER_HEADER)
    append = mutation.mutations.request_mutations.add().append
    append.header.key = _PEER_HEADER
    append.header.value = "%DOWNSTREAM_PEER_URI_SAN%"
    append.append_action = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    yield PEER_HEADER_FILTER, mutation
    config = header_to_metadata_pb2.Config()
    for part in sorted(parts, key=lambda one: one.value):
        rule = config.request_rules.add(header=_PEER_HEADER)
        pattern, substitution = _REWRITES[part]
        found = rule.on_header_present
        found.metadata_namespace = PEER_METADATA
        found.key = part.name.lower()
        found.regex_value_rewrite.pattern.regex = pattern
        found.regex_value_rewrite.substitution = substitution
    config.request_rules[-1].remove = True
    yield PEER_METADATA_FILTER, config


# Matches.


def _header(
    clause: Clause[Host | Path | Method | Header],
) -> route_components_pb2.HeaderMatcher:
    """One of the facts holds; all of a clause are of one header."""
    names = {_name(fact) for fact in clause.any_of}
    assert len(names) == 1, f"{clause.field} is about several headers"
    proto = route_components_pb2.HeaderMatcher(name=names.pop(), invert_match=clause.negated)
    if any(isinstance(fact, Header) and fact.match is None for fact in clause.any_of):
        proto.present_match = True
        return proto
    proto.treat_missing_header_as_empty = clause.negated
    facts = tuple(clause.any_of)
    match facts:
        case (Host(one),) | (Header(match=Exact() | Prefix() | Suffix() | Regex() as one),):
            proto.string_match.CopyFrom(text_matcher(one))
        case (Method(one, ignore_case),):
            proto.string_match.CopyFrom(text_matcher(one, ignore_case))
        case _:
            pattern = "|".join(f"(?:{_pattern(fact)})" for fact in facts)
            if isinstance(facts[0], Path):
                pattern = f"(?:{pattern})(?:[?#]{_BYTES})?"
            proto.string_match.safe_regex.regex = pattern
    return proto


def _route(names: Iterable[Text]) -> Action:
    """The name of one of its matches follows a route's, after a dot; by itself it counts for all of them.

    Without such a route the expression fails, and no descriptor is made.
    """
    proto = Action()
    conditions = " || ".join(_route_is(name) for name in names)
    _expression(proto, ROUTE_ENTRY, f"{{true: '{_TAKEN}'}}[{conditions}]")
    return proto


def _route_is(match: Text) -> str:
    name = "xds.route_name"
    match match:
        case Exact(value):
            return f"{name} == {_literal(value)} || {name}.startsWith({_literal(value + '.')})"
        case Prefix(value):
            return f"{name}.startsWith({_literal(value)})"
        case Suffix(value):
            return f"{name}.endsWith({_literal(value)})"
        case Regex():
            return f"{name} != ''"  # the only one that is written so: any
        case _:
            assert_never(match)


def _literal(value: str) -> str:
    """JSON's texts are CEL's, but for pairs of surrogates."""
    return json.dumps(value, ensure_ascii=False)


def _name(fact: Host | Path | Method | Header) -> str:
    match fact:
        case Host():
            return ":authority"
        case Path():
            return ":path"
        case Method():
            return ":method"
        case Header(name):
            return name
        case _:
            assert_never(fact)


def _pattern(fact: Host | Path | Method | Header) -> str:
    """A regular expression for the whole of the header's value, of a path without its query."""
    assert fact.match is not None
    rest = "[^?#]*" if isinstance(fact, Path) else _BYTES
    case = "(?i)" if isinstance(fact, Method) and fact.ignore_case else ""
    return case + _text_pattern(fact.match, rest)


def _text_pattern(match: Text, rest: str) -> str:
    match match:
        case Exact(value):
            return str(re2.escape(value))
        case Prefix(value):
            return f"{re2.escape(value)}{rest}"
        case Suffix(value):
            return f"{rest}{re2.escape(value)}"
        case Regex(value):
            return value
        case _:
            assert_never(match)
