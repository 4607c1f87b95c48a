"""For which proxies of its namespaces a policy holds: by labels, or by what it is attached to."""

from dataclasses import dataclass

from argosy.model.workload import Labels


@dataclass(frozen=True, slots=True)
class Everyone:
    """Every proxy."""


@dataclass(frozen=True, slots=True)
class Selected:
    """Proxies with all of these labels. Never empty: that would be ``Everyone``."""

    labels: Labels


@dataclass(frozen=True, slots=True)
class Attached:
    """The proxies of these Gateways of the Kubernetes Gateway API, in the policy's own namespace.

    Empty: the policy is attached to nothing that runs here, so it holds for nobody.
    """

    gateways: tuple[str, ...]


PolicyScope = Everyone | Selected | Attached

EVERYONE = Everyone()
