"""Which requests a route takes: model → ``RouteMatch``."""

from typing import assert_never

from envoy.config.route.v3 import route_components_pb2
from envoy.type.matcher.v3 import metadata_pb2, value_pb2

from argosy.model.route import (
    ClaimMatch,
    Exact,
    HeaderMatch,
    Prefix,
    Present,
    QueryMatch,
    Regex,
    RouteMatch,
    ValueMatch,
)
from argosy.pilot.translate.jwt_authn import JWT_FILTER, JWT_PAYLOAD
from argosy.pilot.translate.string_matcher import regex_matcher, string_matcher


def route_match(match: RouteMatch) -> route_components_pb2.RouteMatch:
    """A prefix is plain text, as in Istio: ``/api`` also takes ``/apiary``."""
    proto = route_components_pb2.RouteMatch()
    match match.path:
        case Exact(value):
            proto.path = value
        case Prefix(value):
            proto.prefix = value
        case Regex(value):
            proto.safe_regex.CopyFrom(regex_matcher(value))
        case _:
            assert_never(match.path)
    if not match.case_sensitive:
        proto.case_sensitive.value = False
    if match.headers:
        proto.headers.extend([header_matcher(header) for header in match.headers])
    if match.queries:
        proto.query_parameters.extend([query_parameter_matcher(query) for query in match.queries])
    if match.claims:
        proto.dynamic_metadata.extend([claim_matcher(claim) for claim in match.claims])
    return proto


def header_matcher(header: HeaderMatch) -> route_components_pb2.HeaderMatcher:
    """An inverted match on a value also takes requests that lack the header."""
    proto = route_components_pb2.HeaderMatcher(name=header.name, invert_match=header.invert)
    if isinstance(header.value, Present):
        proto.present_match = True
        return proto
    proto.string_match.CopyFrom(string_matcher(header.value))
    # Without this, a missing header fails the match before Envoy inverts the result.
    proto.treat_missing_header_as_empty = header.invert
    return proto


def query_parameter_matcher(query: QueryMatch) -> route_components_pb2.QueryParameterMatcher:
    proto = route_components_pb2.QueryParameterMatcher(name=query.name)
    if isinstance(query.value, Present):
        proto.present_match = True
    else:
        proto.string_match.CopyFrom(string_matcher(query.value))
    return proto


def claim_matcher(claim: ClaimMatch) -> metadata_pb2.MetadataMatcher:
    """A claim may be a string, or a list of which one element must match."""
    proto = metadata_pb2.MetadataMatcher(filter=JWT_FILTER, invert=claim.invert)
    for key in (JWT_PAYLOAD, *claim.path):
        proto.path.add(key=key)
    proto.value.CopyFrom(_claim_value(claim.value))
    return proto


def _claim_value(value: ValueMatch) -> value_pb2.ValueMatcher:
    if isinstance(value, Present):
        return value_pb2.ValueMatcher(present_match=True)
    proto = value_pb2.ValueMatcher()
    matcher = string_matcher(value)
    proto.or_match.value_matchers.add(string_match=matcher)
    proto.or_match.value_matchers.add().list_match.one_of.string_match.CopyFrom(matcher)
    return proto
