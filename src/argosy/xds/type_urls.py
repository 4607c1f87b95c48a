"""Type URLs of the resources that Envoy asks for, and what the protocol says of each type.

The rules come from Envoy's xDS protocol page ("How the client specifies what
resources to return", "Grouping Resources into Responses", "Eventual consistency
considerations"). A type that is not named here is served all the same: it is
wildcard when a client asks for it without names, ordered last, and never held back.
"""

from typing import Final

_PREFIX: Final = "type.googleapis.com/"

CLUSTER: Final = _PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINT: Final = _PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER: Final = _PREFIX + "envoy.config.listener.v3.Listener"
SCOPED_ROUTE: Final = _PREFIX + "envoy.config.route.v3.ScopedRouteConfiguration"
ROUTE: Final = _PREFIX + "envoy.config.route.v3.RouteConfiguration"
VIRTUAL_HOST: Final = _PREFIX + "envoy.config.route.v3.VirtualHost"
SECRET: Final = _PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
EXTENSION: Final = _PREFIX + "envoy.config.core.v3.TypedExtensionConfig"
RUNTIME: Final = _PREFIX + "envoy.service.runtime.v3.Runtime"

ROUTING: Final = (LISTENER, SCOPED_ROUTE, ROUTE, VIRTUAL_HOST)
"""Types whose resources name clusters: additions go to them after, removals of clusters wait for them."""

_RANK: Final = {
    url: rank
    for rank, url in enumerate(
        (CLUSTER, ENDPOINT, LISTENER, SCOPED_ROUTE, ROUTE, VIRTUAL_HOST, SECRET, EXTENSION, RUNTIME)
    )
}

_NEVER_WILDCARD: Final = frozenset({ENDPOINT, ROUTE, VIRTUAL_HOST, SECRET, EXTENSION, RUNTIME})

FULL_SET: Final = frozenset({CLUSTER, LISTENER})
"""Types of which a state-of-the-world response must hold everything: what is missing is deleted."""

_SHORT: Final = {
    CLUSTER: "CDS",
    ENDPOINT: "EDS",
    LISTENER: "LDS",
    SCOPED_ROUTE: "SRDS",
    ROUTE: "RDS",
    VIRTUAL_HOST: "VHDS",
    SECRET: "SDS",
    EXTENSION: "ECDS",
    RUNTIME: "RTDS",
}


def rank(type_url: str) -> int:
    """Where a type stands in the order of a mixed change: CDS, EDS, LDS, RDS, SDS, the rest."""
    return _RANK.get(type_url, len(_RANK))


def empty_means_wildcard(type_url: str) -> bool:
    """Whether a first request without names asks for everything (the protocol's legacy wildcard)."""
    return type_url not in _NEVER_WILDCARD


def short_name(type_url: str) -> str:
    """``CDS`` for clusters and so on; the last part of the URL for unknown types."""
    return _SHORT.get(type_url, type_url.rpartition(".")[2])
