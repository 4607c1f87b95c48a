"""How many connections from outside a proxy takes at once. Pure."""

from argosy.model.proxy import ProxyType

MOST = 50_000
"""https://www.envoyproxy.io/docs/envoy/latest/configuration/best_practices/edge"""

_DESCRIPTORS_PER_CONNECTION = 2


def usual_limit(kind: ProxyType, descriptors: int) -> int | None:
    """Of a proxy whose configuration does not say it; None: no limit of its own.

    A connection that is passed on needs two of the process's file ``descriptors`` (negative: no
    limit), and when none are left a proxy can do nothing at all. Sidecars have no limit, as in
    Istio: who calls them is of the mesh.
    """
    if kind is not ProxyType.ROUTER:
        return None
    return MOST if descriptors < 0 else min(MOST, descriptors // _DESCRIPTORS_PER_CONNECTION)
