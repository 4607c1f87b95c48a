"""MeshConfig's external authorizers → whom to ask.

https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-ExtensionProvider-EnvoyExternalAuthorizationHttpProvider
"""

from datetime import timedelta

from argosy.api import extension_providers as api
from argosy.model.ext_authz import CheckedBody, GrpcAuthorizer, HttpAuthorizer
from argosy.model.proxy import ClusterKey
from argosy.model.text_match import Text
from argosy.pilot.compile.authz_values import text

DEFAULT_TIMEOUT = timedelta(seconds=600)
"""Istio's, where none is written."""


def service_of(provider: api.ExtensionProvider) -> tuple[str, int] | None:
    """The service to ask, ``[<namespace>/]<host>``, and its port; None: no authorizer."""
    written = provider.envoy_ext_authz_http or provider.envoy_ext_authz_grpc
    return None if written is None else (written.service, written.port)


def authorizer(
    provider: api.ExtensionProvider, cluster: ClusterKey
) -> HttpAuthorizer | GrpcAuthorizer | None:
    """``cluster`` is that of the service to ask."""
    http, grpc = provider.envoy_ext_authz_http, provider.envoy_ext_authz_grpc
    if http is not None:
        sent = http.include_request_headers_in_check or http.include_headers_in_check
        return HttpAuthorizer(
            cluster=cluster,
            host=cluster.host,
            timeout=_timeout(http),
            path_prefix=http.path_prefix,
            fail_open=http.fail_open,
            clear_route_cache=http.clear_route_cache,
            status_on_error=_status(http),
            body=_body(http.include_request_body_in_check),
            sent_headers=_names(sent),
            added_headers=tuple(sorted(http.include_additional_headers_in_check.items())),
            upstream_on_allow=_names(http.headers_to_upstream_on_allow),
            downstream_on_deny=_names(http.headers_to_downstream_on_deny),
            downstream_on_allow=_names(http.headers_to_downstream_on_allow),
        )
    if grpc is not None:
        return GrpcAuthorizer(
            cluster=cluster,
            timeout=_timeout(grpc),
            fail_open=grpc.fail_open,
            clear_route_cache=grpc.clear_route_cache,
            status_on_error=_status(grpc),
            body=_body(grpc.include_request_body_in_check),
        )
    return None


def _timeout(written: api.ExternalAuthorizerHttp | api.ExternalAuthorizerGrpc) -> timedelta:
    return timedelta(milliseconds=written.timeout) if written.timeout else DEFAULT_TIMEOUT


def _status(written: api.ExternalAuthorizerHttp | api.ExternalAuthorizerGrpc) -> int | None:
    return int(written.status_on_error) if written.status_on_error else None


def _body(written: api.CheckedRequestBody | None) -> CheckedBody | None:
    if written is None:
        return None
    return CheckedBody(
        written.max_request_bytes, written.allow_partial_message, written.pack_as_bytes
    )


def _names(headers: tuple[str, ...]) -> tuple[Text, ...]:
    return tuple(text(header) for header in headers)
