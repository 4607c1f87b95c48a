"""``envoy.filters.http.ext_authz`` and ``envoy.filters.network.ext_authz``.

An authorizer is only asked about what its CUSTOM policies match: RBAC shadow rules before it leave
the matching rule's name in dynamic metadata, and the filter is enabled by that.
https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/ext_authz_filter
"""

from collections.abc import Iterable

from envoy.config.core.v3 import config_source_pb2, grpc_service_pb2
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
from envoy.extensions.filters.network.ext_authz.v3 import ext_authz_pb2 as network_ext_authz_pb2
from envoy.type.matcher.v3 import metadata_pb2, string_pb2

from argosy.model.ext_authz import CheckedBody, GrpcAuthorizer, HttpAuthorizer
from argosy.model.text_match import Text
from argosy.pilot.translate import names
from argosy.pilot.translate.rbac import EXT_AUTHZ, TCP_STAT_PREFIX, text_matcher

HTTP_EXT_AUTHZ_FILTER = "envoy.filters.http.ext_authz"
NETWORK_EXT_AUTHZ_FILTER = "envoy.filters.network.ext_authz"


def id_prefix(provider: str) -> str:
    """Before the names of the rules that ask for a provider."""
    return f"istio-ext-authz-{provider}-"


def http_filter(
    authorizer: HttpAuthorizer | GrpcAuthorizer, provider: str, rbac_filter: str
) -> ext_authz_pb2.ExtAuthz:
    """``rbac_filter`` is the name of the filter that looks for matching policies."""
    proto = ext_authz_pb2.ExtAuthz(
        transport_api_version=config_source_pb2.V3,
        failure_mode_allow=authorizer.fail_open,
        clear_route_cache=authorizer.clear_route_cache,
        filter_enabled_metadata=_matched(provider, rbac_filter),
    )
    if authorizer.status_on_error is not None:
        proto.status_on_error.code = authorizer.status_on_error
    if authorizer.body is not None:
        proto.with_request_body.CopyFrom(_body(authorizer.body))
    if isinstance(authorizer, GrpcAuthorizer):
        proto.grpc_service.CopyFrom(_grpc(authorizer))
        return proto
    service = proto.http_service
    service.path_prefix = authorizer.path_prefix
    service.server_uri.uri = f"http://{authorizer.host}"
    service.server_uri.cluster = names.cluster_name(authorizer.cluster)
    service.server_uri.timeout.FromTimedelta(authorizer.timeout)
    if authorizer.sent_headers:
        proto.allowed_headers.CopyFrom(_any_of(authorizer.sent_headers))
    for name, value in authorizer.added_headers:
        service.authorization_request.headers_to_add.add(key=name, value=value)
    response = service.authorization_response
    if authorizer.upstream_on_allow:
        response.allowed_upstream_headers.CopyFrom(_any_of(authorizer.upstream_on_allow))
    if authorizer.downstream_on_deny:
        response.allowed_client_headers.CopyFrom(_any_of(authorizer.downstream_on_deny))
    if authorizer.downstream_on_allow:
        on_success = response.allowed_client_headers_on_success
        on_success.CopyFrom(_any_of(authorizer.downstream_on_allow))
    return proto


def network_filter(
    authorizer: GrpcAuthorizer, provider: str, rbac_filter: str
) -> network_ext_authz_pb2.ExtAuthz:
    return network_ext_authz_pb2.ExtAuthz(
        stat_prefix=TCP_STAT_PREFIX,
        transport_api_version=config_source_pb2.V3,
        failure_mode_allow=authorizer.fail_open,
        grpc_service=_grpc(authorizer),
        filter_enabled_metadata=_matched(provider, rbac_filter),
    )


def _grpc(authorizer: GrpcAuthorizer) -> grpc_service_pb2.GrpcService:
    proto = grpc_service_pb2.GrpcService()
    cluster = names.cluster_name(authorizer.cluster)
    proto.envoy_grpc.cluster_name = cluster
    # ``|`` may not stand in an :authority header.
    proto.envoy_grpc.authority = cluster.replace("|", "_.")
    proto.timeout.FromTimedelta(authorizer.timeout)
    return proto


def _body(body: CheckedBody) -> ext_authz_pb2.BufferSettings:
    return ext_authz_pb2.BufferSettings(
        max_request_bytes=body.max_bytes,
        allow_partial_message=body.allow_partial,
        pack_as_bytes=body.as_bytes,
    )


def _any_of(names: Iterable[Text]) -> string_pb2.ListStringMatcher:
    """Names of headers, whatever their case."""
    return string_pb2.ListStringMatcher(patterns=[text_matcher(n, ignore_case=True) for n in names])


def _matched(provider: str, rbac_filter: str) -> metadata_pb2.MetadataMatcher:
    proto = metadata_pb2.MetadataMatcher(filter=rbac_filter)
    proto.path.add().key = f"{EXT_AUTHZ}shadow_effective_policy_id"
    proto.value.string_match.prefix = id_prefix(provider)
    return proto
