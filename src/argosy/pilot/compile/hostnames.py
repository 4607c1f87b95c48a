"""Host names in rules: short names, wildcards, and which of two is the more specific.

A wildcard is ``*`` alone or a first label ``*`` (``*.example.com``), as in Istio.
"""

from collections.abc import Iterable

from argosy.base.names import Hostname, Namespace

CLUSTER_DOMAIN = "cluster.local"
SERVICE_SUFFIX = f".svc.{CLUSTER_DOMAIN}"


def resolve(host: str, namespace: Namespace) -> Hostname:
    """A name without dots is a service beside the rule; every other name stays as it is.

    https://istio.io/latest/docs/reference/config/networking/virtual-service/#Destination
    """
    lower = host.lower()
    if "." in lower or "*" in lower or ":" in lower:
        return Hostname(lower)
    return Hostname(f"{lower}.{namespace}{SERVICE_SUFFIX}")


def is_wildcard(host: str) -> bool:
    return host.startswith("*")


def covers(pattern: str, host: str) -> bool:
    """``*.example.com`` covers ``a.example.com`` and ``*.b.example.com``, not ``example.com``."""
    if pattern == host:
        return True
    return is_wildcard(pattern) and len(host) >= len(pattern) and host.endswith(pattern[1:])


def most_specific(patterns: Iterable[Hostname], host: str) -> Hostname | None:
    """The pattern that covers ``host`` most closely: itself, or else the longest wildcard."""
    covering = [pattern for pattern in patterns if covers(pattern, host)]
    return min(covering, key=lambda p: (is_wildcard(p), -len(p), p), default=None)


def intersection(one: Hostname, other: Hostname) -> Hostname | None:
    """The hosts that both names cover, which is the narrower of them or nothing."""
    if covers(one, other):
        return other
    return one if covers(other, one) else None


def aliases(host: Hostname, namespace: Namespace) -> tuple[str, ...]:
    """The shorter names by which a client in ``namespace`` reaches a cluster service.

    ``reviews.default.svc.cluster.local``: ``reviews`` (only within its namespace),
    ``reviews.default`` and ``reviews.default.svc``. Other hosts have none.
    """
    if is_wildcard(host) or not host.endswith(SERVICE_SUFFIX):
        return ()
    qualified = host[: -len(SERVICE_SUFFIX)]
    name, dot, own_namespace = qualified.rpartition(".")
    if not dot or not name:
        return ()
    short = (name,) if own_namespace == namespace else ()
    return (*short, qualified, f"{qualified}.svc")
