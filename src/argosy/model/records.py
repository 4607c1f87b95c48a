"""Which requests and connections proxies tell Mixer of.

Failures always; anything else as a share of all, which is zero unless somebody looks. Both shares
are runtime values of Envoy, so that to switch them touches no listener.
"""

from dataclasses import dataclass
from enum import StrEnum

from argosy.model.workload import Labels

RUNTIME_LAYER = "argosy"
"""The layer of the proxies' runtime that the control plane fills; also the resource's name."""

TAP_KEY = "argosy.tap"
FAILURES_KEY = "argosy.failures"
ERROR_STATUS_KEY = "argosy.error_status"
"""From which status on an answer is a failure; 400 unless a proxy's own runtime values say more."""

ALL = 10_000
"""Shares are counted in ten-thousandths."""


class Direction(StrEnum):
    """Where in the proxy: what a workload receives, what it asks for, or what a gateway passes."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Wish:
    """A share of what the workloads of a namespace with these labels do.

    ``namespace`` empty: of the whole mesh. ``labels`` empty: of every workload there.
    """

    namespace: str
    labels: Labels = ()
    share: int = ALL


@dataclass(frozen=True, slots=True)
class Wanted:
    """What Mixer wants to be told of besides failures, and the share of failures."""

    wishes: tuple[Wish, ...] = ()
    failures: int = ALL


NOTHING_WANTED = Wanted()


def tap_share(wanted: Wanted, namespace: str, labels: Labels) -> int:
    """The share of one workload: the largest that a wish for it asks for."""
    shares = (
        wish.share
        for wish in wanted.wishes
        if wish.namespace in ("", namespace) and set(wish.labels) <= set(labels)
    )
    return max(shares, default=0)


# Custom tags of the entries: facts that the entries have no field for.

ROUTE_TAG = "route"
CLUSTER_TAG = "cluster"
"""The rules behind the route and the cluster, as Istio's metadata names them."""

WORKLOAD_TAG = "workload"
PRINCIPAL_TAG = "principal"
"""The server's workload and the identity in its certificate."""

DETAILS_TAG = "details"
"""Of a connection; requests have a field for them."""
