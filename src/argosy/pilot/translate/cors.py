"""Cross-origin rules of one route: ``envoy.filters.http.cors`` per-route configuration.

https://istio.io/latest/docs/reference/config/networking/virtual-service/#CorsPolicy
"""

from envoy.extensions.filters.http.cors.v3 import cors_pb2

from argosy.model.route import ALL_REQUESTS, Cors
from argosy.pilot.translate.fraction import runtime_fraction
from argosy.pilot.translate.string_matcher import string_matcher

CORS_FILTER = "envoy.filters.http.cors"


def cors_policy(cors: Cors) -> cors_pb2.CorsPolicy:
    proto = cors_pb2.CorsPolicy(
        allow_origin_string_match=[string_matcher(origin) for origin in cors.allow_origins],
        allow_methods=",".join(cors.allow_methods),
        allow_headers=",".join(cors.allow_headers),
        expose_headers=",".join(cors.expose_headers),
        max_age="" if cors.max_age is None else str(cors.max_age),
        filter_enabled=runtime_fraction(ALL_REQUESTS),
    )
    if cors.allow_credentials is not None:
        proto.allow_credentials.value = cors.allow_credentials
    proto.forward_not_matching_preflights.value = cors.forward_unmatched_preflights
    return proto
