"""What a route does with a request: forward it, redirect it, or answer it."""

from typing import assert_never

from envoy.config.route.v3 import route_components_pb2

from argosy.model.proxy import ClusterKey
from argosy.model.route import (
    Cluster,
    CookieHash,
    DirectResponse,
    HashPolicy,
    HeaderHash,
    InboundCluster,
    PathRewrite,
    QueryParameterHash,
    Redirect,
    RegexRewrite,
    RouteTo,
    SourceIpHash,
)
from argosy.pilot.translate import names
from argosy.pilot.translate.fraction import runtime_fraction
from argosy.pilot.translate.header_operations import apply_header_operations
from argosy.pilot.translate.retry_policy import retry_policy
from argosy.pilot.translate.string_matcher import regex_matcher

_RESPONSE_CODES = {
    301: route_components_pb2.RedirectAction.MOVED_PERMANENTLY,
    302: route_components_pb2.RedirectAction.FOUND,
    303: route_components_pb2.RedirectAction.SEE_OTHER,
    307: route_components_pb2.RedirectAction.TEMPORARY_REDIRECT,
    308: route_components_pb2.RedirectAction.PERMANENT_REDIRECT,
}


def cluster_name(cluster: Cluster) -> str:
    match cluster:
        case ClusterKey():
            return names.cluster_name(cluster)
        case InboundCluster(port):
            return names.inbound_cluster(port)
        case _:
            assert_never(cluster)


def route_action(action: RouteTo) -> route_components_pb2.RouteAction:
    """With one cluster, its header operations are the caller's to put on the route."""
    proto = route_components_pb2.RouteAction()
    if len(action.clusters) == 1:
        proto.cluster = cluster_name(action.clusters[0].cluster)
    else:
        for weighted in action.clusters:
            entry = proto.weighted_clusters.clusters.add(name=cluster_name(weighted.cluster))
            entry.weight.value = weighted.weight
            apply_header_operations(entry, weighted.headers)
            if weighted.authority:
                entry.host_rewrite_literal = weighted.authority
    match action.rewrite:
        case None:
            pass
        case PathRewrite(value):
            proto.prefix_rewrite = value
        case RegexRewrite(pattern, substitution):
            proto.regex_rewrite.pattern.CopyFrom(regex_matcher(pattern))
            proto.regex_rewrite.substitution = substitution
        case _:
            assert_never(action.rewrite)
    authority = _authority(action)
    if authority:
        proto.host_rewrite_literal = authority
    _timeouts(proto, action)
    if action.retries is not None:
        proto.retry_policy.CopyFrom(retry_policy(action.retries))
    for mirror in action.mirrors:
        policy = proto.request_mirror_policies.add(
            cluster=cluster_name(mirror.cluster), runtime_fraction=runtime_fraction(mirror.share)
        )
        policy.trace_sampled.value = False
    for chosen_by in action.hash_policies:
        proto.hash_policy.append(hash_policy(chosen_by))
    return proto


def _authority(action: RouteTo) -> str:
    """The rule's own wins over a single destination's, as it would with several."""
    if action.authority or len(action.clusters) > 1:
        return action.authority
    return action.clusters[0].authority


def _timeouts(proto: route_components_pb2.RouteAction, action: RouteTo) -> None:
    """Zero switches Envoy's 15 s default off; a gRPC deadline counts, up to the timeout.

    ``max_stream_duration``, which replaces ``max_grpc_timeout``, makes Envoy ignore ``timeout``
    altogether, so a route with a timeout has the older field, as in Istio.
    """
    if action.timeout is None:
        proto.timeout.SetInParent()
        proto.max_stream_duration.grpc_timeout_header_max.SetInParent()
    else:
        proto.timeout.FromTimedelta(action.timeout)
        proto.max_grpc_timeout.FromTimedelta(action.timeout)


def hash_policy(policy: HashPolicy) -> route_components_pb2.RouteAction.HashPolicy:
    """Which part of a request the consistent hash of the cluster works on."""
    proto = route_components_pb2.RouteAction.HashPolicy()
    match policy:
        case HeaderHash(name):
            proto.header.header_name = name
        case CookieHash(name, path, ttl, attributes):
            proto.cookie.name = name
            proto.cookie.path = path
            if ttl is not None:
                # Present even when zero: that asks for a session cookie.
                proto.cookie.ttl.FromTimedelta(ttl)
            for key, value in attributes:
                proto.cookie.attributes.add(name=key, value=value)
        case SourceIpHash():
            proto.connection_properties.source_ip = True
        case QueryParameterHash(name):
            proto.query_parameter.name = name
        case _:
            assert_never(policy)
    return proto


def redirect_action(redirect: Redirect) -> route_components_pb2.RedirectAction:
    proto = route_components_pb2.RedirectAction(
        host_redirect=redirect.authority, response_code=_RESPONSE_CODES[redirect.code]
    )
    if redirect.path:
        proto.path_redirect = redirect.path
    elif redirect.path_prefix:
        proto.prefix_rewrite = redirect.path_prefix
    if redirect.scheme:
        proto.scheme_redirect = redirect.scheme
    if redirect.port is not None:
        proto.port_redirect = redirect.port
    return proto


def direct_response_action(
    response: DirectResponse,
) -> route_components_pb2.DirectResponseAction:
    proto = route_components_pb2.DirectResponseAction(status=response.status)
    match response.body:
        case None:
            pass
        case str(text):
            proto.body.inline_string = text
        case bytes(data):
            proto.body.inline_bytes = data
    return proto
