"""What must hold for one PeerAuthentication alone.

Rules as in Istio's validation (``pkg/config/validation/validation.go``).
"""

from collections.abc import Iterator

from argosy.api.security import PeerAuthentication
from argosy.api.typed import Mistake
from argosy.api.validate_values import check_port, check_selector


def validate_peer_authentication(policy: PeerAuthentication) -> Iterator[Mistake]:
    spec = policy.spec
    yield from check_selector(spec.selector, "spec.selector")
    selects = spec.selector is not None and spec.selector.match_labels
    if spec.port_level_mtls and not selects:
        message = "portLevelMtls is for the ports of selected workloads: a selector is required"
        hint = "Write selector.matchLabels, or mtls for all ports"
        yield Mistake("spec.portLevelMtls", "MissingField", message, hint)
    for port in spec.port_level_mtls:
        yield from check_port(port, f"spec.portLevelMtls.{port}")
